"""A recorded run read back as a meter, so that everything above the hardware can be tried without hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from profilers.errors import RecordError
from profilers.meter import Activity
from profilers.reading import Component, Reading
from profilers.record import Run, read


class ReplayMeter:
    """Gives the readings of recorded runs, one run per window, and from the beginning again after the last.

    Each reading keeps its recorded status, joules and duration, and says that it was replayed.
    """

    name = "replay"

    def __init__(self, runs: Sequence[Run]) -> None:
        if not runs:
            raise RecordError(
                "there is no whole run to replay: record one with `estimate measure --record FILE -- COMMAND`"
            )
        self._runs = tuple(runs)
        self._next = 0

    @classmethod
    def of(cls, path: Path) -> ReplayMeter:
        """The runs of a record file."""
        return cls(read(path).runs)

    def components(self) -> tuple[Component, ...]:
        """Those of the first run. Nothing is waited for, so they have no refresh period."""
        return tuple(_replayed(reading.component) for reading in self._runs[0].measurement.readings)

    def prepare(self) -> ReplayTake:
        """The window that plays the next run."""
        return ReplayTake(self)

    def activity(self) -> Activity | None:
        """None: a record is used by nobody."""
        return None

    def next_run(self) -> Run:
        """The run that the next window plays."""
        run = self._runs[self._next % len(self._runs)]
        self._next += 1
        return run


class ReplayTake:
    """One window of a replay."""

    period_s = 60.0

    def __init__(self, meter: ReplayMeter) -> None:
        self._meter = meter
        self._run: Run | None = None

    def start(self) -> None:
        """Take the next run."""
        self._run = self._meter.next_run()

    def sample(self) -> None:
        """Nothing changes in a record."""

    def stop(self) -> None:
        """Nothing to read."""

    def readings(self) -> tuple[Reading, ...]:
        """The run's readings."""
        if self._run is None:
            return ()
        said = f"replayed from run {self._run.run_id} of {self._run.recorded_at}"
        return tuple(
            replace(reading, component=_replayed(reading.component), notes=(*reading.notes, said))
            for reading in self._run.measurement.readings
        )


def _replayed(component: Component) -> Component:
    return replace(component, meter=f"replay of {component.meter.removeprefix('replay of ')}", refresh_s=None)
