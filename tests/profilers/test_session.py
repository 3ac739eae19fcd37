"""Windows, idle baselines and repeats, on simulated clocks."""

from __future__ import annotations

import threading
import time

import pytest

from profilers.errors import BusyError, MeterError
from profilers.load import LoadPolicy
from profilers.measurement import Baseline, Measurement, relative_deviation
from profilers.reading import Component, Reading, absent
from profilers.sampling import Sampler
from profilers.session import Plan, measure, measure_idle, measure_repeatedly
from tests.profilers.simulation import Clock
from tests.profilers.steady import ScriptedWatch, SteadyMeter


def policy(*cores: float, allow_busy: bool = False, wait_s: float = 0.0) -> LoadPolicy:
    return LoadPolicy(wait_s=wait_s, look_s=0.0, allow_busy=allow_busy, watch=ScriptedWatch(*cores))


def test_a_block_is_measured() -> None:
    clock = Clock()
    with measure([SteadyMeter(clock)], label="block", policy=None, clock=clock) as window:
        clock.advance(5.0)
    seen = window.measurement
    assert (seen.duration_s, seen.total.energy_j, seen.total.status) == (5.0, pytest.approx(500.0), "measured")
    assert (seen.label, seen.clean, seen.load) == ("block", True, None)
    assert seen.fingerprint is not None


def test_everything_is_set_up_before_the_first_reading_and_synchronised_at_both_edges() -> None:
    clock = Clock()
    meter = SteadyMeter(clock)
    with measure([meter], policy=None, clock=clock, synchronise=lambda: meter.said.append("synchronise")) as window:
        meter.said.append("work")
        clock.advance(1.0)
    assert window.measurement.clean
    said = [word for word in meter.said if word != "sample"]
    assert said == ["prepare", "synchronise", "start", "work", "synchronise", "stop"]


def test_an_exception_leaves_a_measurement_and_no_thread() -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt), measure([SteadyMeter(clock)], policy=None, clock=clock) as window:
        clock.advance(2.0)
        raise KeyboardInterrupt
    assert window.measurement.interrupted == "KeyboardInterrupt"
    assert not window.measurement.clean
    assert window.measurement.total.energy_j == pytest.approx(200.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "profilers-sampler"]


def test_the_slowest_counter_starts_first() -> None:
    clock = Clock()
    said: list[str] = []
    fast, slow = SteadyMeter(clock, refresh_s=0.001), SteadyMeter(clock, refresh_s=0.1)
    fast.said = slow.said = said
    fast.prepare = lambda: said.append("fast") or SteadyMeter.prepare(fast)  # type: ignore[method-assign,func-returns-value]
    slow.prepare = lambda: said.append("slow") or SteadyMeter.prepare(slow)  # type: ignore[method-assign,func-returns-value]
    with measure([fast, slow], policy=None, clock=clock):
        clock.advance(1.0)
    assert [word for word in said if word in {"fast", "slow"}] == ["slow", "fast"]


def test_without_meters_there_is_a_remedy() -> None:
    with pytest.raises(MeterError, match="estimate meters"), measure([], policy=None):
        pass


def test_the_measurement_is_not_there_before_the_block_ends() -> None:
    with measure([SteadyMeter(time.perf_counter)], policy=None) as window, pytest.raises(MeterError, match="after the"):
        _ = window.measurement


def test_a_busy_machine_is_waited_for() -> None:
    watch = ScriptedWatch(1.0, 1.0)
    waiting = LoadPolicy(wait_s=60.0, look_s=0.0, watch=watch)
    clock = Clock()
    with measure([SteadyMeter(clock)], policy=waiting, clock=clock) as window:
        clock.advance(1.0)
    assert watch.asked == 4  # busy, busy, quiet, and once over the window
    assert window.measurement.clean


def test_a_busy_machine_is_refused_with_what_was_seen() -> None:
    with (
        pytest.raises(BusyError, match=r"1\.00 cores.*miner.*--allow-busy"),
        measure([SteadyMeter(Clock())], policy=policy(1.0)),
    ):
        pytest.fail("the block must not run")


