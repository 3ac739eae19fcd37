"""Switches that say how a model is run: their words, their defaults, and the direction in which each one goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from estimator import Scenario, estimate
from estimator.base.errors import ScenarioError
from estimator.comparing.compare import compare
from estimator.comparing.sweep import parse_sweep
from estimator.lifecycle.choices import execution_of
from estimator.sources import LoadedModel
from estimator.workload.execution.settings import EAGER, Autocast
from tests.estimator.tracing import on_meta

GPU = "a100"


def _net():
    return on_meta(lambda: nn.Sequential(nn.Linear(64, 256), nn.LayerNorm(256), nn.GELU(), nn.Linear(256, 8)))


def _told(footprint, name):
    return [a for a in footprint.assumptions if a.name == name]


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [("bf16", "bfloat16"), ("FP16", "float16"), ("torch.float16", "float16"), ("none", None), (None, None)],
)
def test_autocast_is_spelled_as_dtypes_are(spelled, meant):
    assert Scenario(autocast=spelled).autocast == meant


@pytest.mark.parametrize("wrong", [{"autocast": "float32"}, {"autocast": ""}, {"checkpointing": "some"}])
def test_positions_that_a_switch_has_not(wrong):
    with pytest.raises(ScenarioError, match="is one of none, "):
        Scenario(**wrong)


def test_autocast_keeps_weights_in_float32():
    with pytest.raises(ScenarioError, match="give one of them"):
        Scenario(autocast="bf16", dtype="bf16")
    found = estimate(LoadedModel(_net().to(torch.bfloat16), "net", "test"), Scenario(hardware=GPU, autocast="bf16"))
    (dtype,) = _told(found, "dtype")
    assert (dtype.value, dtype.status) == ("float32", "detected")
    assert {op.dtype for op in found.training_workload.of_phase("optimizer")} == {"float32"}


def test_nothing_is_switched_on_by_itself():
    assert execution_of(Scenario(), on_gpu=True) == EAGER
    assert not _told(estimate(_net(), Scenario(hardware=GPU)), "autocast")


def test_what_is_switched_on_is_told():
    (told,) = _told(estimate(_net(), Scenario(hardware=GPU, autocast="bf16")), "autocast")
    assert (told.value, told.status, told.flag) == ("bfloat16", "given", "--autocast")


def test_a_gpu_and_a_cpu_have_lists_of_their_own():
    scenario = Scenario(autocast="bf16")
    assert execution_of(scenario, on_gpu=True).autocast == Autocast("bfloat16", "cuda")
    assert execution_of(scenario, on_gpu=False).autocast == Autocast("bfloat16", "cpu")
    norms = {
        hardware: {
            op.dtype
            for op in estimate(_net(), Scenario(hardware=hardware, autocast="bf16")).inference_workload.ops
            if op.kind == "norm"
        }
        for hardware in (GPU, "i9-9900k")
    }
    assert norms == {GPU: {"float32"}, "i9-9900k": {"bfloat16"}}


def _deep():
    def block():
        return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    return on_meta(lambda: nn.Sequential(*[block() for _ in range(4)]))


def test_checkpointing_costs_more_in_training_and_nothing_in_inference():
    plain, again = (estimate(_deep(), Scenario(hardware=GPU, checkpointing=c)) for c in ("none", "full"))
    assert again.training.stage.energy_j.value > plain.training.stage.energy_j.value
    assert again.inference.energy_j == plain.inference.energy_j
    (told,) = _told(again, "checkpointing")
    assert (told.value, told.status, told.flag) == ("full", "given", "--checkpointing")


def test_accumulation_spares_steps_of_the_optimizer():
    wide = on_meta(lambda: nn.Sequential(*[nn.Linear(4096, 4096) for _ in range(4)]))
    plain, summed = (estimate(wide, Scenario(hardware=GPU, accumulate=n)) for n in (1, 8))
    assert summed.training.stage.energy_j.value < plain.training.stage.energy_j.value
    (told,) = _told(summed, "accumulate")
    assert (told.value, told.unit, told.status) == (8, "batches", "given")
    with pytest.raises(ScenarioError, match="--accumulate is a whole number from 1 up"):
        Scenario(accumulate=0)


@pytest.mark.parametrize("hardware", [GPU, "i9-9900k"])
@pytest.mark.parametrize("batch_size", [1, 256])
def test_compiling_is_never_slower(hardware, batch_size):
    eager, default, graphs = (
        estimate(_net(), Scenario(hardware=hardware, batch_size=batch_size, compile=mode))
        for mode in ("none", "default", "reduce-overhead")
    )
    for stage in ("inference", "training"):
        seconds = [
            (one.inference if stage == "inference" else one.training.stage).duration_s.value
            for one in (eager, default, graphs)
        ]
        assert seconds == sorted(seconds, reverse=True)
    (told,) = _told(graphs, "compile")
    assert (told.value, told.status, told.flag) == ("reduce-overhead", "given", "--compile")


def test_cuda_graphs_leave_a_gpu_nothing_to_wait_for_and_a_cpu_as_it_is():
    def served(hardware, mode):
        return estimate(_net(), Scenario(hardware=hardware, compile=mode)).inference_estimate

    assert served(GPU, "none").bound_shares["launch"] > 0.9
    assert served(GPU, "reduce-overhead").duration_s.value < served(GPU, "default").duration_s.value / 2
    assert served("i9-9900k", "reduce-overhead").duration_s == served("i9-9900k", "default").duration_s


def test_autocast_is_swept():
    found = compare({"net": _net()}, Scenario(hardware=GPU), sweeps=[parse_sweep("autocast=none,bf16,fp16")])
    assert sorted(one.swept["autocast"] for one in found.rows) == ["bf16", "fp16", "none"]


def test_autocast_costs_less_where_the_work_is_large():
    wide = on_meta(lambda: nn.Sequential(*[nn.Linear(4096, 4096) for _ in range(4)]))
    plain, cast = (
        estimate(wide, Scenario(hardware=GPU, batch_size=4096, autocast=autocast)).training.stage
        for autocast in (None, "bf16")
    )
    assert cast.energy_j.value < plain.energy_j.value
    assert cast.duration_s.value < plain.duration_s.value
