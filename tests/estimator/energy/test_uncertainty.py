"""Intervals: order, scaling and sums by the laws they promise, coverage on simulated truth."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.energy.uncertainty import CONFIDENCE, Interval, log_normal

VALUES = st.floats(0, 1e12)
SPREADS = st.floats(0, 3)


@given(value=VALUES, spread=SPREADS)
def test_value_lies_between_its_ends(value, spread):
    interval = log_normal(value, spread)
    assert interval.low <= interval.value <= interval.high
    assert interval.value == value


@given(value=VALUES, spread=SPREADS, factor=st.floats(0, 1e6))
def test_scaling_scales_both_ends(value, spread, factor):
    a, b = log_normal(value, spread) * factor, factor * log_normal(value, spread)
    assert a == b
    assert a.value == value * factor
    scaled = log_normal(value * factor, spread)
    assert (a.low, a.high) == pytest.approx((scaled.low, scaled.high))


@given(x=VALUES, y=VALUES, spread=SPREADS)
def test_values_of_one_profile_err_together(x, y, spread):
    together, apart = log_normal(x + y, spread), log_normal(x, spread) + log_normal(y, spread)
    assert (apart.value, apart.low, apart.high) == pytest.approx((together.value, together.low, together.high))


@given(value=st.floats(1e-6, 1e6), narrow=SPREADS, more=st.floats(0.01, 1))
def test_wider_spread_is_a_wider_interval(value, narrow, more):
    a, b = log_normal(value, narrow), log_normal(value, narrow + more)
    assert b.low < a.low
    assert a.high < b.high


def test_no_spread_is_no_interval():
    assert log_normal(3.0, 0.0) == Interval(3.0, 3.0, 3.0)


def test_published_quantile():
    # 5% of a normal distribution lie beyond 1.645 standard deviations: a spread of 0.35 is a factor of 1.78
    assert log_normal(1.0, 0.35).high == pytest.approx(math.exp(1.645 * 0.35), rel=1e-3)
    assert log_normal(1.0, 0.35).low == pytest.approx(1 / 1.78, rel=1e-2)


def test_interval_holds_as_many_simulated_truths_as_it_says():
    rng = random.Random(0)
    interval = log_normal(100.0, 0.5)
    truths = [100 * math.exp(rng.gauss(0, 0.5)) for _ in range(20_000)]
    inside = sum(interval.low <= truth <= interval.high for truth in truths) / len(truths)
    assert inside == pytest.approx(CONFIDENCE, abs=0.01)


@pytest.mark.parametrize("ends", [(1, 2, 3), (3, 1, 2), (1, math.nan, 2)])
def test_value_outside_of_its_ends_is_refused(ends):
    with pytest.raises(ValueError, match="between its ends"):
        Interval(*ends)
