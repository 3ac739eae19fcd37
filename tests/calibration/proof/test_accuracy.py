"""Scores by hand, and their two forms: a table of 80 columns and the JSON that other tools read."""

from __future__ import annotations

import json
import math

import pytest

from calibration.proof.scores import Case, as_json, score, table


def _case(measured, predicted, low=None, high=None, method="ours"):
    return Case("a machine inference", "energy", "family left out", method, measured, predicted, low, high)


def test_scores_by_hand():
    cases = [_case(100, 105, 90, 120), _case(100, 80, 70, 90), _case(100, 100, 99, 101), _case(10, 20, method="theirs")]
    ours, theirs = score(cases)
    # errors 5%, 20%, 0%; ratios 1.05, 0.8, 1.0; the second interval misses 100
    assert (ours.n, ours.method, theirs.method) == (3, "ours", "theirs")
    assert ours.mean_ape == pytest.approx(0.25 / 3)
    assert ours.median_ape == pytest.approx(0.05)
    assert ours.within_10 == pytest.approx(2 / 3)
    assert ours.bias == pytest.approx((1.05 * 0.8) ** (1 / 3))
    assert ours.coverage_90 == pytest.approx(2 / 3)
    assert (theirs.mean_ape, theirs.bias, theirs.coverage_90) == (1.0, 2.0, None)


def test_the_table_has_80_columns_and_every_score():
    cases = [_case(1, 1.2345678, 1, 2), _case(1, 123.0, method="FLOPs + bytes + constant")]
    lines = table(score(cases)).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert lines[1] == "a machine inference: energy, family left out"
    assert "23.5%" in lines[2]


def test_the_json_has_the_agreed_keys():
    (found,) = json.loads(as_json(score([_case(1, 2)])))
    assert list(found) == [
        *("dataset", "target", "split", "method", "n"),
        *("mean_ape", "median_ape", "within_10", "bias", "coverage_90"),
    ]
    assert found["coverage_90"] is None
    assert math.isclose(found["mean_ape"], 1.0)
