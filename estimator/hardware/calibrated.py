"""The hardware profile of a calibrated machine: what was learned on it, over what its spec sheet says."""

from __future__ import annotations

import math
from dataclasses import replace

from estimator.base.errors import HardwareError
from estimator.energy.model import EnergyModel, Rate
from estimator.hardware import catalogue
from estimator.hardware.calibrated_machine import CalibratedMachine, Power
from estimator.hardware.datasheet import from_datasheet, profile_of
from estimator.hardware.profile import CalibratedHere, HardwareProfile


def base_of(device: str, device_name: str) -> HardwareProfile:
    """The uncalibrated profile of a device by its driver's name; a middling one where the catalogue has none."""
    try:
        return profile_of(catalogue.find(device_name))
    except HardwareError:
        return from_datasheet(catalogue.generic("gpu" if device.startswith("cuda") else "cpu"))


def _source(machine: CalibratedMachine) -> str:
    power = "joules measured" if machine.power else "no meter: power from its spec sheet"
    busy = f", {machine.disturbed} of them beside other work" if machine.disturbed else ""
    return (
        f"calibrated on {machine.networks} random networks{busy}, in {machine.seconds / 60:.1f} min, "
        f"{machine.created[:10]}; torch {machine.software.get('torch', '?')}; {power}"
    )


def profile_from(machine: CalibratedMachine) -> HardwareProfile:
    """The profile to price with. `op_times` holds the spread of times; that of energy is the power's alone."""
    base = base_of(machine.device, machine.catalogue_name)
    measured_within_it = replace(base.model.power, limit_w=math.inf)
    model = replace(base.model, op_times=machine.op_times, power=measured_within_it)
    if machine.power is not None:
        model = _as_measured(model, machine.power)
    return replace(
        base,
        name=machine.name,
        title=machine.device_name,
        status="calibrated",
        source=_source(machine),
        model=model,
        clock_hz=None,
        calibrated=CalibratedHere(machine.device, machine.software.get("torch", ""), machine.pace_s),
    )


def _as_measured(model: EnergyModel, measured: Power) -> EnergyModel:
    """`model` with its power terms as they were fitted on measured joules."""
    factors = measured.factors
    per_flop: dict[Rate, float] = {r: j * factors.get(r, 1.0) for r, j in model.rates.energy_per_flop_j.items()}
    return replace(
        model,
        rates=replace(model.rates, energy_per_flop_j=per_flop),
        memory=replace(model.memory, energy_per_byte_j=model.memory.energy_per_byte_j * factors.get("byte", 1.0)),
        power=replace(
            model.power,
            static_w=model.power.static_w * factors.get("static", 1.0),
            active_w=model.power.active_w * factors.get("active", 1.0),
            class_w=dict(measured.class_w),
        ),
        spreads=replace(model.spreads, energy=measured.error.spread),
    )
