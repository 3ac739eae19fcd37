"""The hardware profile of a device of the catalogue: its spec sheet times coefficients, its own where published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from statistics import median, stdev
from types import MappingProxyType
from typing import Any

from estimator.base.errors import HardwareError
from estimator.base.facts import Fact
from estimator.base.packaged import own_table
from estimator.energy.columns import OpClass
from estimator.energy.governor import WAITING, Governor
from estimator.energy.model import (
    CONVOLUTIONS,
    PRODUCTS,
    TILE,
    EnergyModel,
    Launching,
    Memory,
    PowerDraw,
    Rate,
    Rates,
    Spreads,
)
from estimator.hardware.catalogue import Device, catalogue
from estimator.hardware.profile import HardwareProfile, HostShare

_NARROW: tuple[Rate, ...] = ("tf32", "bfloat16", "float16")

_LANES = 100
"""FP32 lanes of a multiprocessor beyond which one instruction a clock fills them all: they have 64 or 128."""

_EXPONENTIALS = 16
"""A clock and multiprocessor (CUDA C++ programming guide, "Arithmetic instructions": exp2, compute 7.0 to 10.0)."""

CLOCK_SPREAD = 0.26
"""Spread of log(energy) per unit of log(clock): what voltages of other devices and clocks differ by, log(1.3)."""


@cache
def coefficients() -> Mapping[str, Mapping[str, Fact]]:
    """The device-independent coefficients that turn a spec sheet into a profile, by kind of device ("gpu", "cpu")."""
    table = own_table("datasheet_model.toml")
    return MappingProxyType({kind: {name: Fact(**entry) for name, entry in of.items()} for kind, of in table.items()})


def published_machines() -> Mapping[str, Mapping[str, Any]]:
    """Machines whose own coefficients were fitted on published rows, by device (`data/published_machines.toml`)."""
    return own_table("published_machines.toml")


def _required(device: Device, fact: str) -> float:
    value = device.value(fact)
    if value is None:
        raise HardwareError(
            f"the catalogue has no {fact} for {device.name}, so it cannot be priced; add it with its source."
        )
    return value


def _catalogue_spread(device: Device) -> float:
    """How much devices of one kind differ: the standard deviation of log(TDP / float32 rate) over the catalogue."""
    of_kind = [d for d in catalogue().values() if d.kind == device.kind]
    return stdev(math.log(_required(d, "tdp_w") / _required(d, "float32_flop_per_s")) for d in of_kind)


@cache
def _units_per_watt() -> float:
    """Multiprocessors per watt of TDP: the catalogue's median, for the few GPUs whose number nobody published."""
    gpus = [d for d in catalogue().values() if d.kind == "gpu" and d.compute_units]
    return median((d.compute_units or 0.0) / _required(d, "tdp_w") for d in gpus)


def _units(device: Device) -> float:
    return device.compute_units or _units_per_watt() * _required(device, "tdp_w")


def _exponentials(device: Device) -> float:
    """Exponentials a second: a special function unit's, by multiprocessor and clock.

    Where one of them is not published, from the plain rate of multiprocessors with 128 lanes, two FLOPs a lane.
    """
    if device.boost_clock_hz and device.compute_units:
        return _EXPONENTIALS * device.compute_units * device.boost_clock_hz
    return _EXPONENTIALS * _required(device, "vector_flop_per_s") / (2 * 128)


def _peaks(device: Device, c: Mapping[str, float]) -> dict[Rate, float]:
    """The device's peak rates. TF32 counts on NVIDIA only, where PyTorch's convolutions use it by default.

    Where a multiprocessor has 128 FP32 lanes, loads and addresses take the issue slots of multiply-adds, which leaves
    `issue_efficiency` of the plain rate.
    """
    vector, clock = _required(device, "vector_flop_per_s"), device.boost_clock_hz
    wide = bool(clock) and device.kind == "gpu" and vector / (2 * (clock or 1) * _units(device)) > _LANES
    plain = c["issue_efficiency"] if wide else 1.0
    peaks: dict[Rate, float] = {"vector": plain * vector, "float32": plain * _required(device, "float32_flop_per_s")}
    for dtype in _NARROW:
        peak = device.flop_per_s(dtype)
        if peak is not None and (dtype != "tf32" or device.vendor == "nvidia"):
            peaks[dtype] = peak
    return peaks


def _on_matrix_units(device: Device) -> frozenset[Rate]:
    """The rates that have coefficients of their own: narrow dtypes, where a GPU has units for them."""
    vector = _required(device, "vector_flop_per_s")
    fast = any((device.flop_per_s(rate) or 0.0) > 1.5 * vector for rate in _NARROW)
    return frozenset(_NARROW) if fast and device.kind == "gpu" else frozenset()


