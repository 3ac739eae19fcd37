"""Profiles from spec sheets: which rate an op runs at, and the formulas that turn a data sheet into a profile."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from estimator.catalogue import catalogue, find, generic
from estimator.errors import HardwareError
from estimator.hardware import coefficients, from_datasheet
from estimator.scenario import Scenario
from estimator.selection import choose
from estimator.workload import CONTRACTIONS

A100, TURING, CPU = (from_datasheet(find(name)) for name in ("a100-sxm4-80gb", "rtx-2080-ti", "i9-9900k"))


@pytest.mark.parametrize(
    ("profile", "kind", "dtype", "rate"),
    [
        (A100, "conv", "float32", "tf32"),  # PyTorch allows TF32 in cuDNN by default
        (A100, "matmul", "float32", "float32"),  # and not in matrix products
        (A100, "matmul", "bfloat16", "bfloat16"),
        (A100, "matmul", "float16", "float16"),
        (A100, "norm", "bfloat16", "vector"),
        (TURING, "conv", "float32", "float32"),  # no TF32 before Ampere
        (TURING, "matmul", "bfloat16", "float32"),  # no bfloat16 units
        (TURING, "matmul", "float16", "float16"),
        (CPU, "matmul", "float32", "float32"),
        (CPU, "conv", "float16", "float32"),
        (CPU, "elementwise", "float32", "vector"),
        (A100, "matmul", "float64", "float32"),
    ],
)
def test_rate_of_an_op(profile, kind, dtype, rate):
    assert profile.rate_of(kind, dtype) == rate
    assert rate in profile.energy_per_flop_j


def test_every_rate_that_an_op_can_ask_for_is_priced():
    for name in catalogue():
        profile = from_datasheet(find(name))
        for kind in CONTRACTIONS:
            for dtype in ("float32", "bfloat16", "float16"):
                rate = profile.rate_of(kind, dtype)
                assert 0 < profile.flop_per_s[kind, rate] < math.inf, (name, kind, dtype)
                assert profile.energy_per_flop_j[rate] > 0


def test_no_sustained_rate_is_above_the_spec_sheet():
    for device in catalogue().values():
        profile = from_datasheet(device)
        assert 0 < profile.bandwidth_bytes_per_s <= device.bandwidth_bytes_per_s
        for (_, rate), sustained in profile.flop_per_s.items():
            peak = device.value("vector_flop_per_s") if rate == "vector" else device.flop_per_s(rate)
            assert sustained <= peak, (device.name, rate)


def test_power_at_full_load_is_of_the_order_of_the_design_power():
    # shares of TDP x (static + arithmetic + memory) at full tilt: never a tenth of the TDP, never thrice it
    for device in catalogue().values():
        profile = from_datasheet(device)
        tdp = device.value("tdp_w")
        watts = (
            profile.static_power_w
            + profile.energy_per_flop_j["float32"] * profile.flop_per_s["matmul", "float32"]
            + profile.energy_per_byte_j * profile.bandwidth_bytes_per_s
        )
        assert 0.1 * tdp < watts < 3 * tdp, device.name


def test_coefficients_make_the_profile_by_hand():
    share = {name: fact.value for name, fact in coefficients()["gpu"].items()}
    device = find("rtx-2080-ti")
    tdp, peak = device.value("tdp_w"), device.value("float32_flop_per_s")
    assert TURING.static_power_w == pytest.approx(share["static_power_share"] * tdp)
    assert TURING.flop_per_s["matmul", "float32"] == pytest.approx(share["matmul_efficiency"] * peak)
    assert TURING.flop_per_s["rnn", "float32"] == TURING.flop_per_s["matmul", "float32"]
    assert TURING.flop_per_s["matmul", "float16"] == pytest.approx(
        share["matmul_efficiency_matrix"] * device.flop_per_s("float16")
    )
    assert TURING.energy_per_flop_j["float32"] == pytest.approx(share["flop_power_share"] * tdp / peak)
    assert TURING.energy_per_byte_j == pytest.approx(share["byte_power_share"] * tdp / device.bandwidth_bytes_per_s)
    assert TURING.asynchronous
    assert not CPU.asynchronous


def test_coefficients_carry_their_source():
    for kind in ("gpu", "cpu"):
        for name, fact in coefficients()[kind].items():
            assert fact.source.strip(), name
            assert fact.unit, name


def test_locked_clock_slows_and_saves_by_hand():
    device = find("rtx-2080-ti")
    exponent = coefficients()["gpu"]["voltage_exponent"].value
    half = from_datasheet(device, clock_hz=device.boost_clock_hz / 2)
    assert half.flop_per_s["matmul", "float32"] == pytest.approx(TURING.flop_per_s["matmul", "float32"] / 2)
    assert half.energy_per_flop_j["float32"] == pytest.approx(TURING.energy_per_flop_j["float32"] * 0.5**exponent)
    assert half.bandwidth_bytes_per_s == TURING.bandwidth_bytes_per_s


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_generic_device_is_wider_than_any_known_one(kind):
    profile = from_datasheet(generic(kind))
    known = [from_datasheet(d) for d in catalogue().values() if d.kind == kind]
    assert profile.status == "generic"
    assert {p.status for p in known} == {"datasheet"}
    assert profile.energy_spread > max(p.energy_spread for p in known)


def test_spec_sheet_intervals_are_wide():
    # nothing was measured: a factor of at least 1.5 either way
    for device in catalogue().values():
        assert from_datasheet(device).energy_spread * 1.645 > math.log(1.5)


def test_missing_fact_is_an_error_that_names_it():
    device = find("rtx-2080-ti")
    without = replace(device, facts={k: v for k, v in device.facts.items() if k != "tdp_w"})
    with pytest.raises(HardwareError, match=r"no tdp_w for nvidia-rtx-2080-ti"):
        from_datasheet(without)


def test_choice_of_hardware():
    named, assumption = choose(Scenario(hardware="rtx-2080-ti"))
    assert (named.name, assumption.status, assumption.flag) == ("nvidia-rtx-2080-ti", "given", "--hardware")
    own, assumption = choose(Scenario(), given=A100)
    assert own is A100
    assert assumption.status == "given"
    _, assumption = choose(Scenario())
    assert assumption.status in ("detected", "default")
    assert assumption.source
    with pytest.raises(HardwareError, match="unknown hardware"):
        choose(Scenario(hardware="no-such-device"))


def test_no_dtype_is_slower_or_dearer_than_float32():
    for device in catalogue().values():
        profile = from_datasheet(device)
        for kind in CONTRACTIONS:
            wide = profile.rate_of(kind, "float32")
            for dtype in ("bfloat16", "float16"):
                rate = profile.rate_of(kind, dtype)
                assert profile.flop_per_s[kind, rate] >= profile.flop_per_s[kind, "float32"], (device.name, kind, dtype)
                assert profile.energy_per_flop_j[rate] <= profile.energy_per_flop_j["float32"]
                if kind != "conv" or wide == "float32":
                    assert profile.flop_per_s[kind, rate] >= profile.flop_per_s[kind, wide]


def test_float32_convolutions_use_tf32_on_nvidia_alone():
    for device in catalogue().values():
        uses = from_datasheet(device).rate_of("conv", "float32") == "tf32"
        assert uses == (device.vendor == "nvidia" and device.flop_per_s("tf32") is not None), device.name
