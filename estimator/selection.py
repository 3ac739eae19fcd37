"""Which hardware profile a scenario means: a calibrated one, a catalogue entry, or what this machine has."""

from __future__ import annotations

from estimator import catalogue, machine
from estimator.facts import Assumption
from estimator.hardware import HardwareProfile, from_datasheet
from estimator.scenario import Scenario

_FLAG = "--hardware"


def _detected() -> tuple[HardwareProfile, Assumption]:
    """The device of this machine; a middling one of its kind where the catalogue does not have it."""
    present = machine.present()
    device, seen = machine.detect(present)
    if device is not None and seen is not None:
        profile = from_datasheet(device)
        passed = ", ".join(other.name for other in present[: present.index(seen)])
        source = f"found here: {seen.name}" + (f" (not in the catalogue: {passed})" if passed else "")
        return profile, Assumption("hardware", profile.name, "", "detected", source, _FLAG)
    kind = seen.kind if seen else "cpu"
    profile = from_datasheet(catalogue.generic(kind))
    why = f"the {kind.upper()} {seen.name!r} is not in the catalogue" if seen else "no device was recognised here"
    source = f"{why}; medians of its {kind.upper()}s; name a like one with {_FLAG}"
    return profile, Assumption("hardware", profile.name, "", "default", source, _FLAG)


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
