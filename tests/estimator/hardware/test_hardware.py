"""Profiles from spec sheets: which rate an op runs at, and the formulas that turn a data sheet into a profile."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from estimator.base.errors import HardwareError
from estimator.energy.columns import OP_CLASSES
from estimator.hardware.catalogue import catalogue, find, generic
from estimator.hardware.datasheet import coefficients, from_datasheet, profile_of, published, published_machines
from estimator.hardware.selection import choose, clock_of
from estimator.hardware.settings import Settings

A100, TURING, CPU = (from_datasheet(find(name)) for name in ("a100-sxm4-80gb", "rtx-2080-ti", "i9-9900k"))


@pytest.mark.parametrize(
    ("profile", "kind", "dtype", "rate"),
    [
        (A100, "conv", "float32", "tf32"),  # PyTorch allows TF32 in cuDNN by default
        (A100, "matmul", "float32", "float32"),  # and not in matrix products
        (A100, "matmul", "bfloat16", "bfloat16"),
        (A100, "matmul", "float16", "float16"),
        (A100, "other", "bfloat16", "vector"),
        (A100, "grouped", "bfloat16", "vector"),  # depthwise kernels use no matrix units
        (A100, "winograd", "float32", "tf32"),
        (TURING, "winograd", "float32", "float32_winograd"),
        (TURING, "winograd", "float16", "float16"),
        (TURING, "conv", "float32", "float32"),  # no TF32 before Ampere
        (TURING, "matmul", "bfloat16", "float32"),  # no bfloat16 units
        (TURING, "matmul", "float16", "float16"),
        (CPU, "matmul", "float32", "float32"),
        (CPU, "conv", "float16", "float32"),
        (CPU, "other", "float32", "vector"),
        (A100, "matmul", "float64", "float32"),
    ],
)
def test_rate_of_an_op(profile, kind, dtype, rate):
    assert profile.model.rates.rate_of(kind, dtype) == rate
    assert rate in profile.model.rates.energy_per_flop_j


def test_every_rate_that_an_op_can_ask_for_is_priced():
    for name in catalogue():
        profile = from_datasheet(find(name))
        for op_class in OP_CLASSES:
            for dtype in ("float32", "bfloat16", "float16"):
                rate = profile.model.rates.rate_of(op_class, dtype)
                assert profile.model.rates.energy_per_flop_j[rate] > 0
                if op_class != "other":
                    assert 0 < profile.model.rates.flop_per_s[op_class, rate] < math.inf, (name, op_class, dtype)


def test_no_sustained_rate_is_above_the_spec_sheet():
    for device in catalogue().values():
        profile = from_datasheet(device)
        assert 0 < profile.model.memory.bandwidth_bytes_per_s <= device.bandwidth_bytes_per_s
        for (op_class, rate), sustained in profile.model.rates.flop_per_s.items():
            plain = max(device.value("vector_flop_per_s"), device.flop_per_s("float32"))
            peak = device.flop_per_s(rate) if rate not in ("vector", "float32_winograd") else plain
            # Winograd's convolutions are counted with up to 2.25 times the products that they have
            assert sustained <= max(peak, 2.25 * plain if op_class == "winograd" else 0), (device.name, op_class, rate)


def test_power_at_full_load_is_of_the_order_of_the_design_power():
    # shares of TDP x (static + arithmetic + memory) at full tilt: never a tenth of the TDP, never thrice it
    for device in catalogue().values():
        profile = from_datasheet(device)
        tdp = device.value("tdp_w")
        watts = (
            profile.model.power.static_w
            + profile.model.power.active_w
            + profile.model.rates.energy_per_flop_j["float32"] * profile.model.rates.flop_per_s["matmul", "float32"]
            + profile.model.memory.energy_per_byte_j * profile.model.memory.bandwidth_bytes_per_s
        )
        assert 0.1 * tdp < watts < 4 * tdp, device.name  # at the boost clock: a T4, an L4 live at their limit


def test_coefficients_make_the_profile_by_hand():
    share = {name: fact.value for name, fact in coefficients()["gpu"].items()}
    device = find("rtx-2080-ti")  # 68 multiprocessors of 64 lanes, 2018
    tdp, peak = device.value("tdp_w"), device.value("float32_flop_per_s")
    trend = (12 / 7) ** share["process_exponent"]  # TSMC 12FFN, over the 7 nm that the coefficients are of
    assert TURING.model.power.static_w == pytest.approx(share["unit_power_w"] * 68)
    assert TURING.model.power.active_w == pytest.approx(share["active_power_share"] * tdp)
    assert TURING.model.rates.half_wave == 0.5 * 64 * 64 * 68
    assert TURING.model.rates.flop_per_s["matmul", "float32"] == pytest.approx(share["matmul_efficiency"] * peak)
    fewer = TURING.model.rates.flop_per_s["winograd", "float32_winograd"]
    assert fewer == pytest.approx(2 * share["conv_efficiency"] * peak)
    assert TURING.model.rates.flop_per_s["grouped", "vector"] == pytest.approx(share["conv_efficiency"] * peak)
    assert TURING.model.rates.flop_per_s["matmul", "float16"] == pytest.approx(
        share["matmul_efficiency_narrow"] * device.flop_per_s("float16")
    )
    assert TURING.model.rates.energy_per_flop_j["float32"] == pytest.approx(share["flop_energy_j"] * trend)
    assert TURING.model.rates.energy_per_flop_j["float32_winograd"] == pytest.approx(share["flop_energy_j"] * trend / 2)
    assert TURING.model.rates.energy_per_flop_j["float16"] == pytest.approx(
        share["matrix_flop_energy_j"]
        * trend
        / 16
        * (16 * peak / device.flop_per_s("float16")) ** share["matrix_energy_exponent"]
    )
    assert TURING.model.memory.energy_per_byte_j == pytest.approx(
        share["byte_power_share"] * tdp / device.bandwidth_bytes_per_s
    )
    assert TURING.model.asynchronous
    assert not CPU.model.asynchronous


def test_coefficients_carry_their_source():
    for kind in ("gpu", "cpu"):
        for name, fact in coefficients()[kind].items():
            assert fact.source.strip(), name
            assert fact.unit, name


def test_locked_clock_slows_and_saves_by_hand():
    device = find("rtx-2080-ti")
    rise = coefficients()["gpu"]["voltage_rise"].value
    saved = (1 / (1 + rise)) ** 2  # half of the boost clock is below the knee: 1 V there where it is 1 + rise above
    half = from_datasheet(device, clock_hz=device.boost_clock_hz / 2)
    assert half.model.rates.flop_per_s["matmul", "float32"] == pytest.approx(
        TURING.model.rates.flop_per_s["matmul", "float32"] / 2
    )
    assert half.model.rates.energy_per_flop_j["float32"] == pytest.approx(
        TURING.model.rates.energy_per_flop_j["float32"] * saved
    )
    assert half.model.memory.bandwidth_bytes_per_s == TURING.model.memory.bandwidth_bytes_per_s
    # half of what a waiting GPU draws, and all of what a busy one adds, goes as f V^2
    assert half.model.power.static_w == pytest.approx(TURING.model.power.static_w * (0.5 + 0.5 * 0.5 * saved))
    assert half.model.power.active_w == pytest.approx(TURING.model.power.active_w * 0.5 * saved)
    assert (half.clock_hz, TURING.clock_hz, CPU.clock_hz) == (device.boost_clock_hz / 2, device.boost_clock_hz, None)


@pytest.mark.parametrize(("name", "hertz"), [("a100", 1.42e9), ("a100", 1e8), ("i9-9900k", 2e9), ("nvidia-b200", 1e9)])
def test_a_clock_that_cannot_be_locked_is_refused(name, hertz):
    with pytest.raises(HardwareError, match="--clock-mhz"):
        from_datasheet(find(name), clock_hz=hertz)


def test_128_lanes_a_multiprocessor_share_their_issue_slots():
    # GA102: 9216 lanes in 72 multiprocessors; GA100: 6912 in 108 (NVIDIA's whitepapers)
    efficiency = coefficients()["gpu"]["matmul_efficiency"].value
    a10, a100 = find("a10"), find("a100")
    assert from_datasheet(a10).model.rates.flop_per_s["matmul", "float32"] == pytest.approx(0.75 * efficiency * 31.2e12)
    assert from_datasheet(a100).model.rates.flop_per_s["matmul", "float32"] == pytest.approx(efficiency * 19.5e12)


def test_every_device_can_work_beside_what_it_draws_at_rest():
    for device in catalogue().values():
        profile = profile_of(device)
        assert (
            profile.model.power.limit_w - profile.model.power.static_w - profile.model.power.active_w
            > 0.1 * profile.model.power.limit_w
        )


# ---- machines with published measurements


@pytest.mark.parametrize("name", ["nvidia-quadro-rtx-5000", "nvidia-a10", "nvidia-a100-pcie-40gb", "intel-xeon-w-2155"])
def test_a_published_machine_has_its_own_coefficients_and_says_so(name):
    device = find(name)
    own, prior = published(device), from_datasheet(device)
    machine = published_machines()[device.name]
    assert (own.status, own.name) == ("published", device.name)
    efficiency = machine["coefficients"]["bandwidth_efficiency"]
    assert own.model.memory.bandwidth_bytes_per_s == pytest.approx(efficiency * device.bandwidth_bytes_per_s)
    assert own.model.spreads.energy < prior.model.spreads.energy * 1.5
    assert own.model.spreads.launch == 0
    assert "PyTorch 1.10" in own.source or "900 MHz" in own.source
    assert "MIT" in own.source
    assert own.host.value == prior.host.value
    assert own.host.source
    profile, assumption = choose(name)
    assert profile.status == "published"
    assert assumption.source == own.source
    assert 0 < min(machine["held_out_error"].values()) <= max(machine["held_out_error"].values()) < 0.15


def test_away_from_the_clock_of_its_rows_a_published_machine_is_less_sure():
    a100 = find("a100-pcie-40gb")
    there, boost = published(a100, 900e6), published(a100)
    # by hand: 0.26 x log(1410 / 900)
    assert boost.model.spreads.energy == pytest.approx(
        math.hypot(there.model.spreads.energy, 0.26 * math.log(1410 / 900))
    )
    assert (there.clock_hz, boost.clock_hz) == (900e6, 1410e6)


def test_the_clock_is_an_assumption():
    profile, _ = choose("a100", Settings(clock_hz=900e6))
    (given,) = clock_of(profile, given=True)
    assert (given.name, given.value, given.unit, given.status, given.flag) == (
        "clock",
        900,
        "MHz",
        "given",
        "--clock-mhz",
    )
    profile, _ = choose("a100")
    (default,) = clock_of(profile, given=False)
    assert (default.value, default.status) == (1410, "default")
    assert clock_of(CPU, given=False) == ()
    with pytest.raises(HardwareError, match="--clock-mhz"):
        choose("auto", Settings(clock_hz=900e6), A100)


def test_machines_without_published_rows_have_no_such_profile():
    assert published(find("rtx-4090")) is None
    assert profile_of(find("rtx-4090")).status == "datasheet"


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_generic_device_is_wider_than_any_known_one(kind):
    profile = from_datasheet(generic(kind))
    known = [from_datasheet(d) for d in catalogue().values() if d.kind == kind]
    assert profile.status == "generic"
    assert {p.status for p in known} == {"datasheet"}
    assert profile.model.spreads.energy > max(p.model.spreads.energy for p in known)


def test_spec_sheet_intervals_are_wide():
    # nothing was measured: a factor of at least 1.4 either way
    for device in catalogue().values():
        assert from_datasheet(device).model.spreads.energy * 1.645 > math.log(1.4)


def test_missing_fact_is_an_error_that_names_it():
    device = find("rtx-2080-ti")
    without = replace(device, facts={k: v for k, v in device.facts.items() if k != "tdp_w"})
    with pytest.raises(HardwareError, match=r"no tdp_w for nvidia-rtx-2080-ti"):
        from_datasheet(without)


def test_choice_of_hardware():
    named, assumption = choose("rtx-2080-ti")
    assert (named.name, assumption.status, assumption.flag) == ("nvidia-rtx-2080-ti", "given", "--hardware")
    own, assumption = choose("auto", given=A100)
    assert own == A100
    assert assumption.status == "given"
    _, assumption = choose("auto")
    assert assumption.status in ("detected", "default")
    assert assumption.source
    with pytest.raises(HardwareError, match="unknown hardware"):
        choose("no-such-device")


def test_no_dtype_is_slower_or_dearer_than_float32():
    for device in catalogue().values():
        profile = from_datasheet(device)
        for op_class in ("conv", "winograd", "matmul", "attention"):
            wide = profile.model.rates.rate_of(op_class, "float32")
            for dtype in ("bfloat16", "float16"):
                rate = profile.model.rates.rate_of(op_class, dtype)
                assert (
                    profile.model.rates.flop_per_s[op_class, rate]
                    >= profile.model.rates.flop_per_s[op_class, "float32"]
                ), device.name
                assert profile.model.rates.energy_per_flop_j[rate] <= profile.model.rates.energy_per_flop_j["float32"]
                if wide != "tf32":
                    assert (
                        profile.model.rates.flop_per_s[op_class, rate] >= profile.model.rates.flop_per_s[op_class, wide]
                    ), device.name


def test_float32_convolutions_use_tf32_on_nvidia_alone():
    for device in catalogue().values():
        uses = from_datasheet(device).model.rates.rate_of("conv", "float32") == "tf32"
        assert uses == (device.vendor == "nvidia" and device.flop_per_s("tf32") is not None), device.name
