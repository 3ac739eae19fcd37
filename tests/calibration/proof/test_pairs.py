"""Pairs of rows, told apart or not: by hand on round numbers."""

from __future__ import annotations

from calibration.proof.pairs import Pairs, table, told
from estimator.comparing.ties import Cost
from estimator.energy.uncertainty import log_normal
from tests.estimator.profiles import op, work


def _cost(joules, spread, waits="memory"):
    return Cost(log_normal(joules, spread), "a machine", {waits: 1.0}, (work(op()),))


def test_pairs_by_hand():
    # spread 0.3 is a network's own: half a width of 0.49, of a ratio sqrt(2) x 0.49 = 0.70, a factor of 2.01
    rows = [(_cost(1.0, 0.3), 1.0), (_cost(2.5, 0.3), 2.0), (_cost(2.4, 0.3), 7.0)]
    # 1 : 2.5 apart, 2.0 is in 1.24 .. 5.0; 1 : 2.4 apart, 7.0 is not in 1.19 .. 4.8; 2.5 : 2.4 tied, 0.29 is outside;
    # the rows' own intervals, a factor of 1.64 each way, are disjoint from a factor of 2.68 on: none
    assert told("x", rows) == Pairs("x", 3, 1, 2, 0, 0, 0)
    far = [(_cost(1.0, 0.3), 2.0), (_cost(3.0, 0.3), 1.0)]
    assert told("x", far) == Pairs("x", 1, 0, 1, 1, 1, 1)  # apart by both, and both are wrong


def test_an_error_of_the_machine_is_shared_by_rows_that_wait_for_the_same():
    same = [(_cost(1.0, 0.5), 1.0), (_cost(2.6, 0.5), 2.0)]
    other = [(_cost(1.0, 0.5), 1.0), (_cost(2.6, 0.5, "compute"), 2.0)]
    assert (told("x", same).apart, told("x", other).apart) == (1, 0)


def test_the_table_has_80_columns():
    lines = table([Pairs("NVIDIA A100 SXM4 80GB inference" * 2, 1326, 1200, 900, 3, 800, 12)]).splitlines()
    assert max(map(len, lines)) <= 80
    assert "90.5%" in lines[1]
    assert "900 (3 bad)" in lines[1]
