"""Measure known networks beside a calibration, at several moments, so that the machine's drift does not decide."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from calibration.measuring.running import energy_of, free, passes, workload_of
from calibration.measuring.stopwatch import stopwatch_of
from calibration.measuring.timing import Run
from calibration.networks.known_networks import Known
from calibration.networks.random_networks import with_data
from estimator.base.errors import FOREIGN_ERRORS
from estimator.workload.ops import Workload
from profilers.meter import Meter


@dataclass
class Checked:
    """A known network with what was measured of it, once a round: seconds, and joules where a meter reads them."""

    known: Known
    dtype: str
    workload: Workload
    seconds: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)

    @property
    def energy_j(self) -> float | None:
        """Median over the rounds; None where it was not measured."""
        return statistics.median(self.joules) if self.joules else None

    @property
    def spread(self) -> float | None:
        """How far the rounds are apart, (largest - smallest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.duration_s if len(self.seconds) > 1 else None

    @property
    def repeatability(self) -> float | None:
        """How far the medians of every second round and of the others are apart, of the median of all."""
        if len(self.seconds) < 2:
            return None
        return abs(statistics.median(self.seconds[::2]) - statistics.median(self.seconds[1::2])) / self.duration_s


def to_check(networks: Iterable[Known], dtypes: Sequence[str] = ("float32",)) -> list[Checked]:
    """The networks, traced, in every dtype."""
    return [Checked(known, dtype, workload_of(known.network(dtype))) for known in networks for dtype in dtypes]


def measure_round(checks: list[Checked], device: str, meters: Sequence[Meter] = ()) -> None:
    """Measure every network once. One that does not run on the device is taken off the list, and that is said."""
    for check in list(checks):
        try:
            _measure(check, device, meters)
        except FOREIGN_ERRORS as error:
            checks[:] = [other for other in checks if other is not check]
            why = (str(error).splitlines() or [""])[0][:200]
            print(f"{check.known.name} does not run on {device} in {check.dtype}: {why}", file=sys.stderr, flush=True)
        with suppress(RuntimeError):  # of a device that answers nothing any more
            free(device)


def _runs(batch_s: float) -> int:
    """How often a batch is timed in a round: a round more tells more than another run, next to the last one."""
    return 3 if batch_s > 0.05 else passes(batch_s)[0]


def _measure(check: Checked, device: str, meters: Sequence[Meter]) -> None:
    stopwatch = stopwatch_of(device)
    run = Run(with_data(check.known.network(check.dtype), device), stopwatch)
    batch_s = run.warm_up()
    check.seconds.append(run.whole(_runs(batch_s)).total_s)
    joules, _ = energy_of(run, batch_s, meters, stopwatch)
    if joules is not None:
        check.joules.append(joules)
