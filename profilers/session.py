"""Measure a block of code, the idle machine, or a call repeated until its windows agree.

with measure(meters) as window:
    work()
window.measurement.total.energy_j
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean

from profilers.errors import BusyError, MeterError
from profilers.fingerprint import Fingerprint, fingerprint
from profilers.load import LoadPolicy
from profilers.measurement import Baseline, Measurement, Noise, baseline_of, relative_deviation
from profilers.meter import Meter, Take
from profilers.reading import Reading
from profilers.sampling import Sampler

QUIET = LoadPolicy()
"""Look for a second; on a busy machine wait half a minute, then refuse."""


class Window:
    """A window under way, and afterwards what was measured in it."""

    def __init__(self) -> None:
        self._measurement: Measurement | None = None

    @property
    def measurement(self) -> Measurement:
        """The measurement, once the block has ended (also by an exception)."""
        if self._measurement is None:
            raise MeterError("the window is still open: ask for its measurement after the with block")
        return self._measurement


@contextmanager
def measure(
    meters: Sequence[Meter],
    *,
    label: str = "",
    synchronise: Callable[[], object] | None = None,
    baseline: Baseline | None = None,
    policy: LoadPolicy | None = QUIET,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Window]:
    """Measure a block. Everything is set up before the first reading; an exception still leaves a measurement.

    synchronise: called right before the first reading and right before the last, such as `torch.cuda.synchronize`.
    policy: what to do on a busy machine; None does not look.
    """
    if not meters:
        raise MeterError(
            "there is no meter to measure with: `estimate meters` says what this machine lacks, and the remedy"
        )
    known = _fingerprint(meters)
    if policy is not None:
        policy.wait_until_quiet(meters)
    takes = [(meter, meter.prepare()) for meter in _slowest_first(meters)]
    sampler = Sampler([take for _, take in takes], clock)
    watch = policy.begin(meters, working=True) if policy is not None else None
    window, interrupted = Window(), None
    if synchronise is not None:
        synchronise()
    for _, take in takes:
        take.start()
    started_s = clock()
    try:
        sampler.start()
        yield window
        if synchronise is not None:
            synchronise()
    except BaseException as error:
        interrupted = type(error).__name__
        raise
    finally:
        sampler.stop()
        duration_s = max(0.0, clock() - started_s)
        for _, take in takes:
            take.stop()
        window._measurement = Measurement(
            duration_s=duration_s,
            readings=_in_order(meters, takes),
            label=label,
            baseline=baseline,
            load=None if watch is None else watch.load(),
            busy_allowed=policy is not None and policy.allow_busy,
            fingerprint=known,
            interrupted=interrupted,
            notes=("sampling broke off in mid-window: see the traceback on stderr",) if sampler.broke_off else (),
        )


def measure_idle(
    meters: Sequence[Meter],
    duration_s: float = 10.0,
    *,
    policy: LoadPolicy | None = QUIET,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> Baseline:
    """The machine's idle power, from a window in which we do nothing. A busy machine has none: it is refused."""
    with measure(meters, label="idle", policy=policy, clock=clock) as window:
        sleep(duration_s)
    idle = window.measurement
    if idle.busy and not idle.busy_allowed:
        raise BusyError(
            f"the idle baseline was disturbed: {'; '.join(idle.busy)}. Stop that work, or pass --allow-busy"
        )
    return baseline_of(idle)


@dataclass(frozen=True)
class Plan:
    """How a call is repeated until its windows agree."""

    warm_up_s: float = 1.0
    minimum_window_s: float = 0.5
    """A window holds as many calls as this takes, or as the slowest counter takes if that is longer."""
    windows: int = 3
    most_windows: int = 10
    relative_deviation: float = 0.02
    cool_down_s: float = 1.0


@dataclass(frozen=True)
class Series:
    """Equal windows of one repeated call."""

    windows: tuple[Measurement, ...]
    calls_per_window: int
    noise: Mapping[str, Noise]
    discarded: tuple[str, ...] = ()
    """Windows in which the machine was busy, with what was seen."""

    @property
    def settled(self) -> bool:
        """Whether every component's windows agree within the bound."""
        return bool(self.noise) and all(noise.within_bound for noise in self.noise.values())

    def energy_per_call_j(self, name: str) -> float | None:
        """A component's mean joules per call; None if it is absent in a window."""
        readings = [window.reading(name) for window in self.windows]
        energies = [reading.energy_j for reading in readings if reading is not None and reading.energy_j is not None]
        return fmean(energies) / self.calls_per_window if energies and len(energies) == len(readings) else None

    @property
    def duration_per_call_s(self) -> float:
        """Mean seconds per call."""
        return fmean(window.duration_s for window in self.windows) / self.calls_per_window


