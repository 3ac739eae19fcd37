"""Fit the constants of `estimator.energy.collectives` on NCCL's times, and leave each device out.

python -m calibration.published.collectives DIRECTORY
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from estimator.energy.collectives import Collective
from estimator.hardware.links import links_of

Floats = NDArray[np.float64]
LARGE_BYTES = 2**20
"""From here on errors are judged: smaller tensors are bucketed."""

_NAMES: Mapping[str, Collective] = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}


@dataclass(frozen=True)
class Timed:
    """One collective as it was timed."""

    device: str
    kind: Collective
    size_bytes: float
    devices: int
    seconds: float


def read(directory: Path) -> list[Timed]:
    """NCCL's times in half precision between boards with NVLink. Needs pandas and pyarrow (`pip install .[data]`)."""
    import pandas as pd

    frame = pd.read_parquet(directory / "ops" / "nvidia_nccl.parquet")
    frame = frame[frame.nccl_dtype == "half"]
    return [
        Timed(e.device_name, _NAMES[e.op_name], 2.0 * e.message_size, int(e.num_gpus), 1e-3 * e.time_ms)
        for e in frame.itertuples()
        if links_of(e.device_name, "gpu")[0].name == "NVLink"
    ]


def predicted(constants: Floats, rows: Sequence[Timed]) -> Floats:
    """Seconds under (start, hop, reached, half): the equation of `estimator.energy.collectives`."""
    start, hop, reached, half = constants
    passes = np.array([2 if row.kind == "all_reduce" else 1 for row in rows])
    devices = np.array([row.devices for row in rows])
    size = np.array([row.size_bytes for row in rows])
    link = np.array([links_of(row.device, "gpu")[0].bytes_per_s for row in rows])
    rounds = passes * (devices - 1)
    found: Floats = start + hop * rounds + rounds / devices * size / (reached * link) * (1 + np.sqrt(half / size))
    return found


def fit(rows: Sequence[Timed]) -> Floats:
    """(start, hop, reached, half): robust least squares of log(predicted / measured)."""
    measured = np.log([row.seconds for row in rows])

    def residuals(x: Floats) -> Floats:
        return np.asarray(np.log(predicted(np.exp(x), rows)) - measured)

    return np.asarray(np.exp(least_squares(residuals, np.log([5e-6, 1e-6, 0.7, 4e6]), loss="soft_l1").x))


def main() -> None:
    """Print the constants, and the error of each device left out."""
    parser = argparse.ArgumentParser(prog="python -m calibration.published.collectives", description="Fit collectives.")
    parser.add_argument("directory", type=Path, help="the folder of the published files")
    rows = read(parser.parse_args().directory)
    start, hop, reached, half = fit(rows)
    print(f"start {start:.3g} s, hop {hop:.3g} s, reached {reached:.3g}, half {half:.3g} B, {len(rows)} rows")
    for device in dict.fromkeys(row.device for row in rows):
        constants = fit([row for row in rows if row.device != device])
        large = [row for row in rows if row.device == device and row.size_bytes >= LARGE_BYTES]
        ratios = predicted(constants, large) / np.array([row.seconds for row in large])
        bias = float(np.exp(np.log(ratios).mean()))
        print(f"left out {device:24} mean {np.abs(ratios - 1).mean():6.1%}  bias x{bias:.2f}  n={len(large)}")


if __name__ == "__main__":
    main()
