"""A machine that neighbours slow now and then: what was measured then is brought to its usual pace."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.learning import steady
from calibration.learning.learn import Measured
from calibration.learning.steady import at_usual_pace, usual_pace_s
from calibration.measuring import pace
from calibration.measuring.pace import Followed, Pace, follow, middle
from calibration.measuring.samples import append, begin, read
from calibration.proof.verify import slowed as said_of
from tests.calibration.learning.simulated_machine import drawn, header, sample, samples

USUAL_S = (1e-3, 2e-4)
FOLLOWS = {"convolution float32": (0.8, 0.0), "matrix product float32": (0.8, 0.0)}
OTHERS = (0.1, 0.5)
"""What the ops of a group do when the two pieces of work get slower: the simulated truth, as exponents."""


def _slowed(network: Measured, product: float, copy: float) -> Measured:
    """The same network while the two pieces of work take so many times as long."""
    op_s = [
        s and s * product ** FOLLOWS.get(one.group, OTHERS)[0] * copy ** FOLLOWS.get(one.group, OTHERS)[1]
        for s, one in zip(network.sample.op_s, network.described, strict=True)
    ]
    longer = sum(s or 0 for s in op_s) / sum(s or 0 for s in network.sample.op_s)
    one = replace(
        network.sample,
        op_s=tuple(op_s),
        total_s=network.sample.total_s * longer,
        phases={phase: s * longer for phase, s in network.sample.phases.items()},
        pace_s=(USUAL_S[0] * product, USUAL_S[1] * copy),
    )
    return replace(network, sample=one)


@pytest.fixture(scope="module")
def usual() -> list[Measured]:
    return [Measured.of(s, w) for s, (_, _, w) in zip(samples(100), drawn(100), strict=True)]


@pytest.fixture(scope="module")
def slowed(usual) -> list[Measured]:
    r = np.random.default_rng(0)
    return [usual[0], *(_slowed(n, *np.exp(r.exponential(0.3, 2) * r.integers(0, 2, 2))) for n in usual[1:])]


@pytest.fixture(scope="module")
def followed(slowed):
    return steady.sensitivities(slowed)


@pytest.fixture(scope="module")
def corrected(slowed, followed) -> list[Measured]:
    with patch.object(steady, "sensitivities", lambda networks: followed):  # learned once, here and for its own test
        return at_usual_pace(slowed)


def _off(networks: list[Measured], law: list[Measured]) -> float:
    """Standard deviation of log(seconds / seconds of the law) of whole networks: a common factor does not count."""
    return float(np.std([np.log(n.sample.total_s / of.sample.total_s) for n, of in zip(networks, law, strict=True)]))


def test_times_are_brought_to_the_usual_pace(usual, slowed, corrected):
    assert _off(corrected, usual) < 0.4 * _off(slowed, usual)


def test_what_each_group_follows_is_found(followed):
    _, follow = followed
    assert follow["convolution float32"][0] == pytest.approx(0.8, abs=0.25)
    assert follow["convolution float32"][1] == pytest.approx(0.0, abs=0.25)
    assert follow["elementwise float32"][1] == pytest.approx(0.5, abs=0.25)


def test_the_usual_pace_is_the_median():
    network = Measured.of(sample(*drawn(1)[0], 0.0), drawn(1)[0][2])
    paces = [replace(network, sample=replace(network.sample, pace_s=s)) for s in ((1.0, 9.0), (2.0, 8.0), (7.0, 1.0))]
    assert usual_pace_s([network, *paces]) == (2.0, 8.0)
    assert usual_pace_s([network]) == ()


def test_nothing_changes_where_the_pace_is_not_known_or_never_changed(usual):
    assert at_usual_pace(usual) == usual
    unchanged = [_slowed(n, 1.0, 1.0) for n in usual]
    assert at_usual_pace(unchanged) == unchanged


def test_a_network_without_a_pace_keeps_its_times(usual, corrected):
    assert corrected[0].sample.total_s == pytest.approx(usual[0].sample.total_s)
    assert corrected[0].sample.op_s == pytest.approx(usual[0].sample.op_s)


def test_all_pieces_of_work_are_timed():
    found = Pace()
    assert len(found.around()) + len(found.during()) == len(pace.WORK)
    assert all(s > 0 for s in (*found.around(), *found.during()))


class _Told:
    """A pace that is told: around a network 1 and 4 seconds, beside it 1, 2 and 4, each piece of work alike."""

    def __init__(self) -> None:
        self._around, self._during = iter((1.0, 4.0)), iter((1.0, 2.0, 4.0))

    def around(self) -> tuple[float, ...]:
        return (next(self._around),) * 2

    def during(self) -> tuple[float, ...]:
        return (next(self._during),) * 2


def test_the_pace_is_followed_around_and_beside_a_network(monkeypatch):
    now = iter((0.0, 0.001, 0.5, 0.5))  # made; looked at too soon; looked at; which took no time
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(now))
    followed = Followed(_Told())
    followed.look()
    followed.look()
    assert followed.seconds() == pytest.approx((2.0, 2.0, 2.0, 2.0))  # by hand: the geometric means of 1, 4 and 1, 2, 4


def test_nobody_shares_a_gpu():
    followed = follow("cuda:0")
    followed.look()
    assert followed.seconds() == ()


def test_a_slower_machine_is_said_when_a_model_is_verified():
    (said,) = said_of("training", (1.25e-3, 2.1e-4), USUAL_S)  # by hand: 25% and 5%
    assert "25% longer for a matrix product" in said and "copy" not in said
    (said,) = said_of("training", (1e-3, 2e-4, 1e-4, 1.3e-5), (*USUAL_S, 1e-4, 1e-5))  # by hand: 30%
    assert "30% longer for a loop of Python" in said and "product" not in said
    assert not said_of("training", USUAL_S, USUAL_S)
    assert not said_of("training", (), USUAL_S) and not said_of("training", (1.0, 1.0), ())


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=3))
def test_the_pace_between_two_moments_lies_between(pairs):
    found = middle(list(zip(*pairs, strict=True)))
    assert all(min(p) * (1 - 1e-9) <= m <= max(p) * (1 + 1e-9) for m, p in zip(found, pairs, strict=True))


def test_the_pace_is_kept_in_the_record_and_older_records_do_without(tmp_path):
    path, one = tmp_path / "record.jsonl", replace(sample(*drawn(1)[0], 0.0), pace_s=(1e-3, 2e-4, 1e-4, 1e-5))
    begin(path, header(), None)
    append(path, one)
    older = {**asdict(replace(one, seed=10**6)), "op_s": [None]}
    for name in ("pace_s", "op_mapped"):
        del older[name]
    with path.open("a") as file:
        file.write(json.dumps(older) + "\n")
    assert [s.pace_s for s in read(path).samples] == [(1e-3, 2e-4, 1e-4, 1e-5), ()]
    assert [s.op_mapped for s in read(path).samples] == [(), ()]
