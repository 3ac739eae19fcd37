"""What simpler methods predict from the same rows: costs linear in parameters, FLOPs, bytes; a factor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.published.rows import Row
from estimator.workload.ops import Workload

Floats = NDArray[np.float64]


class Costed(Protocol):
    """What simpler methods look at."""

    @property
    def workload(self) -> Workload:
        """One batch."""

    @property
    def parameters(self) -> int | None:
        """Elements; None of a single operation, of which `PARAMETERS` says nothing."""


Features = Callable[[Costed], tuple[float, ...]]

PARAMETERS = "parameters"
BASELINES: Mapping[str, Features] = {
    PARAMETERS: lambda row: ((row.parameters or 0) * row.workload.batch_size, 1.0),
    "FLOPs": lambda row: (row.workload.flops, 1.0),
    "FLOPs + bytes + constant": lambda row: (row.workload.flops, row.workload.bytes_moved, 1.0),
}
"""Cost of a batch = weights . features, weights not negative. Parameters count once a sample."""

THETA = 5.0
"""Training energy over inference energy of as many samples: 1 / (1 - 0.8), the overhead of Gitzel et al. 2023."""


def linear(seen: Sequence[Costed], measured: Floats, unseen: Sequence[Costed], features: Features) -> Floats:
    """Costs of `unseen`, by least squares of relative errors on `seen`, whose costs are `measured`."""
    x = np.array([features(row) for row in seen]) / measured[:, None]
    scale = x.max(axis=0)
    weights, _ = nnls(x / scale, np.ones(len(seen)))
    costs: Floats = np.array([features(row) for row in unseen]) @ (weights / scale)
    return costs


def theta_of(row: Row, rows: Sequence[Row]) -> float | None:
    """5 x what the same network's inference was MEASURED to take on the same machine; None where nobody measured it."""

    def key(of: Row) -> tuple[str, str, str, int]:
        return of.device, of.model, of.dtype, of.workload.batch_size

    inference = next((r for r in rows if r.phase == "inference" and key(r) == key(row)), None)
    return None if inference is None or inference.energy_j is None else THETA * inference.energy_j
