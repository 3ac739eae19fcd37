"""The command `estimate search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from estimator.base.errors import JoulecastError
from estimator.commands.limits import limit_option
from estimator.commands.options import scenario_options
from estimator.commands.values import integer

_NOT_OF_A_SEARCH = frozenset(
    {
        *("search_epochs", "search_samples", "inferences", "inference_batch_size", "trials"),
        *("shard", "nodes", "link"),  # its devices run trials side by side
    }
)
"""Options that a search has no use for, and `--trials`, which has a default here."""


@click.command("search")
@click.argument("space")
@scenario_options(without=_NOT_OF_A_SEARCH)
@click.option("--trials", type=integer, metavar="H", help="Trials of the search.  [default: 100]")
@click.option(
    "--sampler",
    default="tpe",
    show_default=True,
    metavar="NAME",
    help="random, grid, tpe, gp, cmaes, nsgaii, nsgaiii or qmc.",
)
@click.option(
    "--pruner",
    default="none",
    show_default=True,
    metavar="NAME[:N]",
    help="median, percentile:10, halving:4, hyperband:3 or threshold:1.",
)
@click.option("--early-stopping", type=int, metavar="N", help="Stop a trial after N epochs without a better loss.")
@click.option("--studies", type=int, metavar="N", help="Simulated studies.  [default: 4000 / trials, 3 to 20]")
@click.option(
    "--curve-spread", type=float, default=0.3, show_default=True, help="Spread of log(final loss) between trials."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed gives the same answer."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a line of JSON per trial."
)
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.pass_context
def search_command(ctx: click.Context, /, space: str, as_json: bool, **options: Any) -> None:
    """Price an architecture search before it runs, without training.

    SPACE is a Python file with `build(trial) -> nn.Module` in Optuna's define-by-run style; it is run, as with
    `python SPACE`. An interrupted search goes on where it was when it is given the same --out FILE again.

    \b
    estimate search space.py --trials 200 --epochs 50 --samples 100000 \\
        --sampler tpe --pruner percentile:10
    """
    from estimator.commands import early
    from estimator.lifecycle.scenario import SCENARIO_FIELDS, Scenario
    from estimator.report.streams import stdout_to_stderr

    of_scenario = {name: options.pop(name) for name in SCENARIO_FIELDS if name in options}
    running = {name: options.pop(name) for name in ("jobs", "dask", "out")}
    scenario = Scenario(**of_scenario)
    early.check(scenario)
    with stdout_to_stderr():  # it is the answer's alone
        _needs_optuna()
        from estimator.report import search as report
        from estimator.search import Curves, Plan, Runner, search

        curves, patience = Curves(spread=options.pop("curve_spread")), options.pop("early_stopping")
        plan = Plan(space, scenario, curves=curves, patience=patience, **options)
        try:
            with report.progress(plan) as (progress, note):
                cost = search(plan, Runner(**running, progress=progress, note=note))
        except KeyboardInterrupt:
            kept = (
                f"what was done is in {running['out']}: the same command goes on from there"
                if running["out"]
                else ("with --out FILE, what is done is kept, and the same command goes on from there")
            )
            click.echo(f"estimate: interrupted before the first study was done; {kept}", err=True)
            ctx.exit(130)
    report.show(cost, as_json)
    if cost.studies < cost.planned_studies:
        ctx.exit(130)


def _needs_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise JoulecastError(
            "estimate search needs Optuna, which is not here: pip install 'joulecast[search]'."
        ) from error
