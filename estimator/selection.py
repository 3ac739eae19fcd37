"""Which hardware profile a scenario means: a calibrated one, a catalogue entry, or what this machine has."""

from __future__ import annotations

from estimator import catalogue, machine
from estimator.facts import Assumption
from estimator.hardware import HardwareProfile, from_datasheet
from estimator.scenario import Scenario

_FLAG = "--hardware"


def _detected() -> tuple[HardwareProfile, Assumption]:
    device, seen = machine.detect()
    if device is not None:
        profile = from_datasheet(device)
        return profile, Assumption("hardware", profile.name, "", "detected", f"found here: {seen}", _FLAG)
    profile = from_datasheet(catalogue.generic("cpu"))
    why = f"{seen!r} is not in the catalogue" if seen else "no device was recognised here"
    return profile, Assumption("hardware", profile.name, "", "default", f"{why}; medians of the catalogue", _FLAG)


def choose(scenario: Scenario, given: HardwareProfile | None = None) -> tuple[HardwareProfile, Assumption]:
    """The profile for `scenario`, and the assumption that says how it was chosen.

    Raises `HardwareError` for an unknown or ambiguous name.
    """
    if given is not None:
        return given, Assumption("hardware", given.name, "", "given", given.source, _FLAG)
    name = scenario.value_of("hardware")
    if name == "auto":
        return _detected()
    profile = from_datasheet(catalogue.find(name))
    return profile, Assumption("hardware", profile.name, "", "given", profile.source, _FLAG)
