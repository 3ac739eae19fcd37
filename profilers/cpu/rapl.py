"""RAPL through powercap: joules of CPU packages and DRAM, from counters of microjoules.

Counters wrap at `max_energy_range_uj` (65 to 262 kJ: minutes at full load), so they are looked at in mid-window; a step
that no wrap explains is a reset or damage, and makes the component absent instead of wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilers.cpu import powercap
from profilers.cpu.powercap import Group, Zone, ZoneError
from profilers.meter import Activity
from profilers.reading import Component, Conditions, Partial, Reading, absent, too_short

REFRESH_S = 0.001
"""RAPL counters are updated about once per millisecond (Intel SDM, volume 3, "RAPL interfaces")."""

BOUND_W = 2_000.0
"""More than any zone can draw: the largest sockets announced have a TDP of 500 W. A faster counter is damaged."""

PERIOD_S = 0.35
"""How often the counters are looked at, so that of a zone that vanishes at most this much is lost."""

MIRROR_J = 1.0
"""Two counters this close at both edges of a window are one counter shown twice: read one after the other, they may
differ by what the package drew in between (1 J is 3 ms at 300 W). Independent dies come this close, out of a range of
65 kJ, once in 10,000 windows, and only where they also drew the same."""

_SLACK_S = 0.1
"""A counter that is refreshed late may show this much time's energy at once."""


class CounterError(Exception):
    """A counter moved in a way that neither power nor a wrap explains."""


@dataclass(frozen=True)
class Unreadable:
    """A component that exists and cannot be read, with why and what to do."""

    name: str
    why: str
    remedy: str | None


def step_uj(before_uj: int, after_uj: int, range_uj: int | None, elapsed_s: float, bound_w: float = BOUND_W) -> int:
    """Microjoules between two looks at a counter that wraps to 0 at `range_uj`.

    after - before, or range - before + after where it went down. Raises `CounterError` where several wraps would fit,
    or where the step would need more than `bound_w` watts: then the counter was reset, or lies.
    """
    if range_uj is not None and max(before_uj, after_uj) > range_uj:
        raise CounterError(f"the counter showed {max(before_uj, after_uj)} uJ, beyond its own range of {range_uj} uJ")
    if range_uj is not None and elapsed_s * bound_w * 1e6 > range_uj:
        raise CounterError(
            f"the counter was not looked at for {elapsed_s:.3g} s, and may have wrapped more than once at {range_uj} uJ"
        )
    step = after_uj - before_uj
    if step < 0:
        if range_uj is None:
            raise CounterError(
                "the counter went down, and without max_energy_range_uj a wrap cannot be told from a reset"
            )
        step += range_uj
    if step / 1e6 > bound_w * (elapsed_s + _SLACK_S):
        raise CounterError(
            f"the counter went from {before_uj} to {after_uj} uJ in {elapsed_s:.3g} s: "
            f"neither a wrap nor power below {bound_w:.0f} W explains it, so it was reset or is damaged"
        )
    return step


