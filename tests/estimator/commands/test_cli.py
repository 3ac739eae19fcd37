"""The command line: what it prints, where, with which exit code; its numbers are the Python API's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator import Scenario, estimate, to_dict
from estimator.commands import main
from estimator.commands.options import OPTIONS
from estimator.lifecycle.scenario import SCENARIO_FIELDS
from tests.estimator.report.test_contract import check_keys

CPU = ("--hardware", "i9-9900k")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.pt"
    torch.save(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)), path)
    return str(path)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("models") / "cnn.pt"
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    torch.save(nn.Sequential(*layers), path)
    return str(path)


def _run(*args: str):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, list(args))


def _refused(*args: str) -> str:
    """The one line on stderr of a command that must fail with exit code 2 and nothing else."""
    result = _run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# ---- answers


def test_default_command_takes_a_model(mlp):
    short, long = _run(mlp, *CPU, "--explain"), _run("model", mlp, *CPU, "--explain")
    assert short.exit_code == long.exit_code == 0
    assert short.stdout == long.stdout
    assert short.stderr == ""
    for word in ("785 parameters", "inference", "training", "kWh", "kg CO2e", "90% interval", "overhead", "80%"):
        assert word in short.stdout, word


def test_text_names_assumptions_and_flags(mlp):
    shown = _run(mlp, *CPU, "--epochs", "3", "--explain").stdout
    for word in ("--samples", "--batch-size", "--region", "--pue", "default", "given", "detected"):
        assert word in shown, word


def test_stages_appear_when_asked_for(mlp):
    assert "lifetime" not in _run(mlp, *CPU).stdout
    shown = _run(mlp, *CPU, "--trials", "5", "--inferences", "1e6").stdout
    assert "lifetime" in shown
    assert "search" in shown


def test_json_has_exactly_the_contracts_keys(mlp):
    result = _run(mlp, *CPU, "--json")
    assert result.exit_code == 0
    check_keys(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("args", "scenario"),
    [
        ((), {}),
        (("--epochs", "3", "--samples", "1234"), {"epochs": 3, "samples": 1234}),
        (("--trials", "5", "--search-epochs", "2", "--search-samples", "99"),
         {"trials": 5, "search_epochs": 2, "search_samples": 99}),
        (("--inferences", "1e6", "--inference-batch-size", "8"), {"inferences": 1e6, "inference_batch_size": 8}),
        (("--region", "germany", "--pue", "1.1"), {"region": "germany", "pue": 1.1}),
        (("--carbon-intensity", "42"), {"carbon_intensity": 42}),
        (("--dtype", "bfloat16", "--optimizer", "sgd", "--batch-size", "64"),
         {"dtype": "bfloat16", "optimizer": "sgd", "batch_size": 64}),
        (("--freeze", "0", "--overhead", "0.8"), {"freeze": ("0",), "overhead": 0.8}),
        (("--devices", "4", "--input", "7x20"), {"devices": 4, "inputs": ("7x20",)}),
    ],
)  # fmt: skip
def test_json_numbers_are_the_python_apis(mlp, args, scenario):
    told = json.loads(_run(mlp, *CPU, *args, "--json").stdout)
    assert told == json.loads(json.dumps(to_dict(estimate(mlp, Scenario(hardware="i9-9900k", **scenario)))))


def test_every_field_of_a_scenario_is_an_option():
    command = main.commands["model"]
    options = {option.name for option in command.params}
    assert set(SCENARIO_FIELDS) <= options
    assert len(OPTIONS) == len(SCENARIO_FIELDS)
    assert all(option.help for option in command.params if option.param_type_name == "option")


@pytest.mark.parametrize("command", ["", *main.commands])
def test_help_fits_a_terminal_of_80_columns(command):
    done = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    listed = done.stdout.partition("Commands:")[2].partition("Examples:")[0]
    assert not any(line.endswith("...") for line in listed.splitlines())  # cut


def test_top_limits_the_layers(cnn):
    everything = json.loads(_run(cnn, *CPU, "--json").stdout)["layers"]
    assert len(everything) >= 6
    assert json.loads(_run(cnn, *CPU, "--json", "--top", "2").stdout)["layers"] == everything[:2]
    assert "The 2 layers that cost most" in _run(cnn, *CPU, "--top", "2").stdout
    assert "The 5 layers that cost most" in _run(cnn, *CPU, "--explain").stdout
    assert "layers that cost most" not in _run(cnn, *CPU).stdout
    assert "layers that cost most" not in _run(cnn, *CPU, "--top", "0").stdout


def test_hardware_command():
    listed = _run("hardware")
    assert listed.exit_code == 0
    assert "nvidia-rtx-2080-ti" in listed.stdout
    assert "intel-core-i9-9900k" in listed.stdout
    shown = _run("hardware", "rtx-2080-ti")
    assert shown.exit_code == 0
    assert "tdp_w" in shown.stdout
    assert "250 W" in shown.stdout  # NVIDIA's data sheet
    assert "nvidia-quadro-rtx-6000" in _refused("hardware", "rtx-6000")  # ambiguous: names the candidates


def test_regions_command():
    listed = _run("regions")
    assert listed.exit_code == 0
    assert "germany" in listed.stdout.lower()
    assert "us-west1" in listed.stdout
    shown = _run("regions", "germany")
    assert shown.exit_code == 0
    assert "DEU" in shown.stdout
    assert "--carbon-intensity" in _refused("regions", "atlantis")


def test_version_and_help():
    assert "joulecast" in _run("--version").stdout or "0." in _run("--version").stdout
    shown = _run("--help").stdout
    assert "estimate model.pt --epochs 10 --samples 100000" in shown
    for option in ("--hardware", "--region", "--cross-check", "--json", "--trust", "--freeze"):
        assert option in _run("model", "--help").stdout


def test_no_argument_shows_the_help():
    assert "Usage" in _run().output


# ---- errors


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (("--epochs", "0"), "--epochs"),
        (("--epochs", "nan"), "--epochs"),
        (("--samples", "-5"), "--samples"),
        (("--samples", "inf"), "--samples"),
        (("--batch-size", "0"), "--batch-size"),
        (("--inference-batch-size", "-1"), "--inference-batch-size"),
        (("--trials", "0"), "--trials"),
        (("--search-epochs", "3"), "--trials"),
        (("--trials", "2", "--search-samples", "0"), "--search-samples"),
        (("--inferences", "0"), "--inferences"),
        (("--devices", "0"), "--devices"),
        (("--overhead", "1"), "--overhead"),
        (("--pue", "0.5"), "--pue"),
        (("--carbon-intensity", "-1"), "--carbon-intensity"),
        (("--region", "atlantis"), "--carbon-intensity"),
        (("--region", "germany", "--carbon-intensity", "5"), "--region"),
        (("--freeze", "nothing"), "--freeze"),
        (("--freeze", "*"), "--freeze"),
        (("--input", "x"), "--input"),
        (("--input", "7"), "--input"),  # does not fit
        (("--input", "20", "--input", "20"), "--input"),  # one too many
    ],
)
def test_invalid_values_are_one_line_that_names_the_flag(mlp, args, names):
    assert names in _refused(mlp, *CPU, *args)


# meta kernels multiply integers and floats without complaint, the real model would not
def test_tokens_for_a_layer_of_floats_are_refused(mlp):
    assert "--input" in _refused(mlp, *CPU, "--input", "tokens:20")


def test_unknown_hardware_is_one_line_that_lists_the_nearest(mlp):
    assert "nvidia-rtx-2080-ti" in _refused(mlp, "--hardware", "rtx-2081-ti")


@pytest.mark.parametrize("option", ["--dtype", "--optimizer", "--epochs", "--batch-size", "--top", "--no-such-option"])
def test_usage_errors_exit_with_two(mlp, option):
    result = _run(mlp, option, "nonsense")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert option in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("typed", "meant"), [("calibrat", "calibrate"), ("comprae", "compare"), ("serach", "search")])
def test_a_mistyped_command_is_told_from_a_model(typed, meant):
    result = _run(typed, "a.pt", "b.pt")
    assert result.exit_code == 2 and f"did you mean `estimate {meant}`" in result.stderr


def test_a_model_that_is_called_almost_like_a_command_is_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(2, 2), "models")
    assert "did you mean" not in _run("models", *CPU).stderr


def test_missing_model_is_one_line(tmp_path):
    assert "no file" in _refused("no-such-model.pt")
    empty = tmp_path / "empty.pt"
    empty.touch()
    assert "empty" in _refused(str(empty))


def test_wrong_shape_names_the_layer(cnn):
    message = _refused(cnn, *CPU, "--input", "4x32x32")
    assert "layer 0 (Conv2d)" in message
    assert "--input" in message


# ---- as a program


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "args",
    [["--help"], ["model", "--help"], ["--version"], ["hardware"], ["hardware", "--help"], ["regions", "germany"]],
)
def test_what_needs_no_model_imports_no_torch(args):
    code = f"""
import sys
from estimator.commands import main
sys.argv = ["estimate", *{args!r}]
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
print("HEAVY", sorted({{"torch", "sklearn", "transformers", "timm"}} & set(sys.modules)))
"""
    assert _python(code).endswith("HEAVY []")


def test_as_a_program(mlp):
    command = [sys.executable, "-m", "estimator.commands"]
    good = subprocess.run([*command, mlp, *CPU, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    check_keys(json.loads(good.stdout))
    bad = subprocess.run(
        [*command, mlp, *CPU, "--input", "7"], capture_output=True, text=True, timeout=120, check=False
    )
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert len(bad.stderr.strip().splitlines()) == 1
    assert not Path("model.pt").exists()
