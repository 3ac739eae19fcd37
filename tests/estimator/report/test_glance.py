"""The answer in one glance: what stands first, in which units, within 24 lines of 80 columns."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console
from torch import nn

from estimator import Scenario, estimate
from estimator.base.units import electricity, mass, plain, spent, spent_between
from estimator.commands import main
from estimator.comparing.compare import compare
from estimator.lifecycle.everyday import compared
from estimator.report import glance

SCENARIO = Scenario(hardware="a100", region="germany", trials=5, inferences=1e6)


@pytest.fixture(scope="module")
def footprint():
    return estimate(nn.Linear(3, 4), SCENARIO)


def _shown(footprint, width, batch=None):
    console = Console(width=width, highlight=False, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(glance.render(footprint, width, batch))
    return captured.get()


def test_units_that_people_read():
    assert electricity(612e3, 327.6e3, 1159.2e3) == "170 Wh (91 to 320)"  # 3,600 J are 1 Wh
    assert electricity(3.6e6, 1.8e6, 36e6) == "1.0 kWh (0.50 to 10)"
    assert [mass(0.065), mass(1.25), mass(2400)] == ["65 g", "1.2 kg", "2.4 t"]
    assert [spent(0.0071), spent(960), spent(4 * 86400)] == ["7.1 ms", "16 min", "4.0 days"]
    assert spent_between(960, 492, 1860) == "16 min (8.2 to 31)"
    assert [plain(0), plain(0.0123), plain(1234, 3), plain(9.96)] == ["0", "0.012", "1,230", "10"]


@pytest.mark.parametrize(
    ("energy_j", "words"),
    [
        (0, ""),
        (1200, "10 W lamp takes in 2.0 min"),  # 1,200 J / 10 W
        (2 * 4186 * 80, "boiling 2.0 litres"),  # 2 kg x 4,186 J/(kg K) x 80 K
        (21 * 3.6e6, "for 100 km"),  # 21 kWh/100 km
        (2 * 10_791 * 1e3 * 3.6e6, "2,000 US homes"),
    ],
)
def test_what_energy_compares_to(energy_j, words):
    assert words in compared(energy_j) and bool(words) == bool(compared(energy_j))


def test_the_sentence_is_first_and_whole(footprint):
    first = " ".join(_shown(footprint, 80).split("\n\n")[0].split())
    number = r"[\d.,]+ \w+ \([\d.,]+ to [\d.,]+\)"
    on = r"on NVIDIA A100 SXM4 80GB in Germany"
    assert re.fullmatch(
        rf"Training Linear for 10 epochs of 100,000 samples {on} takes about {number}, [\d.]+ m?g CO2e and {number}\.",
        first,
    )


@pytest.mark.parametrize("width", [60, 80])
def test_a_screen_holds_the_answer(footprint, width):
    many = replace(footprint, warnings=tuple(f"warning {i} " + "which is long " * 8 for i in range(20)))
    for one in (footprint, many):
        lines = _shown(one, width, (256, 0.18)).splitlines()
        assert len(lines) < 24 or width < 80
        assert max(map(len, lines)) <= width
    shown = " ".join(_shown(many, width).split())
    assert "! warning 0 " in shown and "more: --explain shows them" in shown


def test_what_nobody_chose_and_what_it_is_worth(footprint):
    shown = " ".join(_shown(footprint, 80, (256, 0.184)).split())
    assert "Nobody chose: epochs 10, samples 100,000, batch size 32 (256: 0.18 times the energy)" in shown
    assert "region" not in shown.partition("Nobody chose")[2]


def test_a_larger_batch_is_priced_where_nobody_chose_one():
    def shown(*args):
        return " ".join(CliRunner().invoke(main, ["mlp:9x2x9", "--hardware", "a100", *args]).stdout.split())

    once = estimate("mlp:9x2x9", Scenario(hardware="a100")).training.stage.energy_j.value
    larger = estimate("mlp:9x2x9", Scenario(hardware="a100", batch_size=256)).training.stage.energy_j.value
    assert f"batch size 32 (256: {plain(larger / once)} times the energy)" in shown()
    assert "times the energy" not in shown("--batch-size", "64")


def test_more_stages_and_devices_are_sentences(footprint):
    said = str(footprint)
    assert "search of 5 trials" in said and "lifetime with 1,000,000 inferences" in said
    assert "on 4 x NVIDIA A100" in str(estimate(nn.Linear(3, 4), replace(SCENARIO, devices=4)))
    assert "the world's average grid" in str(estimate(nn.Linear(3, 4), Scenario(hardware="a100")))
    assert "a grid of 42 gCO2e/kWh" in str(estimate(nn.Linear(3, 4), Scenario(hardware="a100", carbon_intensity=42)))


def test_a_notebook_shows_a_table_with_names_escaped(footprint):
    named = replace(footprint, model=replace(footprint.model, name="<b>x"))
    html = named._repr_html_()
    assert html.count("<tr>") == 5 and "<b>" not in html and "&lt;b&gt;x" in html
    assert len(repr(named)) < 200 and "\n" not in repr(named)


def test_a_comparison_prints_short():
    found = compare({"a": "mlp:9x2x9", "b": "mlp:9x9x9"}, Scenario(hardware="a100"))
    assert repr(found) == "<Comparison of 2 models, cheapest 'a', 0 failed>"
    assert [line[:4] for line in str(found).splitlines()] == ["1. a", "2. b"]
    assert found._repr_html_().count("<tr>") == 3
