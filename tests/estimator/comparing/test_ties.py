"""The interval of a ratio: hand arithmetic, and the laws that hold for any two costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.comparing.ties import OWN_SPREAD, Cost, overlap, ratio, tied
from estimator.energy.uncertainty import Interval, log_normal
from tests.estimator.comparing.comparisons import LAUNCH, MEMORY
from tests.estimator.profiles import work

Z = 1.6448536269514722  # the standard normal's 95% quantile


def _cost(value, spread, waits=LAUNCH, machine="one", workload=None):
    return Cost(log_normal(value, spread), machine, waits, (workload or work(),))


def _half_width(a, b):
    found = ratio(a, b)
    assert found.high / found.value == pytest.approx(found.value / found.low)
    return math.log(found.high / found.value)


def test_errors_of_two_networks_are_independent_as_far_as_they_are_their_own():
    # both spreads are below OWN_SPREAD: nothing is the machine's
    assert _half_width(_cost(3, 0.1), _cost(2, 0.2)) == pytest.approx(Z * math.hypot(0.1, 0.2))
    assert tied(_cost(1.25, 0.1), _cost(1, 0.1))  # log 1.25 = 0.223 < 1.645 x 0.1414 = 0.2326
    assert not tied(_cost(1.27, 0.1), _cost(1, 0.1))  # log 1.27 = 0.239


def test_the_machines_part_cancels_as_far_as_both_wait_for_the_same():
    # 0.40^2 less 0.37^2, a network's own part, is what the machine shares
    assert _half_width(_cost(3, 0.4), _cost(2, 0.4)) == pytest.approx(Z * OWN_SPREAD * math.sqrt(2))
    assert _half_width(_cost(3, 0.4), _cost(2, 0.4, MEMORY)) == pytest.approx(Z * 0.4 * math.sqrt(2))
    half = {"compute": 0.0, "memory": 0.5, "launch": 0.5}
    shared = 0.4**2 - OWN_SPREAD**2
    expected = Z * math.sqrt(2 * OWN_SPREAD**2 + 2 * shared - 2 * 0.5 * shared)
    assert _half_width(_cost(3, 0.4), _cost(2, 0.4, half)) == pytest.approx(expected)


def test_nothing_cancels_between_two_machines():
    assert _half_width(_cost(3, 0.5), _cost(2, 0.4, machine="two")) == pytest.approx(Z * math.hypot(0.5, 0.4))


def test_the_same_work_on_the_same_machine_has_an_exact_ratio():
    workload = work()
    once, twice = _cost(1, 0.5, workload=workload), _cost(2, 0.5, workload=workload)
    assert ratio(twice, once) == Interval(2, 2, 2)
    assert not tied(once, twice)
    assert tied(once, once)
    assert _half_width(once, replace(twice, machine="two")) > 0


def test_own_spread_is_that_of_its_sources():
    from estimator.hardware.datasheet import coefficients, published_machines

    held_out = [machine["coefficients"]["energy_spread"] for machine in published_machines().values()]
    own = math.sqrt(sum(spread**2 for spread in held_out) / len(held_out))
    assert math.hypot(own, coefficients()["gpu"]["training_spread"].value) == pytest.approx(OWN_SPREAD, abs=0.015)


def test_what_costs_nothing_has_no_ratio():
    nothing, something = replace(_cost(1, 0.1), amount=Interval(0, 0, 0)), _cost(1, 0.1)
    assert ratio(something, nothing) is None
    assert ratio(nothing, something) is None
    assert tied(nothing, nothing)
    assert not tied(nothing, something)


def _shares():
    thirds = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)
    return thirds.map(lambda w: dict(zip(LAUNCH, (x / sum(w) for x in w), strict=True)))


def _costs():
    return st.builds(_cost, st.floats(1e-6, 1e12), st.floats(0, 1.5), _shares(), st.sampled_from(["one", "two"]))


@given(_costs(), _costs())
def test_ties_are_symmetric_and_ratios_reciprocal(a, b):
    forth, back = ratio(a, b), ratio(b, a)
    assert forth.value * back.value == pytest.approx(1)
    assert forth.low * back.high == pytest.approx(1)
    assert tied(a, b) == tied(b, a) or math.isclose(forth.low, 1) or math.isclose(forth.high, 1)


@given(_costs(), _costs(), st.floats(1e-3, 1e3))
def test_a_common_factor_changes_nothing(a, b, factor):
    scaled = ratio(*(replace(cost, amount=cost.amount * factor) for cost in (a, b)))
    assert (scaled.low, scaled.value, scaled.high) == pytest.approx(
        (ratio(a, b).low, ratio(a, b).value, ratio(a, b).high)
    )


@given(_costs(), _costs())
def test_a_ratio_is_never_less_certain_on_one_machine_than_on_two(a, b):
    one, two = replace(b, machine=a.machine), replace(b, machine="another")
    assert ratio(a, one).high <= ratio(a, two).high * (1 + 1e-12)


@given(_shares(), _shares())
def test_overlap_is_a_share(a, b):
    assert 0 <= overlap(a, b) <= 1 + 1e-12
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert overlap(a, a) == pytest.approx(1)


def test_overlap_bears_rounding():
    assert overlap({"compute": -1e-17, "launch": 1.0}, {"compute": 0.5, "launch": 0.5}) == 0.5
    assert overlap({}, LAUNCH) == 0.0
