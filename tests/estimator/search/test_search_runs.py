"""Searches in several processes and on a Dask cluster, with workers killed; results in a file; runs that broke.

What is expected is always the answer of the same plan in one process, to the last bit.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from joblib.externals.loky import get_reusable_executor

from estimator import Scenario
from estimator.base.errors import ModelFileError, ScenarioError
from estimator.commands import main
from estimator.search import Plan, Runner, search
from estimator.search import workers as search_workers
from estimator.search.plan import Unit
from estimator.search.simulate import Simulation
from tests.estimator.networks import mlp
from tests.estimator.profiles import profile
from tests.estimator.search import search_spaces

PLAN = Plan(
    search_spaces.mlps,
    Scenario(trials=60, epochs=4, samples=320, pue=1.0),
    sampler="random",
    studies=3,
    hardware=profile(static_w=50.0),
)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Several units a study: blocks of 10 of its 60 trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("estimator.search.plan._BLOCK", 10)
        yield


@pytest.fixture(scope="module")
def expected(small_blocks):
    return search(PLAN)


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _trials(path: Path) -> list[tuple[int, int]]:
    return sorted((line["study"], line["trial"]) for line in _lines(path) if "trial" in line)


ALL_TRIALS = [(study, trial) for study in range(3) for trial in range(60)]


# ---- units


def test_units_cover_every_trial_once():
    units = list(PLAN.units())
    assert len(units) == 18
    assert sorted((u.study, u.first + i) for u in units for i in range(u.trials)) == ALL_TRIALS
    adaptive = list(replace(PLAN, sampler="tpe").units())
    assert adaptive == [Unit(study, 0, 60) for study in range(3)]  # its trials depend on those before
    assert list(replace(PLAN, pruner="median").units()) == adaptive


def test_units_may_be_run_in_any_order_and_again(expected):
    class Backwards(Runner):
        def results(self, plan, units, told):
            return search_workers.here(plan, [*reversed(units)], told)

    assert search(PLAN, Backwards()) == expected


def test_a_fingerprint_tells_plans_apart():
    others = [
        replace(PLAN, seed=1), replace(PLAN, sampler="tpe"), replace(PLAN, pruner="median"), replace(PLAN, studies=4),
        replace(PLAN, patience=3), replace(PLAN, scenario=Scenario(trials=61)),
        replace(PLAN, space=search_spaces.six_points),
    ]  # fmt: skip
    assert len({plan.fingerprint for plan in [PLAN, *others]}) == len(others) + 1
    assert replace(PLAN).fingerprint == PLAN.fingerprint


# ---- the file


def test_every_trial_is_one_line(tmp_path, expected):
    path = tmp_path / "deep" / "results.jsonl"
    assert search(PLAN, Runner(out=path)) == expected
    lines = _lines(path)
    assert lines[0] == {"search": lines[0]["search"], "trials": 60, "studies": 3}
    assert _trials(path) == ALL_TRIALS
    first = lines[1]
    assert set(first) == {
        "study", "trial", "state", "epochs", "epochs_run", "energy_j", "duration_s", "params", "error", "cautions",
    }  # fmt: skip
    assert first["state"] == "complete"
    assert sum(line["energy_j"]["value"] for line in lines if "trial" in line) == pytest.approx(
        3 * expected.stage.energy_j.value, rel=0.1
    )


@pytest.mark.parametrize("cut", [1, 40, 0.3, 0.5, 0.98], ids=str)
def test_a_file_that_was_cut_off_anywhere_is_gone_on_with(tmp_path, expected, cut, monkeypatch):
    path = tmp_path / "results.jsonl"
    search(PLAN, Runner(out=path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut) if cut < 1 else len(whole) - cut])
    ran, run = [], Simulation.run
    monkeypatch.setattr(Simulation, "run", lambda self, unit, *told: ran.append(unit) or run(self, unit, *told))
    assert search(PLAN, Runner(out=path)) == expected
    assert 0 < len(ran) < 18
    assert _trials(path) == ALL_TRIALS
    ran.clear()
    assert search(PLAN, Runner(out=path)) == expected
    assert ran == []


@pytest.mark.parametrize("garbage", [b'{"x": 1}\n', b"\xff\xfe\n", b'{"done": 3}\n', b"[1]\n"])
def test_garbage_in_the_file_is_run_again(tmp_path, expected, garbage):
    path = tmp_path / "results.jsonl"
    search(PLAN, Runner(out=path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:100], garbage, *lines[100:]]))
    assert search(PLAN, Runner(out=path)) == expected
    assert _trials(path) == ALL_TRIALS


def test_a_space_that_was_corrected_before_anything_ran_may_use_the_same_file(tmp_path):
    space, path = tmp_path / "space.py", tmp_path / "results.jsonl"
    plan = replace(PLAN, space=str(space), scenario=Scenario(trials=2), studies=1)
    space.write_text("def build(trial:\n", encoding="utf-8")
    with pytest.raises(ModelFileError, match="SyntaxError"):
        search(plan, Runner(out=path))
    space.write_text("from torch import nn\n\n\ndef build(trial):\n    return nn.Linear(2, 2)\n", encoding="utf-8")
    assert search(plan, Runner(out=path)).trials == 2


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScenarioError, match=r"--out .* cannot be written"):
        search(PLAN, Runner(out=tmp_path / "file" / "results.jsonl"))


def test_progress_begins_with_what_the_file_holds_and_moves_within_a_study(tmp_path):
    """Two studies of four trials, each one unit."""
    path, heard = tmp_path / "results.jsonl", []
    plan = replace(PLAN, sampler="tpe", scenario=Scenario(trials=4), studies=2)
    search(plan, Runner(out=path, progress=heard.append))
    assert heard == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:6]), encoding="utf-8")  # the head, four trials, and that they are done
    heard.clear()
    search(plan, Runner(out=path, progress=heard.append))
    assert heard == [4, 5, 6, 7, 8, 8]


def test_a_file_of_another_search_is_not_touched(tmp_path):
    path = tmp_path / "results.jsonl"
    for text in ("precious\n", '{"search": "other"}\n', "[1]\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ScenarioError, match="holds the results of another search"):
            search(PLAN, Runner(out=path))
        assert path.read_text(encoding="utf-8") == text


def test_an_interrupt_leaves_what_is_done(tmp_path, expected):
    path = tmp_path / "results.jsonl"

    def progress(trials):
        if trials == 85:  # the first study's six units, two of the second, and half of the third
            raise KeyboardInterrupt

    cost = search(PLAN, Runner(out=path, progress=progress))
    assert (cost.studies, cost.planned_studies) == (1, 3)
    assert cost.warnings == ("interrupted: 1 of 3 simulated studies were done",)
    assert len(_trials(path)) == 80
    assert search(PLAN, Runner(out=path)) == expected


def test_an_interrupt_before_the_first_study_was_done_is_one(tmp_path):
    def progress(trials):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(PLAN, Runner(progress=progress))


def test_the_command_says_how_to_go_on(tmp_path, monkeypatch):
    space, out = tmp_path / "space.py", tmp_path / "results.jsonl"
    space.write_text("from torch import nn\n\n\ndef build(trial):\n    return nn.Linear(10, 3)\n", encoding="utf-8")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Simulation, "run", interrupted)
    result = CliRunner().invoke(main, ["search", str(space), "--hardware", "i9-9900k", "--out", str(out)])
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "the same command goes on from there" in result.stderr
    assert str(out) in result.stderr


# ---- several processes


def test_two_processes_give_the_answer_of_one(tmp_path, expected):
    path = tmp_path / "results.jsonl"
    assert search(PLAN, Runner(jobs=2, out=path)) == expected
    assert _trials(path) == ALL_TRIALS


def test_a_worker_that_dies_is_made_up_for(tmp_path, expected, monkeypatch):
    monkeypatch.setenv("JOULECAST_TEST_MARKER", str(tmp_path / "died"))
    get_reusable_executor().shutdown()  # new workers, which see the marker
    plan, notes = replace(PLAN, space=search_spaces.kills_its_worker_once), []
    path = tmp_path / "results.jsonl"
    assert search(plan, Runner(jobs=2, out=path, note=notes.append)).stage == expected.stage
    assert (tmp_path / "died").exists()
    assert notes
    assert "a worker was lost" in notes[0]
    assert _trials(path) == ALL_TRIALS


def test_a_unit_of_which_every_worker_dies_is_given_up(tmp_path):
    plan = replace(PLAN, space=search_spaces.kills_every_worker, studies=1, scenario=Scenario(trials=2))
    ((unit, lost),) = search_workers.with_joblib(plan, [Unit(0, 0, 2)], 2, lambda text: None)
    assert unit == Unit(0, 0, 2)
    assert lost == search_workers.Lost("3 workers died of it")


@pytest.mark.parametrize("jobs", [1, 2])
def test_functions_of_equal_code_that_enclose_other_values_are_other_spaces(jobs):
    def linear(width):
        return lambda trial: mlp(10, width)

    plans = [replace(PLAN, space=linear(width), scenario=Scenario(trials=20), studies=1) for width in (3, 300)]
    narrow, wide = (search(plan, Runner(jobs=jobs)).stage.energy_j.value for plan in plans)
    assert wide > narrow
    assert plans[0].fingerprint != plans[1].fingerprint


def test_a_space_without_a_source_file_is_searched():
    typed: dict = {"mlp": mlp}
    exec("def build(trial):\n    return mlp(10, 3)\n", typed)
    for space in (typed["build"], partial(mlp, 10, 3, 4)):
        assert replace(PLAN, space=space).fingerprint == replace(PLAN, space=space).fingerprint
    assert search(replace(PLAN, space=typed["build"], scenario=Scenario(trials=2), studies=1)).trials == 2


# ---- a cluster


def test_a_cluster_loses_a_worker_in_mid_sweep(tmp_path, expected):
    from distributed import LocalCluster

    path, notes, heard = tmp_path / "results.jsonl", [], []
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        victim = next(iter(cluster.workers.values())).process.pid

        def progress(trials):
            heard.append(trials)
            if trials == 40:
                os.kill(victim, signal.SIGKILL)

        runner = Runner(dask=cluster.scheduler_address, out=path, progress=progress, note=notes.append)
        assert search(PLAN, runner) == expected
    assert _trials(path) == ALL_TRIALS
    assert heard == [10 * units for units in range(19)]  # every one of 18 units of 10 trials counts once


def test_a_cluster_that_is_lost_says_how_to_go_on(tmp_path):
    from distributed import LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)
    runner = Runner(
        dask=cluster.scheduler_address,
        out=tmp_path / "results.jsonl",
        progress=lambda trials: cluster.close() if trials == 10 else None,
    )
    with pytest.raises(ScenarioError, match="was lost: start it again"):
        search(PLAN, runner)


def test_a_cluster_that_does_not_answer_is_one_sentence():
    with pytest.raises(ScenarioError, match=r"--dask tcp://127.0.0.1:9 does not answer"):
        search(PLAN, Runner(dask="tcp://127.0.0.1:9"))
