"""What a search will cost: as JSON, as text, and how far its simulation is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from estimator.report.contract import SCHEMA_VERSION, of_interval, of_stage
from estimator.report.layout import columns, grid
from estimator.report.text import assumptions_table, caution_line, hardware_line
from estimator.search.answer import SearchCost
from estimator.search.plan import Plan, Unit
from estimator.units import duration, si

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
            f"\n{lived.value:,.0f} epochs are run ({lived.low:,.0f} to {lived.high:,.0f}), as {cost.studies} simulated "
            "studies say"
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


class _Rate(ProgressColumn):
    """Trials a second."""

    def render(self, task: Task) -> Text:
        """The rate of `task`, as rich measured it."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


@contextmanager
def progress(plan: Plan) -> Iterator[tuple[Callable[[Unit], None], Callable[[str], None]]]:
    """A progress bar on standard error: what it is to be told of units that are done, and what it says beside."""
    console = Console(stderr=True, highlight=False)
    looks = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*looks, console=console, disable=not console.is_terminal, speed_estimate_period=60) as bar:
        task = bar.add_task("trials", total=plan.trials * plan.times)

        def note(text: str) -> None:
            bar.console.print(Text(f"estimate: {text}"))

        yield lambda unit: bar.advance(task, unit.trials), note