def test_a_load_in_mid_window_marks_the_measurement() -> None:
    clock = Clock()
    with measure([SteadyMeter(clock)], policy=policy(0.0, 1.5), clock=clock) as window:
        clock.advance(1.0)
    assert window.measurement.busy and not window.measurement.clean
    assert not window.measurement.busy_allowed


def test_busy_can_be_allowed_and_is_marked() -> None:
    clock = Clock()
    with measure([SteadyMeter(clock)], policy=policy(1.0, 1.0, allow_busy=True), clock=clock) as window:
        clock.advance(1.0)
    assert window.measurement.busy and window.measurement.busy_allowed
    assert not window.measurement.clean


def test_an_idle_baseline_gives_net_joules() -> None:
    clock = Clock()
    meter = SteadyMeter(clock, (30.0, 100.0))
    baseline = measure_idle([meter], 10.0, policy=None, sleep=clock.advance, clock=clock)
    assert baseline.power_w == {"package-0": pytest.approx(30.0)}
    with measure([meter], policy=None, baseline=baseline, clock=clock) as window:
        clock.advance(4.0)
    assert window.measurement.net_j("package-0") == pytest.approx((100.0 - 30.0) * 4.0)
    assert window.measurement.total.energy_j == pytest.approx(400.0)


def test_a_disturbed_idle_baseline_is_refused() -> None:
    clock = Clock()
    with pytest.raises(BusyError, match="baseline"):
        measure_idle([SteadyMeter(clock)], policy=policy(0.0, 1.0), sleep=clock.advance, clock=clock)


def test_work_below_idle_has_no_net_energy() -> None:
    component = Component("package-0", "package", "rapl")
    seen = Measurement(1.0, (Reading(component, "measured", 1.0, 20.0),), baseline=Baseline({"package-0": 30.0}, 10.0))
    assert seen.net_j("package-0") is None
    assert seen.net_j("gpu-0") is None


def plan(**changes: float) -> Plan:
    return Plan(**{"warm_up_s": 1.0, "minimum_window_s": 1.0, "cool_down_s": 0.0, **changes})  # type: ignore[arg-type]


def test_a_call_is_repeated_until_a_window_is_long_enough() -> None:
    clock = Clock()
    meter = SteadyMeter(clock, refresh_s=0.3)
    series = measure_repeatedly(lambda: clock.advance(0.01), [meter], plan(), policy=None, clock=clock)
    assert series.windows[0].duration_s >= 10 * 0.3
    assert series.energy_per_call_j("package-0") == pytest.approx(1.0)
    assert series.duration_per_call_s == pytest.approx(0.01)
    assert (len(series.windows), series.settled) == (3, True)
    assert series.windows[0].noise["package-0"].relative_deviation == pytest.approx(0.0, abs=1e-9)


def test_windows_are_repeated_until_they_agree() -> None:
    clock = Clock()
    meter = SteadyMeter(clock, (100.0, 130.0, 101.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0))
    series = measure_repeatedly(
        lambda: clock.advance(0.1), [meter], plan(relative_deviation=0.1), policy=None, clock=clock
    )
    assert 3 < len(series.windows) < 10
    assert series.settled


def test_a_limit_that_is_reached_is_said() -> None:
    clock = Clock()
    meter = SteadyMeter(clock, [100.0, 200.0] * 20)
    series = measure_repeatedly(lambda: clock.advance(0.1), [meter], plan(), policy=None, clock=clock)
    assert (len(series.windows), series.settled) == (10, False)
    assert not series.noise["package-0"].within_bound


def test_disturbed_windows_are_thrown_away() -> None:
    clock = Clock()
    looks = policy(0.0, 0.0, 1.0, 0.0, 0.0)  # before all; before and over the first window; the second is quiet
    series = measure_repeatedly(lambda: clock.advance(0.1), [SteadyMeter(clock)], plan(), policy=looks, clock=clock)
    assert len(series.discarded) == 1
    assert all(window.clean for window in series.windows)


def test_where_every_window_is_disturbed_it_is_refused() -> None:
    clock = Clock()
    looks = policy(0.0, *[0.0, 1.0] * 10)
    with pytest.raises(BusyError, match="all 10 windows"):
        measure_repeatedly(lambda: clock.advance(0.1), [SteadyMeter(clock)], plan(), policy=looks, clock=clock)


