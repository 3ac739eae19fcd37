"""How far `estimator.comparing.ties` holds: pairs of published rows of one machine, told apart or not, in which order.

Each GPU's rows are priced by coefficients that were fitted on the other devices, with the intervals of a spec sheet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from calibration.published.coefficients import Machine, fit, kind_of, machines
from calibration.published.rows import Row
from estimator.comparing.ties import Cost, ratio, tied
from estimator.energy.pricing import price
from estimator.hardware import catalogue
from estimator.hardware.datasheet import coefficients, from_datasheet
from estimator.hardware.profile import HardwareProfile


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows of one machine. `inside`: those whose measured ratio is in the predicted one's interval.

    `apart` are told apart by the rule, `wrongly` those of them in the wrong order; `disjoint` and `disjoint_wrongly`
    the same by the rows' own intervals, where these do not overlap.
    """

    machine: str
    pairs: int
    inside: int
    apart: int
    wrongly: int
    disjoint: int
    disjoint_wrongly: int


def told(machine: str, rows: Sequence[tuple[Cost, float]]) -> Pairs:
    """What the rule says of all pairs of `rows`, each a predicted cost and the measured one."""
    inside = apart = wrongly = disjoint = disjoint_wrongly = count = 0
    for (a, truth_a), (b, truth_b) in combinations(rows, 2):
        count += 1
        between, truth = ratio(a, b), truth_a / truth_b
        inside += between is not None and between.low <= truth <= between.high
        wrong = (a.amount.value > b.amount.value) != (truth > 1)
        if not tied(a, b):
            apart, wrongly = apart + 1, wrongly + wrong
        if a.amount.high < b.amount.low or b.amount.high < a.amount.low:
            disjoint, disjoint_wrongly = disjoint + 1, disjoint_wrongly + wrong
    return Pairs(machine, count, inside, apart, wrongly, disjoint, disjoint_wrongly)


def pairs_of(rows: Sequence[Row]) -> Iterator[Pairs]:
    """The pairs of every GPU's rows in one phase, priced by what the other devices say."""
    gpus = [row for row in rows if kind_of(row) == "gpu"]
    for device in dict.fromkeys(row.device for row in gpus):
        model = fit([row for row in gpus if row.device != device], "gpu")
        facts = {name: fact.value for name, fact in coefficients()["gpu"].items()}
        for machine in machines([row for row in gpus if row.device == device]):
            profile = from_datasheet(catalogue.find(device), {**facts, **model}, machine.rows[0].clock_hz)
            for phase in dict.fromkeys(row.phase for row in machine.rows):
                yield told(f"{profile.title} {phase}", list(_costs(machine, phase, profile)))


def _costs(machine: Machine, phase: str, profile: HardwareProfile) -> Iterator[tuple[Cost, float]]:
    for row in machine.rows:
        if row.phase == phase and row.energy_j is not None:
            estimate = price(row.workload, profile.model)
            yield Cost(estimate.energy_j, profile.name, estimate.bound_shares, (row.workload,)), row.energy_j


def table(found: Iterable[Pairs]) -> str:
    """The pairs as text of 80 columns."""
    lines = [f"{'pairs of rows, device left out':40}{'n':>6}{'inside':>8}{'apart':>13}{'disjoint':>13}"]
    for p in found:
        apart, disjoint = f"{p.apart} ({p.wrongly} bad)", f"{p.disjoint} ({p.disjoint_wrongly} bad)"
        lines.append(f"  {p.machine[:38]:38}{p.pairs:6}{p.inside / max(1, p.pairs):8.1%}{apart:>13}{disjoint:>13}")
    return "\n".join(lines)
