"""What a search keeps of ops: what they add up to on a machine; or, for one that was calibrated, the ops themselves.

A roofline prices each op by itself, so that the sums of parts can be added. What a calibration learned looks at an op
among its neighbours and in the whole batch (`estimator.energy.op_features`): there the ops are put together first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from estimator.energy.columns import columns_of, joined, keep
from estimator.energy.demand import Sums, demand_of, summed
from estimator.energy.model import EnergyModel
from estimator.workload.ops import Workload, bound_of


@dataclass(frozen=True)
class Counted:
    """What ops ask of one machine, added up, and what could not be counted."""

    sums: Sums
    uncovered: frozenset[str]
    guesses: tuple[str, ...]

    def cautions(self) -> Iterator[str]:
        """What a price of it rests on, each a sentence."""
        if self.uncovered:
            names = ", ".join(sorted(self.uncovered))
            yield f"not counted in some candidates (ops without a FLOP formula; their bytes are): {names}"
        for guess in self.guesses:
            yield f"guessed in some candidates, since only data would tell: {guess}"


def counted(workload: Workload, model: EnergyModel) -> Counted:
    """The ops of `workload`, added up."""
    sums = summed(demand_of(workload, model), columns_of(workload))
    return Counted(sums, frozenset(workload.uncovered_ops), workload.guesses)


def added(parts: Sequence[Counted]) -> Counted:
    """Several parts as one."""
    uncovered = frozenset().union(*[part.uncovered for part in parts if part.uncovered])
    guesses = tuple(dict.fromkeys(chain.from_iterable([part.guesses for part in parts if part.guesses])))
    return Counted(Sums.together([part.sums for part in parts]), uncovered, guesses)


def merged(parts: Sequence[Workload]) -> Workload:
    """One workload of `parts`, its columns put together from theirs."""
    columns = joined(parts)
    calls = sum(part.module_calls for part in parts)
    uncovered: dict[str, int] = {}
    for part in parts:
        for name, times in part.uncovered_ops.items():
            uncovered[name] = uncovered.get(name, 0) + times
    guesses = tuple(dict.fromkeys(chain.from_iterable(part.guesses for part in parts)))
    bound = bound_of(part.guessed for part in parts)
    ops = tuple(chain.from_iterable([part.ops for part in parts]))
    workload = Workload(ops, 1, calls, uncovered, guesses, guessed=bound)
    of_one = np.zeros_like(columns.workload)
    keep(workload, replace(columns, workload=of_one, module_calls=np.array([calls], dtype=np.float64)))
    return workload