def test_relative_deviation() -> None:
    assert relative_deviation([9.0, 10.0, 11.0]) == pytest.approx(0.1)  # hand arithmetic
    assert relative_deviation([1.0]) is None


def test_totals_never_mix_sensors_with_models() -> None:
    package = Reading(Component("package-0", "package", "rapl"), "measured", 1.0, 10.0)
    gpu = Reading(Component("gpu-0", "gpu", "nvml"), "integrated", 1.0, 20.0)
    model = Reading(Component("cpu", "cpu", "codecarbon"), "modelled", 1.0, 40.0)
    seen = Measurement(1.0, (package, gpu, model))
    assert (seen.total.energy_j, seen.total.status) == (30.0, "integrated")
    assert (seen.modelled.energy_j, seen.modelled.status) == (40.0, "modelled")
    assert Measurement(1.0, (package,)).total.status == "measured"


def test_a_part_is_not_the_whole() -> None:
    package = Reading(Component("package-0", "package", "rapl"), "measured", 1.0, 10.0)
    lost = absent(Component("package-1", "package", "rapl"), 1.0, "it vanished")
    total = Measurement(1.0, (package, lost)).total
    assert (total.energy_j, total.status, total.missing) == (None, "absent", ("package-1",))


@pytest.mark.parametrize(
    ("status", "energy_j"),
    [("measured", 0.0), ("measured", None), ("absent", 1.0), ("measured", -1.0), ("modelled", float("nan"))],
)
def test_a_reading_cannot_lie(status: str, energy_j: float | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reading(Component("cpu", "cpu", "x"), status, 1.0, energy_j, reason="why")  # type: ignore[arg-type]


class Sampled:
    """Looked at every 20 ms."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[float] = []
        self.period_s = 0.02

    def sample(self) -> None:
        self.seen.append(self.clock())


class EndsAt:
    """What a sampler waits on, on a simulated clock: told to stop at a moment."""

    def __init__(self, clock: Clock, at_s: float) -> None:
        self.clock, self.at_s = clock, at_s

    def wait(self, seconds: float) -> bool:
        self.clock.advance(min(seconds, self.at_s - self.clock()))
        return self.clock() >= self.at_s


def looked_at(sampled: Sampled, seconds: float) -> list[float]:
    """The moments at which the sampling thread's own code looks within so many seconds."""
    begun_s = sampled.clock()
    sampler = Sampler([sampled], sampled.clock)
    sampler._done = EndsAt(sampled.clock, begun_s + seconds)  # type: ignore[assignment]
    sampler._run()
    assert not sampler.broke_off
    return [at_s - begun_s for at_s in sampled.seen]


def test_the_sampler_looks_at_its_period() -> None:
    assert looked_at(Sampled(Clock()), 0.31) == pytest.approx([0.02 * i for i in range(1, 16)])


def test_the_sampler_asks_after_every_look_how_soon_the_next_is_due() -> None:
    class Hastens(Sampled):
        def sample(self) -> None:
            super().sample()
            self.period_s = 0.01

    hastens = Hastens(Clock())
    hastens.period_s = 0.2
    assert looked_at(hastens, 0.255) == pytest.approx([0.2, 0.21, 0.22, 0.23, 0.24, 0.25])


def test_a_look_that_comes_late_is_not_made_up_for() -> None:
    class Slow(Sampled):
        def sample(self) -> None:
            super().sample()
            self.clock.advance(0.05)

    assert looked_at(Slow(Clock()), 0.25) == pytest.approx([0.02, 0.09, 0.16, 0.23])


def test_no_look_is_under_way_once_the_sampler_has_stopped() -> None:
    sampler = Sampler([Sampled(Clock())])
    sampler.start()
    sampler.stop()
    sampler.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "profilers-sampler"]
    assert not sampler.broke_off


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sampler_that_broke_off_says_so() -> None:
    class Fails(Sampled):
        def sample(self) -> None:
            raise ZeroDivisionError

    sampler = Sampler([Fails(Clock())])
    sampler.start()
    assert sampler._thread is not None
    sampler._thread.join()  # it ends by itself
    sampler.stop()
    assert sampler.broke_off
