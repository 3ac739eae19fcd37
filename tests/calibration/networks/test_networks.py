"""Random networks: named by their seeds, of all families, and they run."""

from __future__ import annotations

import math

import pytest
import torch

from calibration.measuring.running import draw, fits, workload_of
from calibration.networks.known_networks import Known, known_networks, perceptron
from calibration.networks.random_networks import drawn, with_data
from calibration.proof.checking import to_check
from tests.calibration.learning.simulated_machine import drawn as several

FAMILIES = {"convolutional", "transformer", "perceptron", "recurrent", "mixer"}


def test_a_seed_names_one_network():
    for seed in range(12):
        first, second = draw(seed, "cpu", ("float32",)), draw(seed, "cpu", ("float32",))
        if first is not None and second is not None:
            assert first[1].ops == second[1].ops
            assert first[0].optimizer == second[0].optimizer


def test_every_family_phase_and_batch_of_one_is_drawn():
    networks = [drawn(seed) for seed in range(200)]
    assert {n.family for n in networks} == FAMILIES
    assert {n.optimizer for n in networks} == {None, "sgd", "momentum", "adam", "adamw"}
    assert any(n.batch_size == 1 for n in networks) and any(n.batch_size > 16 for n in networks)
    assert {n.optimizer is None for n in networks if n.family == "transformer"} == {True, False}


def test_the_kinds_of_ops_that_models_are_made_of_are_drawn():
    ops = [op for _, _, workload in several(60) for op in workload.ops]
    assert {"conv", "matmul", "attention", "rnn", "norm", "softmax", "embedding", "pool", "copy", "elementwise"} <= {
        op.kind for op in ops
    }
    assert {"relu", "relu_", "gelu", "add_"} <= {op.name for op in ops}


def test_weights_and_inputs_are_finite_numbers_of_the_asked_dtype():
    network = drawn(3, ("bfloat16",))
    real = with_data(network, "cpu")
    parameters = list(real.module.parameters())
    assert parameters and all(p.isfinite().all() and p.dtype == torch.bfloat16 for p in parameters)
    assert all(t.isfinite().all() for t in real.args)


def test_what_is_too_large_is_left_out():
    large = Known("wide", "perceptron", None, perceptron(60_000, (60_000,), 64)).network()
    assert workload_of(large).flops == 2 * 64 * 60_000 * 60_000
    assert not fits(workload_of(large), "cpu")


def test_known_networks_are_enough_and_of_other_families():
    known = list(known_networks())
    assert sum(k.optimizer is None for k in known) >= 40
    assert len({k.name for k in known}) == len(known)
    assert not {k.family for k in known} & (FAMILIES - {"perceptron"})


@pytest.mark.parametrize("index", [0, 5, 10])
def test_known_networks_trace(index):
    check = to_check([list(known_networks())[index]])[0]
    assert check.workload.flops > 0 and math.isfinite(check.workload.bytes_moved)
