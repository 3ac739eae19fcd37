"""A meter and a watch that say what they are told, for what stands above the hardware."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from profilers.load import Load
from profilers.meter import Activity, Meter
from profilers.reading import Component, Reading, absent


class SteadyMeter:
    """A meter of one component that draws what it is told, on a real or a simulated clock."""

    name = "steady"

    def __init__(
        self, clock: Callable[[], float], powers_w: Sequence[float] = (100.0,), refresh_s: float = 0.001
    ) -> None:
        self.clock, self.powers_w, self.refresh_s = clock, list(powers_w), refresh_s
        self.said: list[str] = []
        self.active = Activity()

    def components(self) -> tuple[Component, ...]:
        return (Component("package-0", "package", self.name, refresh_s=self.refresh_s),)

    def prepare(self) -> SteadyTake:
        self.said.append("prepare")
        return SteadyTake(self)

    def activity(self) -> Activity:
        return self.active


class SteadyTake:
    period_s = 0.02

    def __init__(self, meter: SteadyMeter) -> None:
        self.meter, self.started_s, self.stopped_s = meter, 0.0, 0.0

    def start(self) -> None:
        self.meter.said.append("start")
        self.started_s = self.meter.clock()

    def sample(self) -> None:
        self.meter.said.append("sample")

    def stop(self) -> None:
        self.meter.said.append("stop")
        self.stopped_s = self.meter.clock()

    def readings(self) -> tuple[Reading, ...]:
        (component,), duration_s = self.meter.components(), self.stopped_s - self.started_s
        power_w = self.meter.powers_w.pop(0) if len(self.meter.powers_w) > 1 else self.meter.powers_w[0]
        if duration_s <= 0:
            return (absent(component, 0.0, "no time passed"),)
        return (Reading(component, "measured", duration_s, power_w * duration_s),)


class ScriptedWatch:
    """Looks at a machine whose other load is written down beforehand, in cores per look; quiet after the last."""

    def __init__(self, *cores: float) -> None:
        self.cores, self.asked = list(cores), 0

    def __call__(self, meters: Sequence[Meter], limit_cores: float, working: bool) -> ScriptedWatch:
        return self

    def load(self) -> Load:
        self.asked += 1
        return Load(1.0, self.cores.pop(0) if self.cores else 0.0, 0.2, ("miner (pid 7) 1.00",))