class RaplMeter:
    """Reads the packages and DRAM of this machine. `root` is the powercap directory, `clock` is in seconds."""

    name = "rapl"

    def __init__(
        self,
        root: Path = powercap.ROOT,
        clock: Callable[[], float] = time.perf_counter,
        conditions: Callable[[], Conditions | None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._conditions = conditions
        self._groups = powercap.groups(powercap.find_zones(root))

    def components(self) -> tuple[Component, ...]:
        """The components that can be read."""
        return tuple(_component(group) for group in self._groups if group.reason is None)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """The components that exist and cannot be read."""
        return tuple(Unreadable(group.name, group.reason, group.remedy) for group in self._groups if group.reason)

    def prepare(self) -> RaplTake:
        """A window; components that cannot be read will be absent in it, with the reason."""
        return RaplTake(self._groups, self._clock, self._conditions)

    def activity(self) -> Activity | None:
        """None: the load of CPUs is looked at by `profilers.load`."""
        return None


class RaplTake:
    """One window of every group of zones."""

    def __init__(
        self, groups: Sequence[Group], clock: Callable[[], float], conditions: Callable[[], Conditions | None]
    ) -> None:
        self._clock = clock
        self._read_conditions = conditions
        self._counters = {group: [_Counter(zone) for zone in group.zones] for group in groups}
        self.period_s = _period_s(groups)
        self._at_break: dict[Group, dict[_Counter, int]] = {}
        self._conditions: list[Conditions] = []
        self._started_s = self._stopped_s = 0.0

    def start(self) -> None:
        """First look at every counter."""
        self._note_conditions()
        self._started_s = self._clock()
        self.sample()

    def sample(self) -> None:
        """Look at every counter."""
        for group, counters in self._counters.items():
            for counter in counters:
                counter.look(self._clock(), self._started_s)
            if group not in self._at_break and any(counter.reason is not None for counter in counters):
                self._at_break[group] = {counter: counter.total_uj for counter in counters}

    def stop(self) -> None:
        """Last look at every counter."""
        self._stopped_s = self._clock()
        self.sample()
        self._note_conditions()

    def readings(self) -> tuple[Reading, ...]:
        """One reading per component."""
        return tuple(self._reading(group, counters) for group, counters in self._counters.items())

    def _note_conditions(self) -> None:
        seen = self._read_conditions()
        if seen is not None:
            self._conditions.append(seen)

    def _reading(self, group: Group, counters: list[_Counter]) -> Reading:
        component, duration_s = _component(group), max(0.0, self._stopped_s - self._started_s)
        conditions = tuple(self._conditions) if group.kind == "package" else ()
        if group.reason is not None:
            return absent(component, duration_s, group.reason, notes=(group.remedy,) if group.remedy else ())
        own = list(_without_mirrors(counters))
        notes = tuple(
            f"{counter.zone.name} ({counter.zone.zone_id}) shows the counter of another zone and is counted once"
            for counter in counters
            if counter not in own
        )
        if not group.in_total:
            notes = (*notes, "holds the packages and more, so it is not added to them")
        broken = next((counter for counter in own if counter.reason is not None), None)
        energy_j = sum(counter.total_uj for counter in own) / 1e6
        if broken is not None:
            until_then_j = sum(self._at_break[group][counter] for counter in own) / 1e6
            partial = Partial(until_then_j, broken.until_s) if until_then_j > 0 else None
            return absent(
                component, duration_s, broken.reason or "", partial=partial, notes=notes, conditions=conditions
            )
        reason = too_short(component, duration_s)
        if reason is None and energy_j <= 0:
            reason = "the counter did not move in the whole window: a virtual machine, or a disabled sensor"
        if reason is not None:
            return absent(component, duration_s, reason, notes=notes, conditions=conditions)
        uncertainty_j = energy_j * REFRESH_S / duration_s
        return Reading(component, "measured", duration_s, energy_j, uncertainty_j, notes=notes, conditions=conditions)


class _Counter:
    """One zone inside one window."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.total_uj = 0
        self.until_s = 0.0
        """Seconds after the window's start up to which `total_uj` is known."""
        self.reason: str | None = None
        self.first_uj: int | None = None
        self._last_uj = 0
        self._last_s = 0.0

    def look(self, now_s: float, started_s: float) -> None:
        """Add what was drawn since the last look; after a failure there are no more looks."""
        if self.reason is not None:
            return
        try:
            value_uj = self.zone.energy_uj()
            if self.first_uj is None:
                self.first_uj = value_uj
            else:
                self.total_uj += step_uj(self._last_uj, value_uj, self.zone.range_uj, now_s - self._last_s)
        except (ZoneError, CounterError) as error:
            self.reason = f"{now_s - started_s:.3g} s into the window {error}"
            return
        self._last_uj, self._last_s = value_uj, now_s
        self.until_s = max(0.0, now_s - started_s)

    def mirrors(self, other: _Counter) -> bool:
        """Whether both showed the same count at the start and, if both were read to it, at the end: they are one."""
        if self.first_uj is None or other.first_uj is None or self.zone.range_uj != other.zone.range_uj:
            return False
        whole = self.reason is None and other.reason is None
        return abs(self.first_uj - other.first_uj) <= MIRROR_J * 1e6 and (
            not whole or abs(self.total_uj - other.total_uj) <= MIRROR_J * 1e6
        )


def _without_mirrors(counters: Sequence[_Counter]) -> Iterator[_Counter]:
    """The counters, of those that show the same one only the first; of those, one that was read to the end if any."""
    kept: list[_Counter] = []
    for counter in sorted(counters, key=lambda counter: counter.reason is not None):
        if not any(counter.mirrors(earlier) for earlier in kept):
            kept.append(counter)
            yield counter


def _period_s(groups: Sequence[Group]) -> float:
    """Often enough for four looks per turn of the fastest counter, at more power than it can draw."""
    ranges = [zone.range_uj for group in groups for zone in group.zones if zone.range_uj is not None]
    return min([PERIOD_S, *(range_uj / 1e6 / BOUND_W / 4 for range_uj in ranges)])


def _component(group: Group) -> Component:
    return Component(group.name, group.kind, "rapl", group.name, REFRESH_S, group.in_total)
