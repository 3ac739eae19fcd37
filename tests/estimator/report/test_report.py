"""The text report at every width, and with names that are markup, escape sequences or very long."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from torch import nn

from estimator import Scenario, estimate, to_dict
from estimator.base.errors import JoulecastError
from estimator.base.units import si
from estimator.base.words import one_line, printable, told
from estimator.commands import main
from estimator.report import tables, text
from estimator.report.layout import columns, grid
from tests.estimator.tracing import Calls

NAMES = ["[/foo]", "[red]x", "a\x1b[31m\nb", "\u202egnp", "\x9b31m", "[link=http://x]y", "x" * 300, "\udc80"]
CPU = Scenario(hardware="i9-9900k")


def _named(names):
    model = nn.Sequential()
    for name in names:
        model._modules[name] = type(name.replace("\udc80", ""), (nn.Linear,), {})(4, 4)
    return model


@pytest.fixture(scope="module")
def plain():
    scenario = Scenario(hardware="i9-9900k", trials=50, inferences=1e6, inference_batch_size=8, carbon_intensity=100)
    return estimate(_named(["encoder_layers_0_self_attention_output_of_a_model", "b"]), scenario)


def _shown(footprint, width):
    console = Console(width=width, highlight=False, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(text.render(footprint, 5, width))
    return captured.get()


@pytest.mark.parametrize(
    ("forward", "bound"),
    [
        (lambda m, x: m.a(x), ""),
        (lambda m, x: m.a(x) + torch.linalg.svdvals(x[..., None]), "at least "),  # which has no formula
        (lambda m, x: m.a(m.a(x)) if x.sum() > 0 else m.a(x), "at most "),
    ],
)
def test_a_count_that_is_a_bound_says_so(forward, bound):
    footprint = estimate(Calls(forward, a=nn.Linear(16, 16)), Scenario(hardware="i9-9900k", inputs=("16",)))
    times = 2 if bound == "at most " else 1
    shown = _shown(footprint, 100)
    assert f"one inference: {bound}{si(times * 2 * 16 * 16, 'FLOP')} (2 per multiply-accumulate)" in shown
    assert f"one training sample: {bound}" in shown


def test_printable():
    assert printable("a\x1b[31m\r\nb\u202e \x9bc\x00") == "a [31m b c"
    assert printable("üñî 模型 [/x]") == "üñî 模型 [/x]"
    assert one_line("x" * 300, 10) == "xxxxxxx..."
    assert told(type("E\x1b[31m", (ValueError,), {})("m\n\x07")) == "E [31m: m"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_shown_as_they_are_and_do_nothing(name, width):
    footprint = estimate(_named([name]), CPU)
    footprint = replace(footprint, model=replace(footprint.model, name=name, form=name), warnings=(name,))
    shown = _shown(footprint, width)
    assert all(c.isprintable() or c == "\n" for c in shown), shown
    squeezed = "".join(shown.split())
    assert squeezed.count("".join(printable(name).split())) >= 3
    assert json.loads(json.dumps(to_dict(footprint)))["layers"][0]["name"] in (name, "")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_numbers_are_whole_at_every_width(plain, width):
    shown = _shown(plain, width)
    assert "…" not in shown or width == 200  # where sources, and nothing else, are cut
    assert max(map(len, shown.splitlines())) <= width
    joined = " ".join(shown.split())
    energy = plain.training.stage.energy_j
    for number in (
        si(energy.value, "J"),
        f"{si(energy.low, 'J', 2)} to {si(energy.high, 'J', 2)}",
        f"{plain.training.stage.energy_kwh:.3g}",
        f"{plain.layers[0].share:.1%}",
        si(plain.layers[0].energy_j, "J"),
    ):
        assert number in joined, number


def test_labels_say_how_many(plain):
    shown = _shown(plain, 120)
    assert re.search(r"^inference \(1 of 8\) ", shown, re.MULTILINE)
    assert "inference (1 sample)" in _shown(estimate(nn.Linear(3, 4), CPU), 80)
    assert re.search(r"^search \(50 trials\) ", shown, re.MULTILINE)
    assert re.search(r"^lifetime \(1,000,000 inferences\) ", shown, re.MULTILINE)


def test_no_region_where_the_carbon_intensity_is_given(plain):
    assert not re.search(r"^region ", _shown(plain, 80), re.MULTILINE)
    assert re.search(r"^carbon intensity +100 gCO2e/kWh +given", _shown(plain, 80), re.MULTILINE)
    assert re.search(r"^region +world ", _shown(estimate(nn.Linear(3, 4), CPU), 80), re.MULTILINE)


@pytest.mark.parametrize("width", [30, 40, 80, 200])
@pytest.mark.parametrize("command", [["hardware"], ["hardware", "rtx-2080-ti"], ["regions"], ["regions", "germany"]])
def test_tables_of_the_catalogue_fit(command, width):
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(main, command)
    assert done.exit_code == 0 and "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= width
    wanted = {"hardware": "nvidia-rtx-2080-ti", "hardware rtx-2080-ti": "250 W", "regions germany": "381"}
    assert wanted.get(" ".join(command), "DEU") in done.stdout


def test_a_table_with_no_row():
    console = Console(width=40)
    with console.capture() as captured:
        console.print(grid(columns("a", "b", numbers=("b",)), [], 40))
    assert captured.get().split() == ["a", "b"]


def test_errors_are_printable(monkeypatch):
    def fail(name):
        raise JoulecastError("bad \x1b[31m[/x]\nname")

    monkeypatch.setattr(tables, "show_hardware", fail)
    done = CliRunner().invoke(main, ["hardware", "x"])
    assert (done.exit_code, done.stderr) == (2, "estimate: bad [31m[/x] name\n")


def test_a_file_with_escapes_in_its_name(tmp_path):
    path = tmp_path / "evil\x1b[31mred.pt"
    torch.save(nn.Linear(3, 4), path)
    done = CliRunner().invoke(main, [str(path), "--hardware", "i9-9900k"])
    assert done.exit_code == 0 and "\x1b" not in done.stdout and "evil [31mred" in done.stdout
    assert json.loads(CliRunner().invoke(main, [str(path), "--json"]).stdout)["model"]["name"] == "evil\x1b[31mred"
