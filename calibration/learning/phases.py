"""Learn what phases take beside their ops (`estimator.energy.op_times.Overhead`) from networks measured as a whole.

It is fitted on times of ops that were predicted for networks that the prediction had not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from calibration.learning.learn import Measured
from estimator.energy.columns import columns_of
from estimator.energy.op_times import PLACES, Overhead, Place, place_of
from estimator.workload.ops import PHASES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _PhaseRow:
    ops_s: float
    ops: int
    module_calls: int
    kernels: float
    freed_bytes: float
    measured_s: float
    share: float
    """Of the whole batch: an error in the phase is so much of an error in the whole."""


def _phase_rows(networks: Sequence[Measured], predicted: Sequence[Floats]) -> Mapping[Place, list[_PhaseRow]]:
    rows: dict[Place, list[_PhaseRow]] = {place: [] for place in PLACES}
    for network, seconds in zip(networks, predicted, strict=True):
        columns, sample = columns_of(network.workload), network.sample
        for phase, measured_s in sample.phases.items():
            at = columns.phase == PHASES.index(phase)
            if at.any():
                row = _PhaseRow(
                    ops_s=float(seconds[at].sum()),
                    ops=int(at.sum()),
                    module_calls=network.workload.module_calls if phase == "forward" else 0,
                    kernels=float(columns.kernels[at].sum()),
                    freed_bytes=float(columns.freed_bytes[at].sum()),
                    measured_s=measured_s,
                    share=measured_s / sample.total_s,
                )
                rows[place_of(phase, network.training)].append(row)
    return rows


_US, _NS = 1e-6, 1e-9
_NONE = 1e-9
"""The upper bound of what a phase does not have: a bound may not be the lower one."""

_BOUNDS: Mapping[Place, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "inference": ((0.8, -3, 0, 0, 0, 0), (1.2, 8, 20, 50, _NONE, _NONE)),
    "forward": ((0.8, -3, 0, 0, 0, 0), (1.2, 8, 20, 50, _NONE, _NONE)),
    "backward": ((0.8, -3, 0, 0, 0, 0), (1.2, 8, _NONE, 50, _NONE, _NONE)),
    "optimizer": ((0.8, -8, 0, 0, -8, 0), (1.2, 60, _NONE, 1000, 20, 5)),
}
"""Of the scale; of microseconds per op (the timer's own cost may be taken off, up to what the shortest ops take), per
module call, phase and kernel; of nanoseconds per byte that is given back."""


_ROUNDS, _WIDTH = 20, 0.1

_FEWEST_ROWS = 15
"""Three for each coefficient of an optimizer's phase; of a phase measured less often, the scale alone is learned."""


def _robust(columns: Floats, counts: Floats, low: Sequence[float], high: Sequence[float]) -> Floats:
    """x with log(columns x) close to 0 in every row; rows far off count less (Geman and McClure's weights).

    Errors are multiplied by `counts` before they are squared. Logarithms, by Gauss-Newton steps, since (columns x - 1)
    squared punishes what is too long more than what is too short, and predicts 2-5% too little where measurements
    scatter by 20%.
    """
    x = lsq_linear(columns * counts[:, None], counts, bounds=(low, high)).x
    for _ in range(_ROUNDS):
        predicted = np.maximum(columns @ x, 1e-9)
        error = np.log(predicted)
        weight = counts / np.sqrt(1 + (error / _WIDTH) ** 2)
        x = lsq_linear(columns * (weight / predicted)[:, None], (1 - error) * weight, bounds=(low, high)).x
    return np.asarray(x)


def _columns(rows: Sequence[_PhaseRow]) -> Floats:
    """What a phase may be made of, as shares of what was measured: the columns that `_BOUNDS` names."""
    columns = [(r.ops_s, r.ops * _US, r.module_calls * _US, _US, r.kernels * _US, r.freed_bytes * _NS) for r in rows]
    shares: Floats = np.array(columns, dtype=np.float64) / np.array([[r.measured_s] for r in rows])
    return shares


def _shares(rows: Sequence[_PhaseRow]) -> Floats:
    return np.array([row.share for row in rows])


def learn_overheads(networks: Sequence[Measured], predicted: Sequence[Floats]) -> dict[Place, Overhead]:
    """What each phase takes beside its ops, on a device that runs ops as they are called (a CPU)."""
    overheads: dict[Place, Overhead] = {}
    for place, rows in _phase_rows(networks, predicted).items():
        if len(rows) < _FEWEST_ROWS:
            scales = [row.measured_s / row.ops_s for row in rows]
            overheads[place] = Overhead(min(max(median(scales), 0.8), 1.2)) if rows else Overhead()
            continue
        scale, op, call, phase, kernel, freed = _robust(_columns(rows), _shares(rows), *_BOUNDS[place]).tolist()
        overheads[place] = Overhead(scale, op * _US, call * _US, phase * _US, kernel * _US, freed * _NS)
    return overheads


_HOST_BOUND = 1.1
"""A phase that lasts so much longer than its ops on the device waited for the host."""


def learn_host(networks: Sequence[Measured], predicted: Sequence[Floats]) -> dict[Place, Overhead]:
    """What the host takes to launch each phase, on a device that runs behind it (a GPU), and the ops' common factor.

    A phase lasts as long as the slower of the two: phases far longer than their ops tell the host's cost, the others
    the device's.
    """
    overheads: dict[Place, Overhead] = {}
    for place, rows in _phase_rows(networks, predicted).items():
        waits = [row for row in rows if row.measured_s > _HOST_BOUND * row.ops_s]
        works = [row for row in rows if row.measured_s <= _HOST_BOUND * row.ops_s]
        scale = median(row.measured_s / row.ops_s for row in works) if len(works) >= 4 else 1.0
        op = call = phase = 0.0
        if len(waits) >= 4:
            columns = _columns(waits)[:, 1:4]
            op, call, phase = _robust(columns, _shares(waits), (0, 0, 0), (500, 500, 5000)).tolist()
        overheads[place] = Overhead(min(max(scale, 0.5), 2.0), op * _US, call * _US, phase * _US)
    return overheads
