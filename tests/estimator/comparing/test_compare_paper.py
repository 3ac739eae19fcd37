"""Section 4.5 of Gitzel et al. 2023 by `compare`: Table 6 and Figures 10 to 14, wide nets against deep ones.

The figures' points are not printed as numbers; what the paper says of them is asserted. examples/wide_against_deep.md
shows the same comparisons.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from estimator.comparing.compare import by_name, compare
from estimator.comparing.reasons import reasons
from estimator.comparing.ties import ratio
from estimator.lifecycle.scenario import Scenario
from tests.estimator.networks import TABLE_6

CPU = Scenario(hardware="i9-9900k")
CONVOLUTIONAL = Path(__file__).parents[3] / "examples" / "convolutional.py"
MEASURED = {f"100x{layers}x{size}": kwh for layers, size, _, kwh in TABLE_6}
DEEP = [name for name in MEASURED if int(name.split("x")[1]) >= 100]


@pytest.fixture(scope="module")
def table_6():
    return compare(by_name(["mlp:100x[100,200,300]x[10,20,30]", "mlp:100x[10,20,30]x[100,200,300]"]), CPU)


def _energies(found):
    return {one.name: one.footprint.training.stage.energy_j.value for one in found.rows}


def test_rows_are_ordered_as_measured(table_6):
    assert {one.name for one in table_6.rows} == set(MEASURED)
    measured = [MEASURED[one.name] for one in table_6.rows]
    assert spearmanr(range(len(measured)), measured).statistic >= 0.95
    # the measured costliest is 13.7 times the cheapest
    assert table_6.ratios[-1].value == pytest.approx(0.003292 / 0.000241, rel=0.15)


def test_what_is_no_tie_is_ordered_as_measured(table_6):
    told_apart = 0
    for i, j in itertools.combinations(range(len(table_6.rows)), 2):
        measured = MEASURED[table_6.rows[j].name] / MEASURED[table_6.rows[i].name]
        between = ratio(table_6.totals[j], table_6.totals[i])
        assert between.low <= measured <= between.high
        if j not in table_6.ties[i]:
            told_apart += 1
            assert measured > 1
    assert told_apart >= 50  # of 153


def test_deep_nets_cost_more_for_their_launches_and_module_calls(table_6):
    deep = {one.name: (one, why) for one, why in zip(table_6.rows, reasons(table_6), strict=True) if one.name in DEEP}
    for one, why in deep.values():
        assert one.bound_shares["launch"] > 0.8
        assert (why.cause, why.share > 0.85) == ("launch", True)
        assert one.footprint.training_workload.module_calls > 200
    for one in table_6.rows:
        if one.name not in DEEP:
            assert one.bound_shares["launch"] < 0.5


def test_figure_12_at_as_many_nodes_the_deep_net_costs_more_with_fewer_parameters(table_6):
    energies = _energies(table_6)
    parameters = {one.name: one.footprint.model.parameters for one in table_6.rows}
    for deep, wide in (("100x100x10", "100x10x100"), ("100x200x10", "100x20x100"), ("100x300x10", "100x30x100")):
        assert energies[deep] > 2 * energies[wide]
        assert MEASURED[deep] > 2 * MEASURED[wide]
        assert parameters[deep] < parameters[wide] / 5  # Figure 13


def test_figures_10_and_11_energy_grows_with_size_along_each_layer_size():
    widths, depths = (25, 50, 75, 100), (10, 50, 90, 130, 170)
    found = compare(by_name([f"mlp:100x{list(depths)}x{list(widths)}"]), CPU)
    energies = _energies(found)
    for width in widths:
        by_depth = [energies[f"100x{depth}x{width}"] for depth in depths]
        assert by_depth == sorted(by_depth)
        assert by_depth[-1] / by_depth[0] == pytest.approx(170 / 10, rel=0.15)
    parameters = [one.footprint.model.parameters for one in found.rows]
    assert 0.8 < spearmanr(range(len(parameters)), parameters).statistic < 1  # a trend, with jumps


def test_figure_14_convolutions_of_as_many_parameters_cost_a_lot_more():
    nets = {"conv10x35": "100x10x100", "conv10x67": "100x10x200", "conv10x101": "100x10x300"}
    models = by_name([*(f"{CONVOLUTIONAL}:{name}" for name in nets), "mlp:100x10x[100,200,300]"])
    found = compare(models, Scenario(hardware="i9-9900k", inputs=("100",)))
    rows = {one.name: one for one in found.rows}
    for convolutional, dense in nets.items():
        sizes = [rows[name].footprint.model.parameters for name in (convolutional, dense)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
        assert _energies(found)[convolutional] > 5 * _energies(found)[dense]
        assert rows[convolutional].bound_shares["compute"] > 0.5
