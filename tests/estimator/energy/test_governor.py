"""A GPU at its power limit lowers its clock and voltage. Expected values by hand arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.energy.governor import WAITING, Governor, Load, governed

KNEE = Governor(knee=0.5, rise=0.5, lowest=0.25)


def load(**parts: float) -> Load:
    """One phase; what is not named is 0."""
    names = ("other_s", "clocked_s", "host_s", "busy_s", "active_j", "flop_j", "byte_j")
    return Load(static_w=parts.pop("static_w", 0.0), **{name: np.array([parts.get(name, 0.0)]) for name in names})


def test_energy_of_an_operation_follows_the_voltage_by_hand():
    # volts 1 up to the knee, 1.25 half-way above it, 1.5 at the boost clock
    assert KNEE.energy_share(1.0) == pytest.approx(1)
    assert KNEE.energy_share(0.75) == pytest.approx((1.25 / 1.5) ** 2)
    assert KNEE.energy_share(0.5) == KNEE.energy_share(0.3) == pytest.approx((1 / 1.5) ** 2)


def test_below_the_limit_nothing_changes():
    free = governed(load(clocked_s=1.0, busy_s=1.0, flop_j=100.0, static_w=50.0), KNEE, 151.0)
    assert (free.clock, free.device_s, free.flop_j) == (1, 1, 100)


def test_the_clock_falls_to_the_limit_by_hand():
    # at f = 0.75 a second of work takes 4/3 s and 225 J become 225 x (1.25 / 1.5)^2 = 156.25 J: 117.1875 W
    slowed = governed(load(clocked_s=1.0, busy_s=1.0, flop_j=225.0), KNEE, 117.1875)
    assert slowed.clock == pytest.approx(0.75, rel=1e-4)
    assert slowed.device_s == pytest.approx(4 / 3, rel=1e-4)
    assert slowed.flop_j == pytest.approx(156.25, rel=1e-4)


def test_what_keeps_the_device_busy_goes_as_clock_and_voltage_by_hand():
    # 90 W over 1 s at the boost clock: at f = 0.5 it is 90 x 0.5 / 1.5^2 = 20 W, over 2 s
    slowed = governed(load(clocked_s=1.0, busy_s=1.0, active_j=90.0), KNEE, 20.0)
    assert slowed.clock == pytest.approx(0.5, rel=1e-4)
    assert slowed.active_j == pytest.approx(40.0, rel=1e-4)


def test_below_the_lowest_clock_it_waits_by_hand():
    # at f = 0.25: 4 s and 225 / 2.25 = 100 J; 10 W need 10 s, 6 of them waiting
    slowed = governed(load(clocked_s=1.0, busy_s=1.0, flop_j=225.0), KNEE, 10.0)
    assert (slowed.clock[0], slowed.device_s[0], slowed.flop_j[0]) == pytest.approx((0.25, 10.0, 100.0))


def test_a_device_of_one_clock_waits_by_hand():
    assert governed(load(clocked_s=1.0, flop_j=30.0, static_w=5.0), WAITING, 15.0).device_s == pytest.approx(3.0)


def test_a_host_that_takes_longer_leaves_the_clock_alone():
    # 225 J in a second are too many for 100 W; over the 3 s of the host they are not
    assert governed(load(clocked_s=1.0, busy_s=1.0, host_s=3.0, flop_j=225.0), KNEE, 100.0).clock == 1


_JOULES = st.floats(0, 1e3)


@given(_JOULES, _JOULES, _JOULES, st.floats(0.01, 5), st.floats(0.01, 5), st.floats(20, 500), st.floats(0.4, 1))
@settings(max_examples=100, deadline=None)
def test_the_power_never_passes_the_limit_and_less_is_never_faster(active, flop, byte, other, clocked, limit, clock):
    given_load = load(
        other_s=other, clocked_s=clocked, busy_s=other + clocked, active_j=active, flop_j=flop, byte_j=byte, static_w=9
    )
    at = replace(KNEE, clock=clock)
    slowed, more = governed(given_load, at, limit), governed(given_load, at, 1.1 * limit)
    assert 9 * slowed.device_s + slowed.active_j + slowed.flop_j + byte <= limit * slowed.device_s * (1 + 1e-9)
    assert slowed.device_s >= more.device_s * (1 - 1e-4)
