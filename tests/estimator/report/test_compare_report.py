"""`estimate compare`: text at every width, JSON, CSV, exit codes."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest
from click.testing import CliRunner
from rich.console import Console

from estimator.commands import main
from estimator.comparing.compare import by_name, compare
from estimator.comparing.sweep import Sweep
from estimator.lifecycle.scenario import Scenario
from estimator.report.comparison import render
from estimator.report.comparison_data import to_csv, to_json
from estimator.report.contract import to_dict
from tests.estimator.comparing.comparisons import comparison, row
from tests.estimator.report.test_contract import check_keys

NETS = ("mlp:100x10x100", "mlp:100x100x10")
CPU = ("--hardware", "i9-9900k")
BESIDE = {
    "name", "sweep", "ratio_to_best", "ratio_interval", "bound_shares", "reason", "tie_with", "quality",
    "pays_back_after",
}  # fmt: skip


def _run(*args: str, width: int = 120):
    return CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["compare", *args])


def _shown(found, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(render(found, 0.01, width))
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def found():
    sweeps = [Sweep("hardware", ("i9-9900k", "a100")), Sweep("region", ("france", "world"))]
    return compare(by_name(NETS), Scenario(inferences=1e6), sweeps=sweeps, qualities={"100x10x100": 0.9})


# ---- text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 160, 250])
def test_text_fits_its_terminal_and_says_everything(found, width):
    lines = _shown(found, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for word in (
        "parameters", "work", "moved", "ops", "inference", "training", "lifetime", "90% interval", "kg CO2e", "x best",
        "compute", "memory", "launch", "dearer by", "ties with", "quality", "Pareto", "hardware", "region",
    ):  # fmt: skip
        assert word in text, word


def test_a_wide_terminal_has_one_table_and_a_narrow_one_repeats_the_names():
    found = comparison(row("first", 1, spread=0.1), row("second", 3, spread=0.1))
    tables = [sum(line.startswith("#") for line in _shown(found, width)) for width in (250, 80, 40)]
    assert tables[0] == 1
    assert tables[0] < tables[1] < tables[2]
    assert _shown(found, 80).count("") >= 2


def test_ties_are_told_by_row_numbers():
    rows = [
        row(name, joules, spread=0.1) for name, joules in (("a", 1.0), ("b", 1.1), ("c", 1.2), ("d", 9.0), ("e", 1.3))
    ]
    by_row = [line.split(None, 2)[2:] for line in _shown(comparison(*rows), 250) if line[:1].isdigit()]
    ends = [cells[0].split("100%")[-1].strip() for cells in by_row]
    # within a factor of exp(1.645 x 0.1414) = 1.262; row 5 is "d"
    assert ends == ["2-3", "1, 3-4", "1-2, 4", "2-3", ""]


def test_the_costliest_row_says_why_in_counts():
    shown = " ".join(_run(*NETS, *CPU).stdout.split())
    # module calls by hand: 11 linear layers, 10 ReLUs and their container are 22; 101 + 100 + 1 are 202
    assert re.search(r"100x100x10 costs \d+\.\d\d times 100x10x100", shown)
    assert (
        "of its extra time waits for launch, with 809 ops and 202 module calls a training step against 89 and 22"
        in shown
    )


def test_front_and_the_cheapest_within_are_named():
    shown = _run(
        *NETS, *CPU, "--quality", "100x10x100=0.91", "--quality", "mlp:100x100x10=0.93", "--within", "0.05"
    ).stdout
    assert "Pareto front (cost against quality): 100x10x100, 100x100x10." in shown
    assert "Cheapest within 0.05 of the best quality: 100x10x100 (0.91)." in shown


def test_payback_has_a_column():
    lines = _shown(comparison(row("cheap", 10, 2), row("dear", 20010, 1)), 250)
    assert any("Pays its training back against #1 after" in line for line in lines)
    assert any("20 k" in line and "dear" in line for line in lines)


def test_a_warning_is_said_once_with_the_rows_it_is_about():
    shown = " ".join(_run("mlp:10x[1,2,3,4,5]x4", *CPU, "--samples", "5").stdout.split())
    assert shown.count("smaller than one batch") == 1
    assert "and 2 more: the training set" in shown


def test_what_rows_rest_on_is_said_once():
    shown = _run(*NETS, "--sweep", "batch-size=8,16", *CPU).stdout
    assert "batch size            differs" in shown
    assert shown.count("--pue") == 1


# ---- data


def test_json_is_the_main_contract_and_what_a_comparison_adds(found):
    told = to_json(found, 0.01)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert set(told) == {
        "schema_version", "compared_by", "models", "pareto", "cheapest_within", "cheapest_to_train", "failed"
    }  # fmt: skip
    for model, one, between in zip(told["models"], found.rows, found.ratios, strict=True):
        assert {key: model[key] for key in to_dict(one.footprint)} == to_dict(one.footprint)
        check_keys({key: value for key, value in model.items() if key not in BESIDE})
        assert model["ratio_to_best"] == between.value
        assert math.fsum(model["bound_shares"].values()) == pytest.approx(1)
    assert told["compared_by"] == {"stage": "lifetime", "quantity": "carbon_kg"}
    assert told["pareto"] == [told["cheapest_within"]["name"]]
    assert told["models"][0]["ratio_to_best"] == 1


def test_ties_in_json_are_mutual(found):
    ties = {model["name"]: model["tie_with"] for model in to_json(found, 0.01)["models"]}
    assert all(name in ties[other] for name, others in ties.items() for other in others)


def test_csv_has_the_numbers_of_the_json(found):
    told = to_json(found, 0.01)["models"]
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == len(told)
    for line, model in zip(lines, told, strict=True):
        assert line["name"] == model["name"]
        assert (line["hardware"], line["region"]) == (model["sweep"]["hardware"], model["sweep"]["region"])
        assert float(line["lifetime_energy_low_j"]) == model["lifetime"]["energy_j"]["low"]
        assert float(line["training_carbon_kg"]) == model["training"]["carbon_kg"]
        assert float(line["ratio_to_best"]) == model["ratio_to_best"]
        assert float(line["launch_share"]) == model["bound_shares"]["launch"]
        assert line["tie_with"].split(";") == (model["tie_with"] or [""])
        assert line["search_energy_j"] == ""
    assert {line["pareto"] for line in lines} == {"True", "False", ""}


# ---- the command


def test_csv_goes_to_a_file_beside_the_table_or_to_standard_output(tmp_path):
    path = tmp_path / "out.csv"
    both = _run(*NETS, *CPU, "--csv", str(path))
    assert "What the time waits for" in both.stdout
    alone = _run(*NETS, *CPU, "--csv", "-")
    assert alone.stdout == path.read_text(encoding="utf-8")
    refused = _run(*NETS, *CPU, "--csv", "-", "--json")
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv", "-")])
def test_a_failure_is_exit_code_1_and_named_on_standard_error(form):
    done = _run(*NETS, "no-such-file.pt", *CPU, *form)
    assert done.exit_code == 1
    named, counted = done.stderr.strip().splitlines()
    assert named.startswith("estimate: no-such-file.pt failed: there is no file")
    assert counted == "estimate: 1 failed, 2 compared"
    assert "100x100x10" in done.stdout
    if form == ("--json",):
        assert [failure["name"] for failure in json.loads(done.stdout)["failed"]] == ["no-such-file.pt"]


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv", "-")])
def test_nothing_left(form):
    done = _run("no-such-file.pt", *CPU, *form)
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
    assert done.stdout


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (("--sweep", "colour=red"), "--sweep"),
        (("--sweep", "epochs=0"), "--epochs"),
        (("--sweep", "hardware=t4"), "--hardware"),
        (("--quality", "nobody=1"), "--quality"),
        (("--quality", "0.9"), "--quality"),
        (("--epochs", "-1"), "--epochs"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(args, names):
    done = _run(*NETS, *CPU, *args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert names in done.stderr


def test_options_are_explained():
    shown = _run("--help").stdout
    for option in ("--quality", "--within", "--sweep", "--csv", "--json", "--epochs", "--hardware"):
        assert option in shown
    assert all(option.help for option in main.commands["compare"].params if option.param_type_name == "option")