def measure_repeatedly(
    call: Callable[[], object],
    meters: Sequence[Meter],
    plan: Plan = Plan(),
    *,
    label: str = "",
    synchronise: Callable[[], object] | None = None,
    baseline: Baseline | None = None,
    policy: LoadPolicy | None = QUIET,
    clock: Callable[[], float] = time.perf_counter,
) -> Series:
    """Warm up, then measure equal windows of `call` until they agree within the plan's bound or its limit is reached.

    Windows disturbed by other work are thrown away and repeated while the limit allows; where all are, `BusyError`.
    """
    if policy is not None:
        policy.wait_until_quiet(meters)
    for meter in meters:
        meter.prepare()
    calls = _calls_per_window(call, _shortest_window_s(meters, plan), plan, synchronise, clock)
    inside = None if policy is None else replace(policy, look_s=plan.cool_down_s)
    kept: list[Measurement] = []
    discarded: list[str] = []
    while len(kept) + len(discarded) < plan.most_windows:
        with measure(
            meters, label=label, synchronise=synchronise, baseline=baseline, policy=inside, clock=clock
        ) as window:
            for _ in range(calls):
                call()
        seen = window.measurement
        if seen.busy and not seen.busy_allowed:
            discarded.append("; ".join(seen.busy))
            continue
        kept.append(seen)
        noise = _noise(kept, plan)
        if len(kept) >= plan.windows and noise and all(known.within_bound for known in noise.values()):
            break
    if not kept:
        raise BusyError(
            f"all {len(discarded)} windows were disturbed: {discarded[-1]}. Stop that work, or pass --allow-busy"
        )
    noise = _noise(kept, plan)
    return Series(tuple(replace(window, noise=noise) for window in kept), calls, noise, tuple(discarded))


def _calls_per_window(
    call: Callable[[], object],
    window_s: float,
    plan: Plan,
    synchronise: Callable[[], object] | None,
    clock: Callable[[], float],
) -> int:
    """Warm up for the plan's time, and from the last, longest batch tell how many calls fill a window."""
    begun_s, batch = clock(), 1
    while True:
        batch_s = clock()
        for _ in range(batch):
            call()
        if synchronise is not None:
            synchronise()
        took_s = max(clock() - batch_s, 1e-9)
        if clock() - begun_s >= plan.warm_up_s and (took_s >= 0.1 * window_s or batch >= 2**30):
            return max(1, math.ceil(1.1 * window_s / took_s * batch))
        batch = batch if took_s >= 0.1 * window_s else batch * 2


def _shortest_window_s(meters: Sequence[Meter], plan: Plan) -> float:
    """The plan's window, or the slowest counter's if that is longer, with a tenth to spare."""
    needed = [component.minimum_window_s for meter in meters for component in meter.components()]
    return max([plan.minimum_window_s, *(1.1 * window_s for window_s in needed)])


def _noise(windows: Sequence[Measurement], plan: Plan) -> dict[str, Noise]:
    """Per component that spoke in every window: how far the windows are from each other."""
    noise = {}
    for reading in windows[0].readings:
        name = reading.component.name
        energies = [
            found.energy_j
            for window in windows
            if (found := window.reading(name)) is not None and found.energy_j is not None
        ]
        if len(energies) == len(windows):
            noise[name] = Noise(len(windows), relative_deviation(energies), plan.relative_deviation)
    return noise


def _slowest_first(meters: Sequence[Meter]) -> list[Meter]:
    """A meter that waits for its counter's next step must start before the others, or they would count the wait."""
    return sorted(meters, key=lambda meter: -max((part.refresh_s or 0.0 for part in meter.components()), default=0.0))


def _in_order(meters: Sequence[Meter], takes: Sequence[tuple[Meter, Take]]) -> tuple[Reading, ...]:
    by_meter = {id(meter): take for meter, take in takes}
    return tuple(reading for meter in meters for reading in by_meter[id(meter)].readings())


def _fingerprint(meters: Sequence[Meter]) -> Fingerprint:
    gpus = [part for meter in meters for part in meter.components() if part.kind == "gpu"]
    return fingerprint([part.device or part.name for part in gpus], next((part.driver for part in gpus), None))