def _efficiency(op_class: OpClass, rate: Rate, matrix: frozenset[Rate]) -> str:
    """The name of the coefficient that an op's peak is multiplied by."""
    name = f"{'conv' if op_class == 'winograd' else op_class}_efficiency"
    if rate not in matrix:
        return name
    return f"{name}_tf32" if rate == "tf32" and op_class in CONVOLUTIONS else f"{name}_narrow"


def _sustained(device: Device, c: Mapping[str, float], slowed: float) -> dict[tuple[OpClass, Rate], float]:
    """FLOP/s by class of op and rate. No dtype is slower than float32: libraries pick the faster algorithm."""
    peaks, matrix = _peaks(device, c), _on_matrix_units(device)
    rates: dict[tuple[OpClass, Rate], float] = {}
    for op_class in PRODUCTS:
        for rate, peak in peaks.items():
            rates[op_class, rate] = slowed * peak * c[_efficiency(op_class, rate, matrix)]
        for rate in _NARROW:
            if rate in peaks:
                rates[op_class, rate] = max(rates[op_class, rate], rates[op_class, "float32"])
    if "tf32" not in peaks:
        fewer = rates["winograd", "float32_winograd"] = c["winograd_gain"] * rates["winograd", "float32"]
        rates |= {("winograd", rate): max(fewer, rates["winograd", rate]) for rate in _NARROW if rate in peaks}
    rates["grouped", "vector"] = rates["conv", "vector"]
    return rates


def _process_nm(device: Device) -> float:
    """The foundry's node; of a made-up device the catalogue's median."""
    return _required(device, "process_nm")


def _flop_energies(device: Device, c: Mapping[str, float], voltage: float) -> dict[Rate, float]:
    """Joules per FLOP by rate; no dtype costs more than float32.

    GPU: plain arithmetic costs flop_energy_j x (process / 7 nm)^process_exponent, as technology advances; matrix
    units cost less where they are faster: matrix_flop_energy_j x the same / 16 x (16 x plain / matrix rate)^exponent,
    16 being what the first devices of the fit have (A100).
    CPU: flop_power_share x TDP / peak.
    """
    peaks, vector = _peaks(device, c), _required(device, "vector_flop_per_s")
    matrix = _on_matrix_units(device)
    energies: dict[Rate, float] = {}
    for rate in peaks:
        peak = vector if rate in ("vector", "float32") else peaks[rate]
        if device.kind == "cpu":
            energies[rate] = c["flop_power_share"] * _required(device, "tdp_w") / peak
        else:
            slower, now = vector / peak, (_process_nm(device) / 7) ** c["process_exponent"] * voltage
            energies[rate] = c["flop_energy_j"] * now * slower
            if rate in matrix:
                energies[rate] = c["matrix_flop_energy_j"] * now * (16 * slower) ** c["matrix_energy_exponent"] / 16
    if "tf32" not in peaks:
        energies["float32_winograd"] = energies["float32"] / c["winograd_gain"]
    return {rate: min(joules, energies["float32"]) if rate in _NARROW else joules for rate, joules in energies.items()}


def _slowed(device: Device, clock_hz: float | None) -> float:
    """The share of the boost clock that `clock_hz` is; 1 where none is given."""
    if clock_hz is None:
        return 1.0
    if device.kind == "cpu" or device.boost_clock_hz is None:
        why = "its clock follows the load" if device.kind == "cpu" else "the catalogue does not know its boost clock"
        raise HardwareError(f"{device.name} has no clock to lock ({why}); leave --clock-mhz away.")
    if not 0.1 * device.boost_clock_hz <= clock_hz <= device.boost_clock_hz:
        boost = f"{device.boost_clock_hz / 1e6:.0f} MHz"
        raise HardwareError(
            f"--clock-mhz of {device.name} goes from a tenth of its boost clock to all of it, {boost}; "
            f"{clock_hz / 1e6:g} does not."
        )
    return clock_hz / device.boost_clock_hz


