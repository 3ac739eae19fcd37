"""What a search will cost: as JSON, as text, and how far its simulation is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from estimator.base.units import duration, si
from estimator.report.contract import SCHEMA_VERSION, of_interval, of_stage
from estimator.report.layout import columns, grid
from estimator.report.text import assumptions_table, caution_line, hardware_line
from estimator.search.answer import SearchCost
from estimator.search.plan import Plan

_FAILURES_SHOWN = 5


def to_dict(cost: SearchCost) -> dict[str, Any]:
    """The contract of docs/json.md: plain dicts, lists, strings and numbers."""
    return {
        "schema_version": SCHEMA_VERSION,
        "search": of_stage(cost.stage),
        "trials": cost.trials,
        "epochs_run": of_interval(cost.epochs_run),
        "failed_trials": cost.failed_trials,
        "failures": [{"study": study, "trial": trial, "error": why} for study, trial, why in cost.failures],
        "studies": {"simulated": cost.studies, "planned": cost.planned_studies},
        "hardware": {"name": cost.hardware.name, "status": cost.hardware.status},
        "assumptions": [
            {"name": a.name, "value": a.value, "unit": a.unit, "status": a.status, "source": a.source}
            for a in cost.assumptions
        ],
        "warnings": list(cost.warnings),
    }


def render(cost: SearchCost, width: int = 80) -> RenderableType:
    """`cost` as a rich renderable for `width` columns."""
    numbers = ("energy", "90% interval", "kWh", "kg CO2e", "duration")
    energy, lived = cost.stage.energy_j, cost.epochs_run
    interval = f"{si(energy.low, 'J', 2)} to {si(energy.high, 'J', 2)}"
    row = (
        f"search ({cost.trials:,} trials)", si(energy.value, "J"), interval,
        f"{cost.stage.energy_kwh:.3g}", f"{cost.stage.carbon_kg:.3g}", duration(cost.stage.duration_s.value),
    )  # fmt: skip
    parts: list[RenderableType] = [
        hardware_line(cost.hardware),
        Text("\nEnergy at the facility (device + rest of the node, x PUE), without training anything", style="bold"),
        grid(columns("stage", *numbers, numbers=numbers), [row], width),
        Text(
            f"\n{lived.value:,.0f} epochs are run ({lived.low:,.0f} to {lived.high:,.0f}): median and 90% interval of "
            f"{cost.studies} simulated {'study' if cost.studies == 1 else 'studies'}"
        ),
    ]
    if cost.failed_trials or cost.failures:
        parts.append(Text(f"{cost.failed_trials:,} of {cost.trials:,} trials fail before they train:"))
        parts += [
            Text(f"  trial {trial} of study {study}: {why}", overflow="fold")
            for study, trial, why in cost.failures[:_FAILURES_SHOWN]
        ]
    parts += [Text(""), assumptions_table(cost.assumptions, width), *map(caution_line, cost.warnings)]
    return Group(*parts)


def show(cost: SearchCost, as_json: bool) -> None:
    """Print `cost` to standard output."""
    console = Console(highlight=False)
    if as_json:
        print(json.dumps(to_dict(cost), indent=2))
    else:
        console.print(render(cost, console.width))


class _Pace(ProgressColumn):
    """Trials a second since this run began, and how long the rest takes at that rate."""

    def render(self, task: Task) -> Text:
        """The pace of `task`, which began with those that an earlier run had done (its field `before`)."""
        here, elapsed = task.completed - task.fields["before"], task.elapsed
        if not here or not elapsed or task.total is None:
            return Text("")
        rate = here / elapsed
        return Text(f"{rate:,.{0 if rate >= 10 else 1}f}/s, {duration((task.total - task.completed) / rate)} left")


@contextmanager
def progress(plan: Plan) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A progress bar on standard error: what is to be told how many trials are done, and what says a note beside it."""
    console = Console(stderr=True, highlight=False)
    looks = (TextColumn("trials"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), _Pace())
    with Progress(*looks, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("trials", start=False, total=plan.trials * plan.times, before=0)

        def done(trials: int) -> None:
            if not bar.tasks[0].started:
                bar.reset(task, completed=trials, before=trials)
            bar.update(task, completed=trials)

        def note(text: str) -> None:
            bar.console.print(Text(f"estimate: {text}"))

        yield done, note
