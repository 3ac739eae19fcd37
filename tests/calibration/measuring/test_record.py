"""Records: appended line by line, resumed, refused where they belong to another machine; hostile lines are left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.measuring import collect as collecting
from calibration.measuring.collect import Seen, collect, open_record
from calibration.measuring.samples import append, begin, read
from profilers.load import Load, LoadPolicy
from tests.calibration.learning.simulated_machine import drawn, header, sample, samples


@pytest.fixture
def simulated(monkeypatch):
    """Measuring is simulated; every network takes a fraction of a second of a simulated clock."""
    clock = [0.0]

    def passes() -> float:
        clock[0] += 0.25
        return clock[0]

    monkeypatch.setattr(
        collecting, "measured", lambda seed, network, workload, device, meters: sample(seed, network, workload, 0.0)
    )
    monkeypatch.setattr(collecting.time, "perf_counter", passes)
    return clock


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "record.jsonl"
    begin(path, header(), 41.5)
    for one in samples(4):
        append(path, one)
    record = read(path)
    assert record.header == header() and record.idle_w == 41.5 and not record.problems
    assert [s.seed for s in record.samples] == [s.seed for s in samples(4)]
    for back, was in zip(record.samples, samples(4), strict=True):
        assert back.phases == was.phases and back.energy_j == was.energy_j
        assert back.op_s == pytest.approx(was.op_s, rel=1e-3)


def test_a_torn_line_loses_that_sample_alone(tmp_path):
    path = tmp_path / "record.jsonl"
    begin(path, header(), None)
    for one in samples(3):
        append(path, one)
    path.write_bytes(path.read_bytes()[:-40])
    append(path, samples(4)[3])
    record = read(path)
    assert [s.seed for s in record.samples] == [samples(4)[i].seed for i in (0, 1, 3)]
    assert len(record.problems) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_records_never_give_a_negative_or_endless_time(tmp_path_factory, junk, at, byte):
    path = tmp_path_factory.mktemp("fuzz") / "record.jsonl"
    begin(path, header(), None)
    for one in samples(2):
        append(path, one)
    raw = bytearray(path.read_bytes() + junk)
    raw[at % len(raw)] = byte
    path.write_bytes(bytes(raw))
    try:
        record = read(path)
    except CalibrationError:
        return
    for one in record.samples:
        assert 0 <= one.total_s < float("inf") and all(s is None or 0 <= s < float("inf") for s in one.op_s)


@pytest.mark.parametrize("value", ["NaN", "-1.0", "Infinity", "true", '"1"'])
def test_what_is_no_time_is_refused(tmp_path, value):
    path = tmp_path / "record.jsonl"
    begin(path, header(), None)
    append(path, samples(1)[0])
    lines = path.read_text().splitlines()
    raw = json.loads(lines[1]) | {"total_s": "HERE"}
    path.write_text(lines[0] + "\n" + json.dumps(raw).replace('"HERE"', value) + "\n")
    assert read(path).samples == () and read(path).problems


def test_a_record_of_another_machine_is_refused(tmp_path):
    path = tmp_path / "record.jsonl"
    begin(path, header(), None)
    with pytest.raises(CalibrationError, match=r"torch '2\.13\.0', now '3\.0'"):
        open_record(path, replace(header(), torch="3.0"), lambda: None)


def test_a_killed_calibration_goes_on_where_it_was(tmp_path, simulated):
    path = tmp_path / "record.jsonl"
    record = open_record(path, header(), lambda: 12.0)
    for count, _ in enumerate(collect(path, record, 100.0), start=1):
        if count == 5:
            break  # as a kill between two networks
    again = open_record(path, header(), lambda: pytest.fail("idle power is known"))
    assert len(again.samples) == 5 and again.idle_w == 12.0
    more = list(collect(path, again, again.samples[-1].at_s + 1.0))
    seeds = [s.seed for s in read(path).samples]
    assert len(seeds) == 5 + len(more) and len(set(seeds)) == len(seeds)
    assert all(a.at_s < b.at_s for a, b in zip(read(path).samples, read(path).samples[1:], strict=False))


def test_it_ends_when_its_time_is_spent(tmp_path, simulated):
    path = tmp_path / "record.jsonl"
    taken = list(collect(path, open_record(path, header(), lambda: None), 3.0))
    assert taken[-1].at_s >= 3.0 > taken[-2].at_s


class _Busy:
    def __init__(self, cores: float) -> None:
        self._cores = cores

    def load(self) -> Load:
        return Load(1.0, self._cores, 0.2)


def test_disturbed_samples_are_thrown_away(tmp_path, simulated):
    looks = iter([0.0, 3.0, 3.0] + [0.0] * 100)
    policy = LoadPolicy(watch=lambda meters, limit, working: _Busy(next(looks)))
    path = tmp_path / "record.jsonl"
    work = collect(path, open_record(path, header(), lambda: None), 3.0, (), policy)
    taken = list(work)
    assert work.discarded == 2 and len(read(path).samples) == len(taken)


def test_samples_that_may_be_disturbed_are_marked(tmp_path, simulated):
    looks = iter([0.0, 3.0, 0.0] + [0.0] * 100)
    policy = LoadPolicy(allow_busy=True, watch=lambda meters, limit, working: _Busy(next(looks)))
    path = tmp_path / "record.jsonl"
    work = collect(path, open_record(path, header(), lambda: None), 3.0, (), policy)
    list(work)
    assert work.discarded == 0
    assert [one.disturbed for one in read(path).samples][:3] == [False, True, False]


def _failing(monkeypatch, broken: range) -> None:
    """The `broken`-th networks to be measured do not run."""
    works, count = collecting.measured, iter(range(10_000))

    def measured(*args):
        if next(count) in broken:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 90 GiB")
        return works(*args)

    monkeypatch.setattr(collecting, "measured", measured)


def test_a_network_that_does_not_run_here_is_passed_over(tmp_path, simulated, monkeypatch):
    _failing(monkeypatch, range(1, 3))
    path = tmp_path / "record.jsonl"
    work = collect(path, open_record(path, header(), lambda: None), 3.0)
    assert len(list(work)) == len(read(path).samples) > 2
    assert len(work.failures) == 2 and work.failures[0].endswith("CUDA out of memory.")


def test_a_device_on_which_nothing_runs_any_more_ends_it(tmp_path, simulated, monkeypatch):
    _failing(monkeypatch, range(2, 10_000))
    path = tmp_path / "record.jsonl"
    with pytest.raises(CalibrationError, match=r"5 networks in a row .*out of memory"):
        list(collect(path, open_record(path, header(), lambda: None), 60.0))
    assert len(read(path).samples) == 2  # what was measured is kept


def test_what_was_seen_is_no_longer_new():
    (_, _, first), (_, _, second) = drawn(2)
    seen = Seen()
    assert seen.novelty(first) == pytest.approx(1.0)
    seen.add(first)
    assert seen.novelty(first) == pytest.approx(0.5)  # every op was seen once: 1 / (1 + 1)
    assert 0.5 <= seen.novelty(second) <= 1.0


def test_memory_touched_for_the_first_time_is_kept_in_the_record(tmp_path):
    path, one = tmp_path / "record.jsonl", sample(*drawn(1)[0], 0.0)
    counted = replace(one, op_mapped=tuple(4096.0 * i for i in range(len(one.op_s))))
    begin(path, header(), None)
    append(path, counted)
    append(path, replace(counted, seed=10**6, op_mapped=(1.0,) * (len(one.op_s) + 1)))
    record = read(path)
    assert [s.op_mapped for s in record.samples] == [counted.op_mapped]
    assert "line 3 is damaged" in record.problems[0]


def test_a_number_beyond_all_floats_is_a_damaged_line(tmp_path):
    path = tmp_path / "record.jsonl"
    begin(path, header(), None)
    append(path, samples(1)[0])
    path.write_text(path.read_text().replace('"at_s":1.0', '"at_s":1' + 400 * "0"))
    assert "line 2 is damaged" in read(path).problems[0]


def test_a_network_that_took_the_process_down_is_passed_over(tmp_path, simulated):
    path = tmp_path / "record.jsonl"
    first, second = (seed for seed, _, _ in drawn(2))
    path.with_name("record.jsonl.at_hand").write_text(str(first))
    taken = [sample.seed for sample in collect(path, open_record(path, header(), lambda: None), 1.0)]
    assert taken[0] == second and first not in taken  # the first one is judged: drawn without choosing
    assert not path.with_name("record.jsonl.at_hand").exists()


def test_all_networks_that_took_the_process_down_are_passed_over(tmp_path, simulated, monkeypatch):
    path = tmp_path / "record.jsonl"
    seeds, at_hand = [seed for seed, _, _ in drawn(3)], path.with_name("record.jsonl.at_hand")

    def dies(*_):
        at_the_kill.append(at_hand.read_text())
        raise KeyboardInterrupt

    works, at_the_kill = collecting.measured, list[str]()
    monkeypatch.setattr(collecting, "measured", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            list(collect(path, open_record(path, header(), lambda: None), 1.0))
        at_hand.write_text(at_the_kill[-1])  # as a kill leaves it, which cleans up nothing
    assert at_the_kill[1].split() == [str(seed) for seed in seeds[:2]]
    monkeypatch.setattr(collecting, "measured", works)
    taken = [sample.seed for sample in collect(path, open_record(path, header(), lambda: None), 1.0)]
    assert taken[0] == seeds[2] and not set(seeds[:2]) & set(taken)


@pytest.mark.parametrize("kept", [0, 1, 30, 120])
def test_a_header_that_a_kill_tore_is_begun_anew(tmp_path, kept):
    path = tmp_path / "record.jsonl"
    begin(path, header(), 41.5)
    path.write_bytes(path.read_bytes()[:kept])
    assert open_record(path, header(), lambda: 7.0).idle_w == 7.0
    assert read(path).idle_w == 7.0


def test_a_file_that_is_no_record_is_not_overwritten(tmp_path):
    path = tmp_path / "record.jsonl"
    path.write_text("my notes")
    with pytest.raises(CalibrationError, match="not a calibration record"):
        open_record(path, header(), lambda: None)
    assert path.read_text() == "my notes"