def from_datasheet(
    device: Device,
    own: Mapping[str, float] | None = None,
    clock_hz: float | None = None,
) -> HardwareProfile:
    """The profile of a device that nobody has measured: its spec sheet times the coefficients of its kind.

    Apple's chips reach `apple_share` of what others do. energy_per_byte = share x TDP / bandwidth; static and active
    power: docs/model.md. `own` replaces `coefficients()` (while they are fitted, or by a machine's own). At a locked
    clock `clock_hz`, rates follow the clock, and the energy per FLOP and the active power the governor's voltage.
    """
    gpu = device.kind != "cpu"
    facts = coefficients()["gpu" if gpu else "cpu"] if own is None else {}
    c = {name: fact.value for name, fact in facts.items()} if own is None else own
    slowed = _slowed(device, clock_hz)
    governor = Governor(c["voltage_knee"], c["voltage_rise"], slowed) if gpu else WAITING
    voltage = float(governor.energy_share(slowed)) if gpu else 1.0
    tdp_w, bandwidth = _required(device, "tdp_w"), _required(device, "bandwidth_bytes_per_s")
    generic = device.name.startswith("generic-")
    unlike = _catalogue_spread(device) if generic else 0.0
    vendors = ("amd", "apple", "intel") if generic else (device.vendor,)
    foreign = max(c.get(f"{vendor}_spread", 0.0) for vendor in vendors) if gpu else 0.0
    reached = c["apple_share"] if gpu and device.vendor == "apple" else 1.0
    host_speed = 1.0 if gpu or not device.base_clock_hz else device.base_clock_hz / c["host_clock_hz"]
    still = min(c["unit_power_w"] * _units(device), c["most_static_share"] * tdp_w) if gpu else 0.0
    clocked = 1 + c["clocked_static_share"] * (slowed * voltage - 1) if gpu else 1.0
    model = EnergyModel(
        asynchronous=gpu,
        rates=Rates(
            flop_per_s=MappingProxyType(_sustained(device, c, reached * slowed)),
            energy_per_flop_j=MappingProxyType(_flop_energies(device, c, voltage)),
            backward_efficiency=c["backward_efficiency"],
            relaying=_on_matrix_units(device) - {"tf32"},
            relaid_share=c["relaid_share"] if gpu else 0.0,
            half_wave=0.5 * TILE**2 * _units(device) if gpu else 0.0,
            fill_blocks=c["fill_blocks"] if gpu else 0.0,
            unit_s=c["unit_s"] / _units(device) / slowed if gpu else 0.0,
            exponentials_per_s=slowed * c["exponential_efficiency"] * _exponentials(device) if gpu else math.inf,
        ),
        memory=Memory(
            bandwidth_bytes_per_s=reached * bandwidth * c["bandwidth_efficiency"],
            energy_per_byte_j=c["byte_power_share"] * tdp_w / bandwidth,
            grouped_bandwidth=c["grouped_bandwidth"],
            norm_bandwidth=c["norm_bandwidth"] if gpu else 1.0,
            norm_backward_bandwidth=c["norm_backward_bandwidth"] if gpu else 1.0,
            cache_bytes=device.cache_bytes or 0.0 if gpu else 0.0,
            cached_share=c["cached_share"],
            fresh_s_per_byte=c["fresh_s_per_byte"],
        ),
        power=PowerDraw(
            static_w=still * clocked if gpu else c["static_power_share"] * tdp_w,
            active_w=c["active_power_share"] * tdp_w * slowed * voltage,
            limit_w=tdp_w,
            governor=governor,
        ),
        launching=Launching(
            kernel_s=c["kernel_s"] / slowed,
            launch_s=c["launch_s"] / host_speed,
            module_call_s=c["module_call_s"] / host_speed,
            tensors_per_optimizer_launch=int(c["tensors_per_optimizer_launch"]),
        ),
        spreads=Spreads(
            energy=math.hypot(c["energy_spread"], c["host_spread"], unlike, foreign),
            duration=math.hypot(c["duration_spread"], unlike, foreign),
            training=c["training_spread"],
            launch=c["launch_spread"],
        ),
    )
    return HardwareProfile(
        name=device.name,
        title=device.title,
        status="generic" if generic else "datasheet",
        source="its spec sheet, with efficiencies and power shares fitted on published measurements of other machines",
        model=model,
        host=HostShare(c["host_share"], facts["host_share"].source if facts else ""),
        memory_bytes=device.memory_bytes,
        clock_hz=clock_hz or (device.boost_clock_hz if gpu else None),
        cores=None if gpu else device.compute_units,
    )


def published(device: Device, clock_hz: float | None = None) -> HardwareProfile | None:
    """The profile of a device that was fitted on its own published rows; None where there is none.

    Away from the clock of its rows the voltage is extrapolated: that widens the intervals by `CLOCK_SPREAD`.
    """
    machine = published_machines().get(device.name)
    if machine is None:
        return None
    facts = coefficients()[device.kind]
    prior = {name: fact.value for name, fact in facts.items()}
    profile = from_datasheet(device, {**prior, **machine["coefficients"]}, clock_hz)
    rows_hz: float | None = machine.get("clock_hz") or device.boost_clock_hz
    away = profile.clock_hz / rows_hz if profile.clock_hz and rows_hz else 1.0
    extrapolated = CLOCK_SPREAD * math.log(away)
    spreads = profile.model.spreads
    widened = replace(
        spreads,
        energy=math.hypot(spreads.energy, extrapolated),
        duration=math.hypot(spreads.duration, extrapolated),
    )
    return replace(
        profile,
        status="published",
        source=f"{machine['source']}; {machine['conditions']}",
        model=replace(profile.model, spreads=widened),
        host=HostShare(profile.host.value, facts["host_share"].source),
    )


def profile_of(device: Device, clock_hz: float | None = None) -> HardwareProfile:
    """The best profile of a catalogue device: its own published one, else that of its spec sheet."""
    return published(device, clock_hz) or from_datasheet(device, None, clock_hz)
