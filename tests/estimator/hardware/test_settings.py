"""How a machine is set up: power limit, host, TF32, channels last, the optimizer's loop."""

import pytest
import torch
from torch import nn

from estimator import estimate
from estimator.base.errors import HardwareError
from estimator.comparing.compare import compare
from estimator.comparing.sweep import parse_sweep
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.hardware.selection import choose, clock_of
from estimator.hardware.settings import AS_IT_IS, Settings, as_set, said
from estimator.lifecycle.scenario import Scenario, ScenarioError

A100 = from_datasheet(find("a100"))


def _named(profile):
    return {assumption.name: assumption for assumption in said(profile, AS_IT_IS)}


def test_a_power_limit_is_an_assumption_and_slows_what_it_binds():
    board, _ = choose("a100")
    set_to, _ = choose("a100", Settings(limit_w=200))
    told = _named(set_to)["power limit"]
    assert (told.value, told.unit, told.flag) == (200, "W", "--power-limit")
    assert "power limit" not in _named(board)
    (clock,) = clock_of(set_to, given=False, inference=1.0, training=0.8)
    assert clock.source == (
        "its boost clock: none is locked; its power limit of 200 W lowers it to 1,128 MHz in training"  # 0.8 x 1,410
    )


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("a100", Settings(limit_w=401), "--power-limit.*from 100 W to its board's own 400 W"),
        ("a100", Settings(limit_w=90), "90 does not"),
        ("xeon-w-2155", Settings(limit_w=100), "only a GPU"),
        ("xeon-w-2155", Settings(host="server"), "its own host"),
        ("v100", Settings(tf32="matmul"), "no TF32"),
    ],
)
def test_what_cannot_be_set(name, settings, why):
    with pytest.raises(HardwareError, match=why):
        choose(name, settings)


def test_a_named_host_launches_as_fast_as_published_and_narrows_what_waits_for_it():
    profile = from_datasheet(find("rtx-4090"))
    desktop = as_set(profile, Settings(host="desktop")).model
    assert desktop.launching.launch_s == pytest.approx(7e-6)  # a desktop's, from the published loops
    ratio = profile.model.launching.module_call_s / profile.model.launching.launch_s
    assert desktop.launching.module_call_s == pytest.approx(ratio * 7e-6)
    assert desktop.spreads.launch < profile.model.spreads.launch
    assert _named(profile)["host"].status == "default"


def test_tf32_is_what_torch_s_switches_say():
    rates = {which: as_set(A100, Settings(tf32=which)).model.rates for which in ("none", "convolutions", "matmul")}
    assert [rates[which].rate_of("conv", "float32") for which in rates] == ["float32", "tf32", "tf32"]
    assert [rates[which].rate_of("matmul", "float32") for which in rates] == ["float32", "float32", "tf32"]
    assert rates["matmul"].rate_of("matmul", "bfloat16") == "bfloat16"
    assert A100.model.rates.rate_of("conv", "float32") == "tf32"  # torch.backends.cudnn.allow_tf32 is True


class Products(nn.Module):
    """64 x 64 float32 products."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4096, 4096)

    def forward(self, x):
        return self.layer(x)


def test_what_each_switch_is_for_becomes_cheaper():
    def training(module, **said):
        scenario = Scenario(hardware="a100", batch_size=64, **said)
        return estimate(module, scenario).training_estimate.duration_s.value

    with torch.device("meta"):
        products, picture = Products(), nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3))
    assert training(products, tf32="matmul") < training(products)
    loops = [training(products, optimizer_loop=loop) for loop in ("fused", "foreach", "single")]
    assert loops == sorted(loops) and loops[0] < loops[2]
    assert training(products, optimizer_loop="foreach") == training(products)
    pictures = {"inputs": ("3x64x64",), "dtype": "float16"}
    assert training(picture, channels_last=True, **pictures) < training(picture, **pictures)


def test_a_fused_step_reads_and_writes_each_tensor_once():
    with torch.device("meta"):
        layer = nn.Linear(10, 10, bias=False)
    (step,) = estimate(layer, Scenario(hardware="a100", optimizer_loop="fused")).training_workload.of_phase("optimizer")
    # by hand: 100 elements of 4 bytes; parameter, gradient and two states are read, all but the gradient written
    assert (step.bytes_read, step.bytes_written, step.launches) == (1600, 1200, 1)


def test_switches_can_be_swept_and_are_said():
    sweeps = [parse_sweep("tf32=none,matmul"), parse_sweep("host=desktop,slow")]
    rows = compare({"net": "mlp:8x2x8"}, Scenario(hardware="a100"), sweeps=sweeps).rows
    assert len(rows) == 4
    with pytest.raises(ScenarioError, match="--tf32 is one of none, convolutions, matmul"):
        Scenario(tf32="all")
    with pytest.raises(ScenarioError, match="--optimizer-loop is one of foreach, single, fused"):
        Scenario(optimizer_loop="looped")
