"""The command line: `estimate model.pt --epochs 10 --samples 100000`. Heavy imports happen inside the commands."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click_default_group import DefaultGroup

from estimator import search_command
from estimator.errors import JoulecastError
from estimator.words import printable

if TYPE_CHECKING:
    from estimator.crosscheck import CrossCheck
    from estimator.footprint import Footprint

_LAYERS_SHOWN = 5

_F = TypeVar("_F", bound=Callable[..., Any])

_EXAMPLES = """
\b
Examples:
  estimate model.pt --epochs 10 --samples 100000
  estimate model.pt --hardware a100 --region germany --trials 50 --inferences 1e6
  estimate net.py:Net --input 3x32x32        a class in your own script
  estimate timm:resnet50 --json              a model of a library
  estimate compare wide.pt deep.pt           models side by side
  estimate search space.py --trials 200      an architecture search
  estimate hardware rtx-4090                 what the catalogue knows of a device
  estimate regions germany                   carbon intensities
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except JoulecastError as error:
            click.echo(f"estimate: {printable(error)}", err=True)
            ctx.exit(2)


def _auto_in_any_case(ctx: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """`AUTO` is auto; the names of devices are read by the catalogue."""
    return "auto" if name is not None and name.strip().lower() == "auto" else name


@click.group(cls=_Group, default="model", default_if_no_args=False, epilog=_EXAMPLES)
@click.version_option(package_name="joulecast")
def main() -> None:
    """Say what a PyTorch model will cost in joules, kWh and CO2e, before anything has run.

    `estimate MODEL` is short for `estimate model MODEL`; its options: `estimate model --help`.
    """


_OPTIONS: tuple[Callable[[_F], _F], ...] = (
    click.option("--epochs", type=float, help="Passes over the samples.  [default: 10]"),
    click.option("--samples", type=float, help="Samples in the training set.  [default: 100000]"),
    click.option("--batch-size", type=int, help="Samples of a training step.  [default: 32]"),
    click.option("--inference-batch-size", type=int, help="Samples of an inference.  [default: 1]"),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="SHAPE",
        help="One sample's shape: 3x224x224, tokens:512, NAME=SHAPE; repeat for several inputs.",
    ),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="[default: float32]"),
    click.option("--optimizer", type=click.Choice(["sgd", "momentum", "adam", "adamw"]), help="[default: adam]"),
    click.option(
        "--freeze",
        multiple=True,
        metavar="PATTERN",
        help="Parameters or modules that are not trained, such as 'layer[1-3].*'; repeatable.",
    ),
    click.option("--overhead", type=float, help="Force the share of training that is not the forward pass."),
    click.option("--trials", type=int, metavar="H", help="Trials of an architecture search."),
    click.option("--search-epochs", type=float, help="Epochs of one trial.  [default: --epochs]"),
    click.option("--search-samples", type=float, help="Samples of one trial.  [default: --samples]"),
    click.option("--inferences", type=float, metavar="N", help="Inferences over the lifetime."),
    click.option(
        "--hardware",
        metavar="NAME",
        callback=_auto_in_any_case,
        help="A device (see `estimate hardware`), a calibrated profile, or auto.  [default: auto]",
    ),
    click.option(
        "--clock-mhz", type=float, metavar="MHZ", help="A GPU clock that is locked.  [default: its boost clock]"
    ),
    click.option("--devices", type=int, metavar="N", help="Devices that share the training.  [default: 1]"),
    click.option("--region", metavar="NAME", help="A country or cloud region (see `estimate regions`)."),
    click.option("--carbon-intensity", type=float, metavar="G", help="Grid carbon intensity in gCO2e/kWh."),
    click.option("--pue", type=float, help="Facility energy over IT energy.  [default: 1.58]"),
)


def _scenario_options(command: _F) -> _F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@main.command("model")
@click.argument("model")
@_scenario_options
@click.option("--top", type=click.IntRange(min=0), default=None, metavar="N", help="Layers shown.  [default: 5]")
@click.option("--cross-check", is_flag=True, help="Our FLOPs beside fvcore's and torch's own counter.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model file to run. Only for files you made.")
def model_command(model: str, top: int | None, cross_check: bool, as_json: bool, trust: bool, **options: Any) -> None:
    """Estimate MODEL: a .pt or .pt2 file, a Hugging Face directory, file.py:Net, or timm:NAME.

    \b
    MODEL   a pickled nn.Module (.pt, .pth), a torch.export program (.pt2), a directory with the config.json
            of transformers or diffusers, a factory `file.py:Net` or `package.module:callable`,
            timm:NAME, torchvision:NAME, transformers:DIR_OR_TYPE, mlp:INPUTxDEPTHxWIDTH
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
@_scenario_options
@click.option("--quality", "qualities", multiple=True, metavar="NAME=Q", help="A model's quality: more is better.")
@click.option("--within", type=click.FloatRange(min=0), default=0.01, show_default=True, help="Quality given up.")
@click.option(
    "--sweep", "sweeps", multiple=True, metavar="OPTION=A,B", help="Each value of an option in turn; repeatable."
)
@click.option("--csv", "csv_file", metavar="FILE", help="Write the numbers as CSV, or print them where FILE is -.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model files to run. Only for files you made.")
@click.pass_context
def compare_command(ctx: click.Context, /, models: tuple[str, ...], trust: bool, **options: Any) -> None:
    """Put MODELS side by side: what each costs, why, and which to take.

    \b
    estimate compare wide.pt deep.pt --quality wide=0.91 --quality deep=0.93
    estimate compare "mlp:100x[10,20,30]x[10,100,300]"          a family: input x depths x widths
    estimate compare timm:resnet50 --sweep batch-size=1,8,32 --sweep hardware=a100,h100-sxm
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


main.add_command(search_command.among(_scenario_options))


@main.command("hardware")
@click.argument("name", required=False)
def hardware_command(name: str | None) -> None:
    """List the devices of the catalogue, or show what is known of NAME."""
    from estimator.report import tables

    tables.show_hardware(name)


@main.command("regions")
@click.argument("name", required=False)
def regions_command(name: str | None) -> None:
    """List carbon intensities of countries and cloud regions, or those that match NAME."""
    from estimator.report import tables

    tables.show_regions(name)


_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""These commands read their options themselves: they are the same as in `python -m profilers` and `-m calibration`."""


@main.command("measure", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def measure_command(arguments: tuple[str, ...]) -> None:
    """Run a command and say what it really drew: `estimate measure -- python train.py`."""
    _profilers("measure", arguments)


@main.command("meters", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def meters_command(arguments: tuple[str, ...]) -> None:
    """Show what this machine can measure, and for what it cannot: why, and the remedy."""
    _profilers("meters", arguments)


@main.command("calibrate", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def calibrate_command(arguments: tuple[str, ...]) -> None:
    """Learn this machine in about 5 minutes: `estimate calibrate`, or --hardware cuda:0 --minutes 8."""
    _calibration("calibrate", arguments)


@main.command("verify", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify_command(arguments: tuple[str, ...]) -> None:
    """Predict MODEL on this machine, then run and measure it, and show both: `estimate verify model.pt`."""
    _calibration("verify", arguments)


def _calibration(command: str, arguments: tuple[str, ...]) -> None:
    from calibration.__main__ import main as calibration_main

    calibration_main([command, *arguments], prog_name="estimate")


def _profilers(command: str, arguments: tuple[str, ...]) -> None:
    from profilers.__main__ import main as profilers_main

    profilers_main([command, *arguments], prog_name="estimate")


if __name__ == "__main__":
    sys.exit(main())
