"""Whether two predicted amounts differ: their ratio with its 90% interval; where that holds 1, they are a tie.

An error has two parts. One is the network's own. The other is the machine's: what its arithmetic, its memory and its
launches really take; two networks on one machine share it as far as their time waits for the same of the three. With
o and m the half-widths (in logarithms) of the two parts, and overlap = sum over the three of the smaller share:

    half-width^2 of log(a / b) = o_a^2 + o_b^2 + m_a^2 + m_b^2 - 2 overlap m_a m_b

On two machines nothing cancels (overlap 0). The same work on the same machine, more or less often, has no error at all
in its ratio.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from estimator.energy.pricing import Bound
from estimator.energy.uncertainty import Interval, log_normal
from estimator.workload.ops import Workload

OWN_SPREAD = 0.37
"""Standard deviation of log(measured / predicted) that is a network's own, on a machine that is known.

The root mean square of the held-out errors of the four published machines, 0.10, with what a training adds, 0.35
(`energy_spread` in data/published_machines.toml, `training_spread` in data/datasheet_model.toml). The rest of an
interval is the machine's.
"""

_OWN = math.log(log_normal(1.0, OWN_SPREAD).high)


@dataclass(frozen=True)
class Cost:
    """A predicted amount, and what its error is shared with.

    `machine` is equal for amounts that one profile priced, `waits` are the shares of the time that waits for
    compute, memory and launches, `work` is what was priced: the same objects where only the number of times differs.
    """

    amount: Interval
    machine: Hashable
    waits: Mapping[Bound, float]
    work: tuple[Workload, ...]


def overlap(a: Mapping[Bound, float], b: Mapping[Bound, float]) -> float:
    """The share of their time, from 0 to 1, in which two batches wait for the same things."""
    return sum(max(0.0, min(share, b.get(bound, 0.0))) for bound, share in a.items())


def ratio(a: Cost, b: Cost) -> Interval | None:
    """a / b with its 90% interval, as the module's docstring has it; None where one of them is 0."""
    if not (a.amount.value > 0 and b.amount.value > 0):
        return None
    value, factor = a.amount.value / b.amount.value, math.exp(_half_width(a, b))
    return Interval(value, value / factor, value * factor)


def tied(a: Cost, b: Cost) -> bool:
    """Whether the difference of `a` and `b` is inside the interval of their ratio."""
    between = ratio(a, b)
    return a.amount.value == b.amount.value if between is None else between.low <= 1 <= between.high


def _half_width(a: Cost, b: Cost) -> float:
    shared = overlap(a.waits, b.waits) if a.machine == b.machine else 0.0
    if a.machine == b.machine and len(a.work) == len(b.work) and all(map(_same, a.work, b.work)):
        return 0.0
    (own_a, machine_a), (own_b, machine_b) = _parts(a.amount), _parts(b.amount)
    square = own_a**2 + own_b**2 + machine_a**2 + machine_b**2 - 2 * shared * machine_a * machine_b
    return math.sqrt(square)


def _same(a: Workload, b: Workload) -> bool:
    return a is b


def _parts(amount: Interval) -> tuple[float, float]:
    """The network's own and the machine's part of an interval's half-width."""
    whole = math.log(amount.high / amount.low) / 2
    own = min(whole, _OWN)
    return own, math.sqrt(whole**2 - own**2)
