"""Gradients summed over several batches, by hand."""

from __future__ import annotations

import pytest
from torch import nn

from estimator.energy.pricing import price
from estimator.workload.execution.settings import Execution
from tests.estimator.profiles import model
from tests.estimator.tracing import meta, named, on_meta, step


def _step(accumulate):
    net = on_meta(lambda: nn.Linear(30, 10, bias=False))
    return step(net, meta(4, 30), optimizer="adam", execution=Execution(accumulate=accumulate))


def test_gradients_are_added_in_all_batches_but_the_first():
    assert not named(_step(1), "add_")
    (added,) = named(_step(4), "add_")
    # 3 of 4 batches read the sum and the gradient and write the sum, 300 elements of 4 bytes
    assert (added.phase, added.bytes_read, added.bytes_written) == ("backward", 2 * 225 * 4, 225 * 4)


def test_a_batch_has_its_part_of_the_optimizers_step():
    once, fourth = _step(1), _step(4)
    (optimizer,) = once.of_phase("optimizer")
    assert fourth.bytes_moved == once.bytes_moved - optimizer.bytes_moved * 3 // 4 + 3 * 225 * 4
    priced_once, priced = price(once, model()), price(fourth, model())
    assert priced.phase_energy_j["optimizer"] == pytest.approx(priced_once.phase_energy_j["optimizer"] / 4)
    assert priced.phase_duration_s["optimizer"] == pytest.approx(priced_once.phase_duration_s["optimizer"] / 4)
    assert priced.phase_energy_j["forward"] == priced_once.phase_energy_j["forward"]
    assert sum(layer.energy_j for layer in priced.layers) == pytest.approx(priced.energy_j.value)


def test_where_the_optimizer_is_most_of_a_step_accumulation_saves():
    wide = on_meta(lambda: nn.Linear(3000, 3000))
    energies = [
        price(step(wide, meta(1, 3000), optimizer="adam", execution=Execution(accumulate=n)), model()).energy_j.value
        for n in (1, 2, 8, 64)
    ]
    assert energies == sorted(energies, reverse=True)
