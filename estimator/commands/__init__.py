"""The command line: `estimate model.pt --epochs 10 --samples 100000`. Heavy imports happen inside the commands."""

from __future__ import annotations

import click

from estimator.commands.compare import compare_command
from estimator.commands.group import Group
from estimator.commands.hardware import hardware_command
from estimator.commands.model import model_command
from estimator.commands.passed_on import calibrate_command, measure_command, meters_command, verify_command
from estimator.commands.regions import regions_command
from estimator.commands.search import search_command
from estimator.commands.zoo import zoo_command

__all__ = ["main"]

_EXAMPLES = """
\b
Examples:
  estimate model.pt --epochs 10 --samples 100000
  estimate model.pt --hardware a100 --region germany --inferences 1e6
  estimate net.py:Net --input 3x32x32    a class in your own script
  estimate timm:resnet50 --json          a model of a library
  estimate zoo:vit-224                   one that `estimate zoo` lists
  estimate compare wide.pt deep.pt       models side by side
  estimate search space.py --trials 200  an architecture search
  estimate calibrate                     learn this machine, once
  estimate hardware rtx-4090             what is known of a device
  estimate regions germany               carbon intensities
"""

_HELP = {"help_option_names": ["-h", "--help"]}
"""Commands of the group have them from it."""


@click.group(cls=Group, default="model", default_if_no_args=False, epilog=_EXAMPLES, context_settings=_HELP)
@click.version_option(package_name="joulecast")
def main() -> None:
    """Say what a PyTorch model will cost in joules, kWh and CO2e, before anything has run.

    `estimate MODEL` is short for `estimate model MODEL`; its options: `estimate model --help`.
    """


for _command in (
    model_command,
    compare_command,
    search_command,
    zoo_command,
    hardware_command,
    regions_command,
    measure_command,
    meters_command,
    calibrate_command,
    verify_command,
):
    main.add_command(_command)
