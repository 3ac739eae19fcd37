"""The command `estimate compare`: models side by side."""

from __future__ import annotations

from typing import Any

import click

from estimator.base.words import printable
from estimator.commands.limits import limit_option
from estimator.commands.options import code_options, scenario_options, strict_option


@click.command("compare")
@click.argument("models", nargs=-1, required=True)
@scenario_options()
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
@strict_option
@limit_option
@click.option("--csv", "csv_file", metavar="FILE", help="Write the numbers as CSV, or print them where FILE is -.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model files to run. Only for files you made.")
@code_options
@click.pass_context
def compare_command(ctx: click.Context, /, models: tuple[str, ...], trust: bool, strict: bool, **options: Any) -> None:
    """Put MODELS side by side: what each costs, and which to take.

    MODELS are whatever `estimate model` takes, and families by their shape, "mlp:100x[10,30]x[50,100]" (input x
    depths x widths). --arg and --checkpoint go to each of them that is code.

    \b
    estimate compare wide.pt deep.pt --quality wide=0.91 --quality deep=0.93
    estimate compare timm:resnet50 --sweep batch-size=1,8 --sweep hardware=a100,t4
    """
    from estimator.commands import early
    from estimator.comparing.sweep import parse_sweep
    from estimator.lifecycle.scenario import Scenario
    from estimator.report.streams import stdout_to_stderr
    from estimator.sources.arguments import given as arguments_given

    built_with = arguments_given(options.pop("arguments"), options.pop("checkpoint"))
    given = {name: options.pop(name) for name in ("qualities", "within", "sweeps", "csv_file", "as_json")}
    if given["as_json"] and given["csv_file"] == "-":
        raise click.UsageError("--json and --csv - both print: give the CSV a file.")
    scenario = Scenario(**options)
    early.check(scenario)
    sweeps = [parse_sweep(text) for text in given["sweeps"]]
    with stdout_to_stderr():  # it is the answer's alone
        from estimator.comparing.compare import by_name, compare, parse_qualities
        from estimator.inputs.guessed import refuse_guesses
        from estimator.sources.building import offline_and_quiet

        with offline_and_quiet():
            named = by_name(models)
            rated = parse_qualities(given["qualities"], named)
            comparison = compare(named, scenario, sweeps=sweeps, qualities=rated, trust=trust, built_with=built_with)
            if strict:
                refuse_guesses((row.model, row.footprint.assumptions) for row in comparison.rows)
    from estimator.report import comparison as report

    report.answer(comparison, given["within"], as_json=given["as_json"], csv_file=given["csv_file"])
    for failure in comparison.failures:
        click.echo(f"estimate: {printable(failure.name)} failed: {printable(failure.error)}", err=True)
    if comparison.failures:
        click.echo(f"estimate: {len(comparison.failures)} failed, {len(comparison.rows)} compared", err=True)
        ctx.exit(1)
