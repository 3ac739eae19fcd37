"""Which hardware profile a name means: a calibrated one, a catalogue entry, or what this machine has."""

from __future__ import annotations

import os
from collections.abc import Sequence

from estimator.base.errors import HardwareError
from estimator.base.facts import Assumption
from estimator.hardware import catalogue, machine, profile_file
from estimator.hardware.calibrated import profile_from
from estimator.hardware.calibrated_machine import CalibratedMachine
from estimator.hardware.datasheet import from_datasheet, profile_of
from estimator.hardware.profile import HardwareProfile
from estimator.hardware.settings import AS_IT_IS, Settings, as_set

_FLAG = "--hardware"
_CLOCK = "--clock-mhz"

SLOWED = 0.995
"""Of the highest allowed clock: below it the power limit is said to bind."""


def is_here(found: CalibratedMachine, present: Sequence[machine.Seen]) -> bool:
    """Whether a profile is of one of the devices `present` in this machine, as far as their names tell."""
    return found.device_name in {seen.name for seen in present} and found.logical_cpus == os.cpu_count()


def _calibrated(present: Sequence[machine.Seen]) -> HardwareProfile | None:
    """The newest kept profile of this machine's GPU; of its CPU only where it has no GPU."""
    eligible = [seen for seen in present if seen.kind == "gpu"] or present
    for path in profile_file.kept():
        found = profile_file.load(path)
        if is_here(found, eligible):
            return profile_from(found)
    return None


def _detected(clock_hz: float | None) -> tuple[HardwareProfile, Assumption]:
    """The device of this machine: as calibrated, else by its name; a middling one where the catalogue has none."""
    present = machine.present()
    calibrated = _calibrated(present) if clock_hz is None else None
    if calibrated is not None:
        source = f"found here: {calibrated.title}; {calibrated.source}"
        return calibrated, Assumption("hardware", calibrated.name, "", "detected", source, _FLAG)
    device, seen = machine.detect(present)
    if device is not None and seen is not None:
        profile = profile_of(device, clock_hz)
        passed = ", ".join(other.name for other in present[: present.index(seen)])
        source = f"found here: {seen.name}" + (f" (not in the catalogue: {passed})" if passed else "")
        source += f"; {profile.source}" if profile.status == "published" else ""
        return profile, Assumption("hardware", profile.name, "", "detected", source, _FLAG)
    kind = seen.kind if seen else "cpu"
    profile = from_datasheet(catalogue.generic(kind), None, clock_hz)
    why = f"the {kind.upper()} {seen.name!r} is not in the catalogue" if seen else "no device was recognised here"
    source = f"{why}; medians of its {kind.upper()}s; name a like one with {_FLAG}"
    return profile, Assumption("hardware", profile.name, "", "default", source, _FLAG)


def device_of(name: str) -> catalogue.Device:
    """The device of the catalogue; where it has none, the error names the calibrated profiles too."""
    try:
        return catalogue.find(name)
    except HardwareError as error:
        mine = ", ".join(profile_file.name_of(path) for path in profile_file.kept())
        raise HardwareError(f"{error} Calibrated: {mine}." if mine else str(error)) from error


def choose(
    name: str, settings: Settings = AS_IT_IS, given: HardwareProfile | None = None
) -> tuple[HardwareProfile, Assumption]:
    """The profile for `name` ("auto": what this machine has), and the assumption that says how it was chosen.

    A name is that of a calibrated profile (or its file), or of a device of the catalogue. A device whose own
    measurements were published is priced by what was fitted on them. `given`: a profile that replaces the name's.
    Raises `HardwareError` for an unknown or ambiguous name, and for settings that the device does not take.
    """
    profile, assumption = _chosen(name, settings.clock_hz, given)
    return as_set(profile, settings), assumption


def _chosen(name: str, clock_hz: float | None, given: HardwareProfile | None) -> tuple[HardwareProfile, Assumption]:
    if given is not None:
        if clock_hz is not None and clock_hz != given.clock_hz:
            raise HardwareError(f"{_CLOCK} is for devices by name; a profile has a clock of its own. Leave it away.")
        return given, Assumption("hardware", given.name, "", "given", given.source, _FLAG)
    if name == "auto":
        return _detected(clock_hz)
    path = profile_file.path_of(name)
    if path is not None and clock_hz is not None:
        raise HardwareError(f"{_CLOCK} is for devices by name; {name} was calibrated at its own clock. Leave it away.")
    profile = profile_from(profile_file.load(path)) if path else profile_of(device_of(name), clock_hz)
    return profile, Assumption("hardware", profile.name, "", "given", profile.source, _FLAG)


def clock_of(profile: HardwareProfile, *, given: bool, **shares: float) -> tuple[Assumption, ...]:
    """The clock that a GPU is taken to run at, `given` or its own; nothing for a CPU, whose clock follows its load.

    `shares`: of that clock, as low as the power limit leads to in "inference" and in "training".
    """
    if profile.clock_hz is None:
        return ()
    source = _CLOCK if given else "its boost clock: none is locked"
    slowed = [
        f"{share * profile.clock_hz / 1e6:,.0f} MHz in {what}" for what, share in shares.items() if share < SLOWED
    ]
    if slowed:
        source += f"; its power limit of {profile.model.power.limit_w:g} W lowers it to {' and '.join(slowed)}"
    return (Assumption("clock", profile.clock_hz / 1e6, "MHz", "given" if given else "default", source, _CLOCK),)
