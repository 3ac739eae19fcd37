"""Training on many devices: what is exchanged, what of it is waited for, and what the switches do."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from estimator import estimate
from estimator.base.errors import HardwareError, ScenarioError
from estimator.energy.collectives import HALF_BYTES, HOP_S, REACHED, START_S, Cluster, Link, collective_s
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.hardware.links import links_of
from estimator.hardware.profile import CalibratedHere
from estimator.lifecycle.choices import cluster_of
from estimator.lifecycle.parallel import Exchange, exposed_s, shared
from estimator.lifecycle.scenario import Scenario
from tests.estimator.tracing import on_meta

NVLINK = Link("NVLink", 300e9)
MODEL = from_datasheet(find("a100")).model


def _cluster(devices, nodes=1):
    return Cluster(devices, nodes, NVLINK, Link("InfiniBand", 50e9))


def _wide():
    return on_meta(lambda: nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(8)]))


def _training(**said):
    return estimate(_wide(), Scenario(hardware="a100", **{"batch_size": 8192} | said))


def test_a_ring_by_hand():
    # 8 devices: an all-reduce sends 2 x 7/8 of the tensor in 14 rounds, an all-gather half of that
    size = 400e6
    moving = 1.75 * size / (REACHED * 300e9) * (1 + math.sqrt(HALF_BYTES / size))
    assert collective_s("all_reduce", size, 8, NVLINK) == pytest.approx(START_S + 14 * HOP_S + moving)
    assert collective_s("all_gather", size, 8, NVLINK) == pytest.approx(START_S + 7 * HOP_S + moving / 2)
    assert collective_s("all_reduce", size, 1, NVLINK) == 0


def test_published_times_of_a_large_all_reduce():
    # NCCL 2.27.3 on 8 H100 SXM, 1 GiB in half precision: 2 x 7/8 x 1.07 GB at 445 GB/s (ai-dynamo/aiconfigurator)
    seconds = collective_s("all_reduce", 2**30, 8, links_of("nvidia-h100-sxm", "gpu")[0])
    assert seconds == pytest.approx(1.75 * 2**30 / 445e9, rel=0.5)


def test_links_by_board_and_as_said():
    assert links_of("nvidia-h100-sxm", "gpu")[0].bytes_per_s == 450e9
    assert links_of("nvidia-l40s", "gpu")[0].name == "PCIe 4.0"
    assert links_of("nvidia-h100-sxm", "gpu", "infiniband:200")[1].bytes_per_s == 25e9
    assert links_of("nvidia-h100-sxm", "gpu", "pcie")[0].shared
    for said, why in (("nvlink", "no NVLink"), ("infiniband:fast", "no speed"), ("string", "--link is nvlink")):
        with pytest.raises(HardwareError, match=why):
            links_of("nvidia-l40s", "gpu", said)


def test_a_calibrated_board_is_known_by_its_drivers_name():
    here = CalibratedHere("cuda:0", "2.13.0", ())
    board = replace(from_datasheet(find("h100-sxm")), name="mine", calibrated=here)
    for title, link in (("NVIDIA H100 80GB HBM3", "NVLink"), ("Unheard Of 9000", "PCIe 4.0")):
        assert cluster_of(Scenario(devices=2), replace(board, title=title)).link.name == link


def test_what_computing_hides_is_not_waited_for():
    step = replace(_training().training_estimate, phase_duration_s={"forward": 1.0, "backward": 2.0, "optimizer": 0.1})
    buckets = Exchange(50 * 2**20, blocks=1)
    (whole,) = {collective_s("all_reduce", 25 * 2**20, 8, NVLINK)}
    assert exposed_s(step, buckets, _cluster(8), "none") == pytest.approx(whole)  # the last of two buckets
    at_once = replace(step, phase_duration_s={"forward": 0.0, "backward": 0.0})
    assert exposed_s(at_once, buckets, _cluster(8), "none") == pytest.approx(2 * whole)
    blocks = Exchange(8e9, blocks=4)
    gathered, scattered = (collective_s(kind, 2e9, 8, NVLINK) for kind in ("all_gather", "reduce_scatter"))
    assert exposed_s(step, blocks, _cluster(8), "full") == pytest.approx(
        2 * gathered + scattered
    )  # the first, the last


def test_waiting_is_priced_as_idle_and_a_sharded_optimizer_takes_its_part():
    one = _training().training_estimate
    exchange = Exchange(1e9, 8)
    eight, waiting = shared(one, exchange, _cluster(8), "optimizer", 50.0)
    waited = exposed_s(one, exchange, _cluster(8), "optimizer")
    assert waiting == pytest.approx(waited / eight.duration_s.value)
    assert eight.phase_energy_j["optimizer"] == pytest.approx(one.phase_energy_j["optimizer"] / 8)
    assert eight.phase_energy_j["backward"] == pytest.approx(one.phase_energy_j["backward"] + 50 * waited)
    assert sum(eight.phase_energy_j.values()) == pytest.approx(eight.energy_j.value)
    assert sum(eight.phase_duration_s.values()) == pytest.approx(eight.duration_s.value)
    assert sum(eight.bound_shares.values()) <= 1 + 1e-9


def test_devices_take_parts_of_a_batch_and_cost_more_together():
    one, eight = _training(), _training(devices=8)
    assert eight.training_workload.batch_size == 1024
    assert eight.training.stage.energy_j.value > one.training.stage.energy_j.value
    assert eight.training.stage.duration_s.value < one.training.stage.duration_s.value
    said = {a.name: a for a in eight.assumptions}
    assert said["batch of a device"].value == 1024 and "NVLink" in said["link"].value
    slower = _training(devices=8, nodes=2, link="infiniband:100")
    assert slower.training.stage.duration_s.value > eight.training.stage.duration_s.value


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"devices": 9, "batch_size": 8}, "less than one sample"),
        ({"shard": "full"}, "say how many --devices"),
        ({"devices": 8, "nodes": 3}, "a multiple of --nodes"),
        ({"devices": 2, "shard": "half"}, "--shard is one of none, optimizer, gradients, full"),
    ],
)
def test_what_cannot_be_shared(said, why):
    with pytest.raises(ScenarioError, match=why):
        _training(**said)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["all_reduce", "all_gather"]), st.floats(1, 1e11), st.integers(2, 64))
def test_more_bytes_and_more_devices_never_take_less(kind, size, devices):
    assert collective_s(kind, 2 * size, devices, NVLINK) >= collective_s(kind, size, devices, NVLINK)
    assert collective_s(kind, size, devices + 1, NVLINK) >= collective_s(kind, size, devices, NVLINK)
    assert torch.isfinite(torch.tensor(collective_s(kind, size, devices, NVLINK)))
