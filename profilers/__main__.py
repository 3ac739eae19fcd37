"""`python -m profilers meters|measure|facts`; `estimate meters` and `estimate measure` are the same commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from profilers.errors import MeterError
from profilers.printing import say


class _Group(click.Group):
    """An error of ours is one line on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MeterError as error:
            say(f"{ctx.info_name}: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Read joules honestly, or say that they were not read."""


@main.command("meters")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def meters_command(as_json: bool) -> None:
    """Show what this machine can read, and for what it cannot: why, and the remedy."""
    from profilers.discovery import find_meters
    from profilers.report import meters_lines

    found = find_meters()
    if as_json:
        import json
        from dataclasses import asdict

        parts = [asdict(part) for meter in found.meters for part in meter.components()]
        missing = [asdict(part) for part in found.missing]
        click.echo(json.dumps({"components": parts, "missing": missing, "notes": list(found.notes)}, indent=2))
        return
    for line in meters_lines(found):
        say(line)


@main.command("measure", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), help="Append the run to FILE (JSON lines).")
@click.option("--label", default="", help="A name for the run.")
@click.option("--meter", "names", multiple=True, help="Take this meter alone: nvml, rapl or codecarbon; repeatable.")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="S",
    help="Measure S seconds of idling first, for net figures.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=30.0,
    metavar="S",
    help="Wait up to S seconds for a quiet machine.  [default: 30]",
)
@click.option("--allow-busy", is_flag=True, help="Measure on a busy machine all the same, and mark the run.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the run as one line of JSON on stdout, after the command's output."
)
def measure_command(command: tuple[str, ...], record: Path | None, as_json: bool, **options: Any) -> None:
    """Run COMMAND and say on stderr what it drew; exit as it did. Example: measure -- python train.py"""
    import json

    from profilers.command import run_command
    from profilers.discovery import find_meters
    from profilers.load import LoadPolicy
    from profilers.record import append, run_of, to_dict
    from profilers.report import measurement_lines
    from profilers.session import measure_idle

    found = find_meters(options["names"])
    policy = LoadPolicy(wait_s=options["wait_s"], allow_busy=options["allow_busy"])
    baseline = measure_idle(found.meters, options["idle_s"], policy=policy) if options["idle_s"] else None
    outcome = run_command(command, found.meters, label=options["label"], baseline=baseline, policy=policy)
    for line in measurement_lines(outcome.measurement):
        say(line, err=True)
    if outcome.left_over:
        click.echo(f"{outcome.left_over} processes that the command left running were ended", err=True)
    run = run_of(outcome.measurement, command, outcome.exit_code)
    if as_json:
        click.echo(json.dumps(to_dict(run), allow_nan=False))
    if record is not None:
        append(record, run)
    sys.exit(outcome.exit_code)


@main.command("facts")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The JSON file to write.")
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, help="Length of each window.  [default: 10]")
def facts_command(out: Path, seconds: float) -> None:
    """Find out how this machine's GPU tells its energy, idle and at work; write it to a JSON file."""
    from profilers.gpu.facts import gather

    facts = gather(_matrix_products, out, seconds_s=seconds, say=say)
    for error in facts["errors"]:
        say(error, err=True)
    sys.exit(1 if facts["errors"] else 0)


def _matrix_products(size: int = 8192) -> Any:
    """bfloat16 matrix products on the GPU, 2 n^3 FLOPs each."""
    from importlib import import_module

    from profilers.gpu.facts import Work

    torch = import_module("torch")
    if not torch.cuda.is_available():
        raise MeterError("torch sees no CUDA device: install a CUDA build of torch")
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    return Work(
        f"{size}x{size} bfloat16 matrix products, torch {torch.__version__}",
        lambda: torch.mm(left, right, out=out),
        torch.cuda.synchronize,
        2.0 * size**3,
    )


if __name__ == "__main__":
    main(prog_name="python -m profilers")
