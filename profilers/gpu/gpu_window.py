"""One GPU inside one window: its counter's steps, the integral of its power, and what the two say together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from profilers.gpu.counter_tail import Steps, Tail
from profilers.gpu.nvml_sensor import GpuSensor, SensorError
from profilers.integral import PLAUSIBLE_POWER_W, PowerIntegral
from profilers.reading import Component, Conditions, CrossCheck, Partial, Reading, absent, too_short

PERIOD_S = 0.02
"""How often power is read where it is all there is."""

SELDOM_S = 0.5
"""How often on average a GPU is looked at while its counter moves: power is then a coarse cross-check."""

USUAL_REFRESH_S = 0.1
"""Taken where a counter's refresh period could not be seen."""

AGREEMENT = 0.05
"""Counter and integrated power may differ by this share, and by what may have happened between two looks at power."""

_LONGEST_GAP = 0.05
"""Power unread for more than this share of the window (and ten periods, or two seldom ones) is not integrated."""

_AVERAGED_OVER_S = 1.0
"""nvmlDeviceGetPowerUsage is a mean over one second on most GPUs since Ampere (nvml.h)."""

_GOLDEN = 0.618
"""Multiples of the golden ratio, modulo 1, spread evenly and repeat nothing."""


class GpuWindow:
    """Follows one GPU: `before`, `start`, `look`, `stop`, `after`. An error of the driver ends in the reading."""

    def __init__(
        self, component: Component, sensor: GpuSensor, clock: Callable[[], float], seldom_s: float = SELDOM_S
    ) -> None:
        self._component, self._sensor, self._clock, self._seldom_s = component, sensor, clock, seldom_s
        self._refresh_s = component.refresh_s or USUAL_REFRESH_S
        self._power = PowerIntegral()
        self._conditions: list[Conditions] = []
        self._notes: list[str] = [*sensor.gpu.notes]
        self._ahead = Steps()
        """The counter ahead of the window."""
        self._tail: Tail | None = None
        """The counter after the window; None where it cannot be used."""
        self._first_j: float | None = None
        self._last_j: float | None = None
        self._last_s = 0.0
        self._lead_j = 0.0
        """Joules drawn between the counter's last step and the window's start: counted in the next step."""
        self._lead_s = 0.0
        """How exactly in time that step is known."""
        self._moves = False
        """Whether the last look saw the counter move."""
        self._moved_s = self._at_move_j = self._at_move_w = 0.0
        """The last look that saw it move; the integral of power, and power, at that moment."""
        self._silent = False
        """Whether the counter gave no answer to the last look."""
        self._counter_fault: str | None = None
        self._fault: str | None = None
        """The last look's error, if the last look failed."""
        self._started_s = self._stopped_s = 0.0
        self._answered_s = 0.0

    @property
    def period_s(self) -> float:
        """When to look again: soon where power is all there is, seldom while the counter moves.

        Seldom is between half and one and a half of `SELDOM_S`, by turns: work that repeats in step with our looks
        would show them the same power every time.
        """
        return self._seldom_s * (0.5 + self._power.samples * _GOLDEN % 1) if self._moves else PERIOD_S

    def before(self) -> None:
        """Poll the counter ahead of the window, to learn when it steps."""
        if self._sensor.has_counter:
            with suppress(SensorError):
                self._ahead.add(self._clock(), self._sensor.counter_j())

    @property
    def awaits_start(self) -> bool:
        """Whether the counter answers and has not stepped yet."""
        return self._ahead.last_j is not None and not self._ahead.found

    def start(self) -> None:
        """First look. What the counter has not shown yet of the time before is set aside."""
        self._conditions.append(self._sensor.conditions())
        self.before()
        self._started_s = self._answered_s = self._moved_s = self._clock()
        self._look(self._started_s)
        if self._first_j is None or not self._ahead.found:
            self._lead_s = self._refresh_s
        elif self._first_j != self._ahead.last_j:  # it has just stepped once more
            self._lead_s = self._started_s - self._ahead.last_s
        else:
            step = self._ahead.found[-1]
            self._lead_j = self._power.last_w * min(max(0.0, self._started_s - step.at_s), self._refresh_s)
            self._lead_s = step.between_s

    def look(self) -> None:
        """Look in mid-window."""
        self._look(self._clock())

    def stop(self) -> None:
        """Last look: the window ends here, though the counter will show its end only in its next step."""
        self._stopped_s = self._clock()
        self._look(self._stopped_s)
        self._conditions.append(self._sensor.conditions())
        if self._counter_reason() is None and self._last_j is not None:
            power_w = self._power.last_w if self._power.last_s == self._stopped_s else None
            self._tail = Tail(self._stopped_s, self._last_j, power_w, self._refresh_s)

    def after(self) -> None:
        """Poll counter and power after the window."""
        if self._tail is None or self._tail.complete:
            return
        power_w = None
        if self._sensor.power_source is not None:
            with suppress(SensorError):
                power_w = self._sensor.power_w()
        with suppress(SensorError):
            self._tail.add(self._clock(), self._sensor.counter_j(), power_w)

    @property
    def awaits_end(self) -> bool:
        """Whether the counter has still to show what it owes of the window."""
        return self._tail is not None and not self._tail.complete

    @property
    def refresh_s(self) -> float:
        """How often the counter is refreshed."""
        return self._refresh_s

    def reading(self) -> Reading:
        """What is known of the window, from the best source that held to its end."""
        component, duration_s = self._component, max(0.0, self._stopped_s - self._started_s)
        conditions, notes = tuple(self._conditions), tuple(self._notes)
        if self._fault is not None:
            until_s = max(0.0, self._answered_s - self._started_s)
            known_j = self._counted_j() or self._power.energy_j
            return absent(
                component,
                duration_s,
                f"{self._fault}, since {until_s:.3g} s into the window",
                partial=Partial(known_j, until_s) if known_j > 0 else None,
                notes=notes,
                conditions=conditions,
            )
        reason = too_short(component, duration_s)
        if reason is not None:
            return absent(component, duration_s, reason, notes=notes, conditions=conditions)
        return self._measured(duration_s, conditions) or self._integrated(duration_s, conditions)

    def _look(self, now_s: float) -> None:
        answered, errors = False, []
        for source in (self._look_at_power, self._look_at_counter):
            try:
                answered = source(now_s) or answered
            except SensorError as error:
                errors.append(str(error))
        if answered:
            self._fault, self._answered_s = None, now_s
        else:
            self._fault = errors[-1] if errors else "this GPU has neither an energy counter nor a power sensor"

    def _look_at_power(self, now_s: float) -> bool:
        if self._sensor.power_source is None:
            return False
        self._power.add(now_s, self._sensor.power_w())
        return True

    def _look_at_counter(self, now_s: float) -> bool:
        if not self._sensor.has_counter:
            return False
        self._moves, self._silent = False, True
        value_j = self._sensor.counter_j()
        self._silent = False
        if self._first_j is None:
            self._first_j, self._moves = value_j, now_s == self._started_s and bool(self._ahead.found)
            if now_s > self._started_s:
                self._counter_fault = "the counter did not answer at the window's start"
        elif self._last_j is not None and self._counter_fault is None:
            step_j, elapsed_s = value_j - self._last_j, now_s - self._last_s
            if step_j < 0:
                self._counter_fault = (
                    f"the counter went from {self._last_j:.0f} J down to {value_j:.0f} J: it was reset"
                )
            elif step_j > PLAUSIBLE_POWER_W * (elapsed_s + 1.0):
                self._counter_fault = (
                    f"the counter rose by {step_j:.3g} J in {elapsed_s:.3g} s: it was reset or is damaged"
                )
            elif step_j > 0:
                self._moves, self._moved_s = True, now_s
                self._at_move_j, self._at_move_w = self._power.energy_j, self._power.last_w
        if self._counter_fault is None:
            self._last_j, self._last_s = value_j, now_s
        return True

    def _counted_j(self) -> float:
        """What the counter has shown of the window: last - first."""
        return 0.0 if self._last_j is None or self._first_j is None else max(0.0, self._last_j - self._first_j)

    def _measured(self, duration_s: float, conditions: tuple[Conditions, ...]) -> Reading | None:
        """The counter's difference, less what it still owed from before, plus what it owed at the end."""
        if self._counter_reason() is not None or self._tail is None:
            return None
        tail = self._tail.energy_j()
        if tail is None:
            return None
        energy_j = self._counted_j() - self._lead_j + tail[0]
        if energy_j <= 0:
            return None
        check, notes = self._cross_check(energy_j, duration_s), list(self._notes)
        if check is not None and not check.agrees:
            notes.append(
                f"counter and integrated power disagree: {check.integrated_j:.4g} J integrated, "
                f"{check.relative_difference:+.1%} (bound {check.bound:.1%})"
            )
        return Reading(
            self._component,
            "measured",
            duration_s,
            energy_j,
            tail[1] + self._lead_s * energy_j / duration_s,
            notes=tuple(notes),
            cross_check=check,
            conditions=conditions,
        )

    def _integrated(self, duration_s: float, conditions: tuple[Conditions, ...]) -> Reading:
        """The counter as long as it moved, and the integral of power from then on.

        The counter was then half a refresh behind, on average. Power may have been looked at seldom until it was
        noticed that the counter no longer moved: what one such gap may hide is in the uncertainty.
        """
        notes = list(self._notes)
        reason = self._counter_reason() or "the counter took no step after the window's end"
        energy_j = self._power.energy_j - self._at_move_j
        if self._counted_j() > 0:
            energy_j += self._counted_j() - self._lead_j + self._at_move_w * self._refresh_s / 2
        if not self._power_holds(duration_s) or energy_j <= 0:
            lacking = "this GPU has no power sensor"
            if self._sensor.power_source is not None:
                lacking = f"power went unread for {self._unread_s():.3g} s, or was 0"
            return absent(
                self._component,
                duration_s,
                f"{reason}, and {lacking}",
                notes=tuple(notes),
                conditions=conditions,
            )
        since = f": power from {self._moved_s - self._started_s:.3g} s on" if self._counted_j() > 0 else ""
        notes.append(reason + since)
        lag_s = self._refresh_s
        if self._sensor.power_source == "average":
            lag_s = _AVERAGED_OVER_S
            notes.append("only average power is readable: what happened within a second of the edges is blurred")
        return Reading(
            self._component,
            "integrated",
            duration_s,
            energy_j,
            (lag_s + self._unread_s()) * energy_j / duration_s,
            notes=tuple(notes),
            conditions=conditions,
        )

    def _counter_reason(self) -> str | None:
        """Why the counter cannot be used, if it cannot."""
        if not self._sensor.has_counter:
            return "this GPU has no energy counter"
        if self._counter_fault is not None:
            return self._counter_fault
        if self._silent:
            return "the counter stopped answering"
        return None if self._counted_j() else "the counter did not move in the window"

    def _cross_check(self, energy_j: float, duration_s: float) -> CrossCheck | None:
        """Integrated power beside the counter. Its bound grows with what seldom looks may miss.

        That is one gap between looks, at mean power, and half of every jump between two looks for as long as they are
        apart: the trapezoid rule is off by so much where power jumped once, right after one of them.
        """
        if not self._power_holds(duration_s) or self._power.energy_j <= 0:
            return None
        missed = (2 * self._refresh_s + self._unread_s()) / duration_s + self._power.jumps_j / energy_j
        return CrossCheck(energy_j, self._power.energy_j, AGREEMENT + missed)

    def _power_holds(self, duration_s: float) -> bool:
        """Whether power was read from start to stop without a gap that matters."""
        seldom_s = 2 * self._seldom_s if self._sensor.has_counter else 0.0
        allowed_s = max(10 * PERIOD_S, seldom_s, _LONGEST_GAP * duration_s)
        return self._power.samples >= 3 and self._unread_s() <= allowed_s

    def _unread_s(self) -> float:
        return self._power.unread_s(self._started_s, self._stopped_s)
