"""`python -m calibration calibrate|verify`; `estimate calibrate` and `estimate verify` are the same commands."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from estimator.base.errors import JoulecastError
from estimator.commands.limits import limit_option
from estimator.commands.options import code_options
from profilers.errors import MeterError
from profilers.printing import say


class _Group(click.Group):
    """An error of ours is one line on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (JoulecastError, MeterError) as error:
            say(f"{ctx.info_name}: {error}", err=True)
            ctx.exit(2)


def _finite(ctx: click.Context, option: click.Parameter, value: float) -> float:
    """Click takes nan and inf for numbers in every range."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a time.", ctx, option)
    return value


_wait = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=30.0,
    metavar="S",
    help="Wait for a quiet machine.  [default: 30]",
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Learn a machine from measured runs, and check predictions against it."""


@main.command("calibrate")
@click.option("--hardware", default="auto", metavar="DEVICE", help="cpu, cuda:0, ...  [default: a GPU, else the CPU]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.2),
    callback=_finite,
    default=5.0,
    help="How long to measure networks.  [default: 5]",
)
@click.option("--name", metavar="NAME", help="The profile's name, for --hardware.  [default: from the device's]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where profile and record go.  [default: the user's data directory]",
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Repeatable.  [default: float32; on a GPU bfloat16 too]",
)
@_wait
@click.option("--allow-busy", is_flag=True, help="Calibrate on a busy machine all the same.")
@click.option("--fresh", is_flag=True, help="Measure anew: the record of an earlier calibration is replaced.")
def calibrate_command(
    hardware: str,
    minutes: float,
    name: str | None,
    out: Path | None,
    dtypes: tuple[str, ...],
    wait_s: float,
    allow_busy: bool,
    fresh: bool,
) -> None:
    """Learn this machine: measure random networks for some minutes, and write a profile for --hardware.

    Killed and started again, it goes on where it was; with more --minutes, an earlier calibration is continued.
    """
    from calibration.report import profile_lines
    from calibration.session import calibrate
    from profilers.load import LoadPolicy

    policy = LoadPolicy(wait_s=wait_s, allow_busy=allow_busy)
    done = calibrate(hardware, minutes, name=name, out=out, dtypes=dtypes, policy=policy, fresh=fresh)
    for line in profile_lines(done.machine, done.path, done.discarded, done.failures):
        say(line)


@main.command("verify")
@click.argument("model")
@click.option("--hardware", default="auto", metavar="NAME", help="The profile to check.  [default: this machine's]")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="Of a training step.  [default: 32]")
@click.option("--inference-batch-size", type=click.IntRange(min=1), default=1, help="[default: 1]")
@click.option("--input", "inputs", multiple=True, metavar="SHAPE", help="As in `estimate model`.")
@click.option(
    "--dtype", default="float32", type=click.Choice(["float32", "bfloat16", "float16"]), help="[default: float32]"
)
@click.option(
    "--optimizer", default="adam", type=click.Choice(["sgd", "momentum", "adam", "adamw"]), help="[default: adam]"
)
@limit_option
@_wait
@click.option("--allow-busy", is_flag=True, help="Measure on a busy machine all the same.")
@click.option("--trust", is_flag=True, help="Allow code inside the model file to run. Only for files you made.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@code_options
def verify_command(
    model: str,
    trust: bool,
    as_json: bool,
    wait_s: float,
    allow_busy: bool,
    inputs: tuple[str, ...],
    arguments: tuple[str, ...],
    checkpoint: str | None,
    **options: Any,
) -> None:
    """Predict MODEL on this machine, then run it and measure, and show both with the error.

    Exit code 1 where a measurement lies outside of the predicted interval.
    """
    from calibration.proof.verify import verify
    from calibration.report import verified_json, verified_lines
    from estimator.lifecycle.scenario import Scenario
    from estimator.sources.arguments import given
    from profilers.load import LoadPolicy

    built_with = given(arguments, checkpoint)
    policy = LoadPolicy(wait_s=wait_s, allow_busy=allow_busy, say=lambda line: say(line, err=True))
    verified = verify(model, Scenario(inputs=inputs, **options), trust=trust, given=built_with, policy=policy)
    if as_json:
        import json

        click.echo(json.dumps(verified_json(verified), indent=2))
    else:
        for line in verified_lines(verified):
            say(line)
    sys.exit(0 if verified.within else 1)


if __name__ == "__main__":
    main(prog_name="python -m calibration")
