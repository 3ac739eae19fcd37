"""The hardware profile of a calibrated machine: what was learned on it, over what its spec sheet says."""

from __future__ import annotations

from dataclasses import replace

from estimator import catalogue
from estimator.datasheet import from_datasheet, profile_of
from estimator.errors import HardwareError
from estimator.hardware import HardwareProfile, Rate
from estimator.profile_file import CalibratedMachine


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
    """The profile to price with. The spread of times is in `op_times`; `energy_spread` is that of the power alone."""
    base = base_of(machine.device, machine.catalogue_name)
    profile = replace(
        base,
        name=machine.name,
        title=machine.device_name,
        status="calibrated",
        op_times=machine.op_times,
        torch_device=machine.device,
        torch_version=machine.software.get("torch", ""),
        pace_s=machine.pace_s,
        clock_hz=None,
        source=_source(machine),
    )
    power = machine.power
    if power is None:
        return profile
    per_flop: dict[Rate, float] = {r: j * power.factors.get(r, 1.0) for r, j in base.energy_per_flop_j.items()}
    return replace(
        profile,
        static_power_w=base.static_power_w * power.factors.get("static", 1.0),
        active_power_w=base.active_power_w * power.factors.get("active", 1.0),
        energy_per_byte_j=base.energy_per_byte_j * power.factors.get("byte", 1.0),
        energy_per_flop_j=per_flop,
        class_power_w=dict(power.class_w),
        energy_spread=power.error.spread,
    )
