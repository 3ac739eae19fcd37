"""`estimate search`: its JSON, its text, its options, the example, and the pace that it shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.progress import Task, TaskID

from estimator.commands import main
from estimator.report.search import _Pace
from estimator.search import search
from tests.estimator.report.test_contract import STAGE
from tests.estimator.search.plans import plan_of

SPACE = "from torch import nn\n\n\ndef build(trial):\n    return nn.Linear(10, trial.suggest_int('width', 3, 6))\n"


@pytest.fixture
def space(tmp_path) -> str:
    path = tmp_path / "space.py"
    path.write_text(SPACE, encoding="utf-8")
    return str(path)


def _run(*args: str):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["search", *args])


OPTIONS = ("--trials", "8", "--epochs", "5", "--samples", "1000", "--studies", "2", "--hardware", "i9-9900k")


def test_json_has_the_contracts_keys(space):
    result = _run(space, *OPTIONS, "--pruner", "percentile:10", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {
        "schema_version", "search", "trials", "epochs_run", "failed_trials", "failures", "studies", "hardware",
        "assumptions", "warnings",
    }  # fmt: skip
    assert set(told["search"]) == STAGE
    assert (told["trials"], told["failed_trials"], told["failures"]) == (8, 0, [])
    assert list(told["epochs_run"]) == ["value", "low", "high"]
    assert told["epochs_run"]["value"] < 40
    assert told["search"]["energy_kwh"] == pytest.approx(told["search"]["energy_j"]["value"] / 3.6e6)
    given = {a["name"]: (a["value"], a["status"]) for a in told["assumptions"]}
    assert given["trials"] == (8, "given")
    assert given["sampler"] == ("tpe", "default")
    assert given["pruner"] == ("percentile:10", "given")
    assert given["curve spread"] == (0.3, "default")


def test_text_says_trials_energy_epochs_and_assumptions(space):
    result = _run(space, *OPTIONS, "--sampler", "random")
    assert result.exit_code == 0, result.stderr
    for word in (
        "search (8 trials)",
        "90% interval",
        "kg CO2e",
        "40 epochs are run",
        "--sampler",
        "2 simulated studies",
    ):
        assert word in result.stdout, word


def test_a_wrong_option_is_one_line_with_the_remedy(space):
    result = _run(space, *OPTIONS, "--pruner", "gardener")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("estimate: --pruner is one of")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_search_has_no_options_that_it_does_not_read():
    names = {option.name for option in main.commands["search"].params}
    assert {"trials", "epochs", "samples", "batch_size", "hardware", "pue", "sampler", "dask", "jobs"} <= names
    assert not names & {"search_epochs", "search_samples", "inferences"}
    assert {option.name for option in main.commands["model"].params} >= {"search_epochs", "inferences"}


def test_the_examples_space_can_be_searched():
    space = Path(__file__).parents[3] / "examples" / "search_space.py"
    cost = search(plan_of(str(space), sampler="tpe", trials=4, studies=1))
    assert cost.failed_trials == 0
    assert math.isfinite(cost.stage.energy_j.value)


def test_the_pace_is_that_of_this_run_alone():
    """By hand: 40 of 100 trials were there before; 10 more in 5 s are 2 a second, so the last 50 take 25 s."""
    task = Task(TaskID(0), "trials", 100, 40, _get_time=lambda: 5.0, fields={"before": 40})
    task.start_time = 0.0
    assert _Pace().render(task).plain == ""
    task.completed = 50
    assert _Pace().render(task).plain == "2.0/s, 25.0 s left"
