"""The command line: `estimate model.pt --epochs 10 --samples 100000`. Heavy imports happen inside the commands."""

from __future__ import annotations

import io
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click_default_group import DefaultGroup

from estimator import search_command
from estimator.errors import JoulecastError
from estimator.scenario_options import scenario_options
from estimator.words import printable

if TYPE_CHECKING:
    from estimator.crosscheck import CrossCheck
    from estimator.footprint import Footprint

_LAYERS_SHOWN = 5

_NEAR = 0.8
"""How like a command a word must be to be taken for it, mistyped (of 1: `difflib.get_close_matches`)."""

_EXAMPLES = """
\b
Examples:
  estimate model.pt --epochs 10 --samples 100000
  estimate model.pt --hardware a100 --region germany --inferences 1e6
  estimate net.py:Net --input 3x32x32    a class in your own script
  estimate timm:resnet50 --json          a model of a library
  estimate compare wide.pt deep.pt       models side by side
  estimate search space.py --trials 200  an architecture search
  estimate calibrate                     learn this machine, once
  estimate hardware rtx-4090             what is known of a device
  estimate regions germany               carbon intensities
"""


class _Group(DefaultGroup):  # type: ignore[misc]
    """Runs `model` where no command is named; an error of ours is one line on stderr and exit code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, and an answer that cannot be written is an error of ours (a closed pipe is nobody's)."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without the µ of µJ
            sys.stdout.reconfigure(errors="replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:
                raise
            from estimator.report.streams import drop_stdout

            drop_stdout()
            reason = error.strerror or error
            click.echo(f"estimate: the answer cannot be written ({reason}): send it to another place", err=True)
            sys.exit(2)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As its base's, but a word that is nearly a command is no model."""
        near = get_close_matches(cmd_name, self.commands, 1, _NEAR) if cmd_name.isalpha() else []
        if near and cmd_name not in self.commands and not Path(cmd_name).exists():
            raise click.UsageError(f"there is no command or file {cmd_name!r}: did you mean `estimate {near[0]}`?", ctx)
        command: click.Command | None = super().get_command(ctx, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except JoulecastError as error:
            click.echo(f"estimate: {printable(error)}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, default="model", default_if_no_args=False, epilog=_EXAMPLES)
@click.version_option(package_name="joulecast")
def main() -> None:
    """Say what a PyTorch model will cost in joules, kWh and CO2e, before anything has run.

    `estimate MODEL` is short for `estimate model MODEL`; its options: `estimate model --help`.
    """


@main.command("model")
@click.argument("model")
@scenario_options
@click.option("--top", type=click.IntRange(min=0), default=None, metavar="N", help="Layers shown.  [default: 5]")
@click.option("--cross-check", is_flag=True, help="Our FLOPs beside fvcore's and torch's own counter.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model file to run. Only for files you made.")
def model_command(model: str, top: int | None, cross_check: bool, as_json: bool, trust: bool, **options: Any) -> None:
    """Say what MODEL (a file, file.py:Net, timm:NAME, ...) will cost.

    \b
    MODEL is one of
      a pickled nn.Module (.pt, .pth), or a torch.export program (.pt2)
      a directory with the config.json of transformers or diffusers
      a factory, `file.py:Net` or `package.module:callable`: your code is run
      timm:NAME, torchvision:NAME or transformers:DIR_OR_TYPE
      mlp:INPUTxDEPTHxWIDTH, a fully connected network by its shape
    """
    from estimator.report.streams import stdout_to_stderr
    from estimator.scenario import Scenario

    scenario = Scenario(**options)
    with stdout_to_stderr():  # it is the answer's alone
        from estimator.footprint import as_loaded, estimate
        from estimator.sources.building import offline_and_quiet

        with offline_and_quiet():
            loaded = as_loaded(model, trust=trust)
            footprint = estimate(loaded, scenario)
            check = None
            if cross_check:
                from estimator.crosscheck import compare

                check = compare(loaded, scenario)
    _print(footprint, check, top, as_json)


def _print(footprint: Footprint, check: CrossCheck | None, top: int | None, as_json: bool) -> None:
    if as_json:
        import json

        from estimator.report import contract

        answer = contract.to_dict(footprint, top)
        click.echo(
            json.dumps(answer if check is None else answer | {"cross_check": contract.of_cross_check(check)}, indent=2)
        )
        return
    from estimator.report import text

    text.show(footprint, _LAYERS_SHOWN if top is None else top)
    if check is not None:
        text.show_cross_check(check)


@main.command("compare")
@click.argument("models", nargs=-1, required=True)
@scenario_options
@click.option(
    "--quality", "qualities", multiple=True, metavar="NAME=Q", help="A model's quality, more is better; repeatable."
)
@click.option(
    "--within",
    type=click.FloatRange(min=0),
    default=0.01,
    metavar="Q",
    help="Name the cheapest within Q of the best quality.  [default: 0.01]",
)
@click.option(
    "--sweep", "sweeps", multiple=True, metavar="OPTION=A,B", help="Each value of an option in turn; repeatable."
)
@click.option("--csv", "csv_file", metavar="FILE", help="Write the numbers as CSV, or print them where FILE is -.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model files to run. Only for files you made.")
@click.pass_context
def compare_command(ctx: click.Context, /, models: tuple[str, ...], trust: bool, **options: Any) -> None:
    """Put MODELS side by side: what each costs, and which to take.

    MODELS are whatever `estimate model` takes, and families by their shape, "mlp:100x[10,30]x[50,100]" (input x
    depths x widths).

    \b
    estimate compare wide.pt deep.pt --quality wide=0.91 --quality deep=0.93
    estimate compare timm:resnet50 --sweep batch-size=1,8 --sweep hardware=a100,t4
    """
    from estimator.report.streams import stdout_to_stderr
    from estimator.scenario import Scenario

    given = {name: options.pop(name) for name in ("qualities", "within", "sweeps", "csv_file", "as_json")}
    if given["as_json"] and given["csv_file"] == "-":
        raise click.UsageError("--json and --csv - both print: give the CSV a file.")
    scenario = Scenario(**options)
    with stdout_to_stderr():  # it is the answer's alone
        from estimator.compare import by_name, compare, parse_qualities
        from estimator.sources.building import offline_and_quiet
        from estimator.sweep import parse_sweep

        with offline_and_quiet():
            named = by_name(models)
            rated = parse_qualities(given["qualities"], named)
            sweeps = [parse_sweep(text) for text in given["sweeps"]]
            comparison = compare(named, scenario, sweeps=sweeps, qualities=rated, trust=trust)
    from estimator.report import comparison as report

    report.answer(comparison, given["within"], as_json=given["as_json"], csv_file=given["csv_file"])
    for failure in comparison.failures:
        click.echo(f"estimate: {printable(failure.name)} failed: {printable(failure.error)}", err=True)
    if comparison.failures:
        click.echo(f"estimate: {len(comparison.failures)} failed, {len(comparison.rows)} compared", err=True)
        ctx.exit(1)


main.add_command(search_command.among(scenario_options))


@main.command("hardware")
@click.argument("name", required=False)
def hardware_command(name: str | None) -> None:
    """List devices and calibrated profiles, or all facts of NAME.

    NAME is what --hardware takes: a device of the catalogue, a profile that `estimate calibrate` made, or its file.
    """
    from estimator.report import tables

    tables.show_hardware(name)


@main.command("regions")
@click.argument("name", required=False)
def regions_command(name: str | None) -> None:
    """List carbon intensities of all regions, or of those like NAME.

    A region is a country or the region of a cloud.
    """
    from estimator.report import tables

    tables.show_regions(name)


_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""These commands read their options themselves: they are the same as in `python -m profilers` and `-m calibration`."""


@main.command("measure", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def measure_command(arguments: tuple[str, ...]) -> None:
    """Run a command and say what it really drew."""
    _profilers("measure", arguments)


@main.command("meters", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def meters_command(arguments: tuple[str, ...]) -> None:
    """Show what can be measured here; if not, why, and the remedy."""
    _profilers("meters", arguments)


@main.command("calibrate", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def calibrate_command(arguments: tuple[str, ...]) -> None:
    """Learn this machine by measuring it for about 5 minutes."""
    _calibration("calibrate", arguments)


@main.command("verify", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify_command(arguments: tuple[str, ...]) -> None:
    """Predict MODEL, then run and measure it here, and show both."""
    _calibration("verify", arguments)


def _calibration(command: str, arguments: tuple[str, ...]) -> None:
    from calibration.__main__ import main as calibration_main

    calibration_main([command, *arguments], prog_name="estimate")


def _profilers(command: str, arguments: tuple[str, ...]) -> None:
    from profilers.__main__ import main as profilers_main

    profilers_main([command, *arguments], prog_name="estimate")


if __name__ == "__main__":
    sys.exit(main())
