"""One GPU inside one window: its counter's steps, the integral of its power, and what the two say together."""

from __future__ import annotations

from collections.abc import Callable

from profilers.integral import PLAUSIBLE_POWER_W, PowerIntegral
from profilers.nvml_sensor import GpuSensor, SensorError
from profilers.reading import Component, Conditions, CrossCheck, Partial, Reading, absent, too_short

AGREEMENT = 0.05
"""Counter and integrated power may differ by this share, and by one refresh of the counter at either edge."""

_LONGEST_GAP = 0.05
"""Power unread for more than this share of the window (and ten periods) makes its integral worthless."""

_AVERAGED_OVER_S = 1.0
"""nvmlDeviceGetPowerUsage is a mean over one second on most GPUs since Ampere (nvml.h)."""


class GpuWindow:
    """Follows one GPU from `start` to `stop`. An error of the driver never leaves it: it ends in the reading."""

    def __init__(self, component: Component, sensor: GpuSensor, clock: Callable[[], float], period_s: float) -> None:
        self._component, self._sensor, self._clock, self._period_s = component, sensor, clock, period_s
        self._power = PowerIntegral()
        self._conditions: list[Conditions] = []
        self._notes: list[str] = [*sensor.gpu.notes]
        self._polled_j: float | None = None
        self._stepped_s: float | None = None
        """When the counter was last seen to step ahead of the window; None before the first step."""
        self._between_looks_j = 0.0
        """The integral of power half way between the last two looks: where a step seen now happened, on average."""
        self._at_step_j = 0.0
        """The integral of power when the counter last stepped inside the window."""
        self._silent = False
        """Whether the counter gave no answer to the last look."""
        self._first_j: float | None = None
        self._last_j: float | None = None
        self._lead_j = 0.0
        """Joules drawn between the counter's last step and the window's start: counted in the next step."""
        self._steps = 0
        self._counter_fault: str | None = None
        self._fault: str | None = None
        """The last look's error, if the last look failed."""
        self._started_s = self._stopped_s = 0.0
        self._answered_s = 0.0

    def before(self) -> None:
        """Poll the counter ahead of the window, to learn when it steps."""
        if not self._sensor.has_counter:
            return
        try:
            value_j = self._sensor.counter_j()
        except SensorError:
            return
        if self._polled_j is not None and value_j != self._polled_j:
            self._stepped_s = self._clock()
        self._polled_j = value_j

    def awaits_step(self) -> bool:
        """Whether the counter answers and has not stepped yet."""
        return self._polled_j is not None and self._stepped_s is None

    def start(self) -> None:
        """First look. What the counter has not shown yet of the time before is set aside."""
        self._conditions.append(self._sensor.conditions())
        self.before()
        self._started_s = self._answered_s = self._clock()
        self._look()
        self._first_j = self._last_j
        just_stepped = self._first_j != self._polled_j
        if self._stepped_s is not None and self._power.samples and not just_stepped:
            since_s = min(max(0.0, self._started_s - self._stepped_s), self._component.refresh_s or 0.0)
            self._lead_j = self._power.last_w * since_s

    def look(self) -> None:
        """Look in mid-window."""
        self._look()

    def stop(self) -> None:
        """Last look."""
        self._look()
        self._stopped_s = self._clock()
        self._conditions.append(self._sensor.conditions())

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

    def _look(self) -> None:
        now_s = self._clock()
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
        before_j = self._power.energy_j
        self._power.add(now_s, self._sensor.power_w())
        self._between_looks_j = (before_j + self._power.energy_j) / 2
        return True

    def _look_at_counter(self, now_s: float) -> bool:
        if not self._sensor.has_counter:
            return False
        self._silent = True
        value_j = self._sensor.counter_j()
        self._silent = False
        if self._last_j is not None and self._counter_fault is None:
            step_j, elapsed_s = value_j - self._last_j, now_s - self._started_s
            if step_j < 0:
                self._counter_fault = (
                    f"the counter went from {self._last_j:.0f} J down to {value_j:.0f} J: it was reset"
                )
            elif step_j > PLAUSIBLE_POWER_W * (elapsed_s + 1.0):
                self._counter_fault = (
                    f"the counter rose by {step_j:.3g} J in {elapsed_s:.3g} s: it was reset or is damaged"
                )
            elif step_j > 0:
                self._steps += 1
                self._at_step_j = self._between_looks_j
        if self._counter_fault is None:
            self._last_j = value_j
        return True

    def _counted_j(self) -> float:
        """What the counter has shown of the window: last - first."""
        return 0.0 if self._last_j is None or self._first_j is None else max(0.0, self._last_j - self._first_j)

    def _measured(self, duration_s: float, conditions: tuple[Conditions, ...]) -> Reading | None:
        """The counter's difference, less what it still owed from before, plus what it owes at the end."""
        if self._counter_reason() is not None or self._first_j is None or not self._steps:
            return None
        counted_j, uncertainty_s = self._counted_j(), self._component.refresh_s or 0.0
        energy_j, notes = counted_j, list(self._notes)
        if self._power_holds(duration_s):
            tail_j = self._power.energy_j - self._at_step_j
            energy_j = counted_j - self._lead_j + tail_j
            uncertainty_s = min(uncertainty_s, 2 * self._period_s)
        if energy_j <= 0:
            return None
        check = self._cross_check(energy_j, duration_s)
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
            uncertainty_s * energy_j / duration_s,
            notes=tuple(notes),
            cross_check=check,
            conditions=conditions,
        )

    def _integrated(self, duration_s: float, conditions: tuple[Conditions, ...]) -> Reading:
        """The integral of power; absent where power was not read often enough."""
        notes, counter_reason = list(self._notes), self._counter_reason() or "the counter did not move in the window"
        if not self._power_holds(duration_s) or self._power.energy_j <= 0:
            reason = "this GPU has no power sensor"
            if self._sensor.power_source is not None:
                reason = f"power went unread for {self._unread_s():.3g} s, or was 0"
            return absent(
                self._component,
                duration_s,
                f"{counter_reason}, and {reason}",
                notes=tuple(notes),
                conditions=conditions,
            )
        notes.append(counter_reason)
        lag_s = self._component.refresh_s or 0.0
        if self._sensor.power_source == "average":
            lag_s = _AVERAGED_OVER_S
            notes.append("only average power is readable: what happened within a second of the edges is blurred")
        energy_j = self._power.energy_j
        uncertainty_j = lag_s * energy_j / duration_s
        return Reading(
            self._component,
            "integrated",
            duration_s,
            energy_j,
            uncertainty_j,
            notes=tuple(notes),
            conditions=conditions,
        )

    def _counter_reason(self) -> str | None:
        """Why the counter cannot be used, if it cannot."""
        if not self._sensor.has_counter:
            return "this GPU has no energy counter"
        return self._counter_fault or ("the counter stopped answering" if self._silent else None)

    def _cross_check(self, energy_j: float, duration_s: float) -> CrossCheck | None:
        if not self._power_holds(duration_s) or self._power.energy_j <= 0:
            return None
        edges = 2 * (self._component.refresh_s or 0.0) / duration_s
        return CrossCheck(energy_j, self._power.energy_j, AGREEMENT + edges)

    def _power_holds(self, duration_s: float) -> bool:
        """Whether power was read from start to stop without a gap that matters."""
        return self._power.samples >= 3 and self._unread_s() <= max(10 * self._period_s, _LONGEST_GAP * duration_s)

    def _unread_s(self) -> float:
        """The longest time without a power reading, the window's edges included."""
        if self._power.first_s is None or self._power.last_s is None:
            return max(0.0, self._stopped_s - self._started_s)
        return max(
            self._power.longest_gap_s, self._power.first_s - self._started_s, self._stopped_s - self._power.last_s
        )
