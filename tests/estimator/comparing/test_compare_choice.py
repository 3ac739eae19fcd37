"""Which model to take, and why one costs more: hand arithmetic and the laws of a Pareto front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.comparing.payoff import cheapest_to_train, cheapest_within, pareto, paybacks
from estimator.comparing.reasons import Reason, reasons
from tests.estimator.comparing.comparisons import LAUNCH, MEMORY, comparison, row


def _names(found, indices):
    return [found.rows[index].name for index in indices]


def test_the_front_holds_what_nothing_beats():
    found = comparison(
        row("a", 1, 1, 0.90), row("b", 2, 1, 0.95), row("c", 3, 1, 0.94), row("d", 4, 1), row("e", 5, 1, 0.96)
    )
    assert _names(found, pareto(found)) == ["a", "b", "e"]


def test_equals_are_on_the_front_together():
    found = comparison(row("a", 1, 1, 0.9), row("b", 1, 1, 0.9), row("c", 1, 1, 0.8))
    assert set(_names(found, pareto(found))) == {"a", "b"}


def test_cheapest_within():
    found = comparison(row("a", 1, 1, 0.90), row("b", 2, 1, 0.92), row("c", 3, 1, 0.93), row("d", 0.5, 1))
    assert found.rows[cheapest_within(found, 0.01)].name == "b"  # 0.93 - 0.01, rounding borne
    assert found.rows[cheapest_within(found, 0.005)].name == "c"
    assert found.rows[cheapest_within(found, 1)].name == "a"
    assert cheapest_within(comparison(row("a", 1)), 0.01) is None


def test_negative_qualities_are_errors_turned():
    found = comparison(row("worse", 1, 1, -0.2855), row("better", 2, 1, -0.2526))
    assert found.rows[cheapest_within(found, 0.01)].name == "better"
    assert found.rows[cheapest_within(found, 0.04)].name == "worse"


def test_payback_by_hand():
    # 100 J against 10 J of training, 1 J against 2 J an inference: (100 - 10) / (2 - 1)
    found = comparison(row("cheap", 10, 2), row("dear", 100, 1), row("never", 200, 2.5))
    assert found.rows[cheapest_to_train(found)].name == "cheap"
    none, payback, never = paybacks(found)
    assert (none, never) == (None, None)
    assert (payback.value, payback.low, payback.high) == (pytest.approx(90),) * 3


def test_payback_that_may_never_come():
    # inferences at 0.95 of the cost, with an interval that reaches beyond 1; trainings that may be equal
    payback = paybacks(comparison(row("a", 10, 2, spread=0.1), row("b", 11, 1.9, spread=0.1)))[1]
    assert payback.value == pytest.approx(1 / 0.1)
    assert payback.low == 0
    assert payback.high is None


_Rows = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(_Rows)
def test_laws_of_the_front(drawn):
    found = comparison(*(row(str(i), cost, used, quality) for i, (cost, used, quality) in enumerate(drawn)))
    front = pareto(found)

    def beats(i, j):
        (a, p), (b, q) = ((found.totals[k].amount.value, found.rows[k].quality) for k in (i, j))
        return a <= b and p >= q and (a, p) != (b, q)

    assert front
    assert not any(beats(i, j) for i in front for j in front)
    assert all(any(beats(i, j) for i in front) for j in range(len(found.rows)) if j not in front)
    assert cheapest_within(found, 0) in front
    costs = [found.totals[index].amount.value for index in front]
    assert costs == sorted(costs)  # and better goes with dearer along it
    assert [found.rows[i].quality for i in front] == sorted(found.rows[i].quality for i in front)


@given(_Rows)
def test_at_the_payback_both_have_cost_the_same(drawn):
    found = comparison(*(row(str(i), cost, used) for i, (cost, used, _) in enumerate(drawn)))
    base = found.rows[cheapest_to_train(found)].footprint
    for one, payback in zip(found.rows, paybacks(found), strict=True):
        own = one.footprint
        if payback is not None:
            totals = [f.training.stage.energy_j.value + payback.value * f.inference.energy_j.value for f in (own, base)]
            assert totals[0] == pytest.approx(totals[1])
            assert payback.low <= payback.value


# ---- why


def test_extra_seconds_are_told_by_what_they_wait_for():
    # 100 s, 60 of them for launches, against 20 s of memory: 60 s of launches and 20 s of memory more
    waits = {"compute": 0.0, "memory": 0.4, "launch": 0.6}
    best, other = reasons(comparison(row("a", 20, waits=MEMORY), row("b", 100, waits=waits)))
    assert best is None
    assert (other.cause, other.share) == ("launch", pytest.approx(60 / 80))


def test_power_and_grid():
    # twice the power at the same time; then as long and as strong on a grid of ten times the carbon
    assert reasons(comparison(row("a", 20, seconds=10), row("b", 40, seconds=10)))[1] == Reason("power", 1.0)
    found = comparison(row("a", 20, seconds=10, grams=50), row("b", 20, seconds=10, grams=500))
    assert found.by_carbon
    assert reasons(found)[1] == Reason("grid", 1.0)


def test_what_costs_the_same_needs_no_reason():
    assert reasons(comparison(row("a", 20, waits=LAUNCH), row("b", 20, waits=MEMORY))) == (None, None)
