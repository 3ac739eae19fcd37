"""The powercap tree of Linux (`/sys/class/powercap`): which zones exist, what they are, what may be added up.

Source: kernel documentation `power/powercap/powercap` and `ABI/testing/sysfs-class-powercap`. A zone directory holds
`name`, `energy_uj` (a counter in microjoules) and `max_energy_range_uj` (where it wraps). Zones are known by NAME:
their numbers say nothing. What holds what: `core` and `uncore` are parts of their package; `dram` is not; `psys` is the
platform, packages and more; `intel-rapl-mmio` shows the packages of `intel-rapl` a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path("/sys/class/powercap")

_ZONE = re.compile(r"(intel-rapl(?:-[a-z]+)?):(\d{1,6}(?::\d{1,6})*)")
_PACKAGE = re.compile(r"package(?:-(\d{1,6}))?(?:-die-(\d{1,6}))?")
_COUNT = re.compile(rb"[0-9]{1,20}\s*")
_MAIN_CONTROL = "intel-rapl"
_DEEPEST = 3

REMEDY_PERMISSION = (
    "energy_uj is readable by root alone since CVE-2020-8694: run as root, or open it until the next boot with "
    "`sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj`, or for good with a udev rule "
    '`SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"` '
    "(every local user may then watch it: to allow one group, `chgrp GROUP` and `chmod g+r` instead)"
)


class ZoneError(Exception):
    """A zone's file cannot be read, or what it holds is not a count."""

    def __init__(self, reason: str, *, permission: bool = False) -> None:
        super().__init__(reason)
        self.permission = permission


@dataclass(frozen=True)
class Zone:
    """One zone that counts energy."""

    path: Path
    zone_id: str
    name: str
    range_uj: int | None
    """Where the counter wraps; None where the file is missing or damaged."""

    @property
    def control(self) -> str:
        """The control type it belongs to, such as `intel-rapl` or `intel-rapl-mmio`."""
        return self.zone_id.split(":")[0]

    def energy_uj(self) -> int:
        """The counter in microjoules."""
        return read_count(self.path / "energy_uj")


@dataclass(frozen=True)
class Group:
    """Zones that together are one component: a package of one die, or of several, or a package's DRAM."""

    name: str
    kind: Literal["package", "dram", "platform"]
    zones: tuple[Zone, ...]
    in_total: bool = True
    reason: str | None = None
    """Why it cannot be read, where it cannot."""
    remedy: str | None = None


def read_count(path: Path) -> int:
    """A non-negative integer from a file of one line; anything else raises `ZoneError`."""
    try:
        with path.open("rb", buffering=0) as file:
            raw = file.read(64)
    except PermissionError as error:
        raise ZoneError(f"no permission to read {path}", permission=True) from error
    except OSError as error:
        raise ZoneError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from error
    if not _COUNT.fullmatch(raw):
        raise ZoneError(f"{path} holds {raw[:20]!r}, which is no count")
    return int(raw)


def find_zones(root: Path = ROOT) -> tuple[Zone, ...]:
    """Every zone of a RAPL control type below `root`, once each, in the order of their numbers.

    The tree shows a zone several times, through links; its directory name is unique, so it counts once.
    """
    found: dict[str, Zone] = {}
    for directory in _directories(root, _DEEPEST):
        if directory.name in found or not _ZONE.fullmatch(directory.name) or not _lists(directory, "energy_uj"):
            continue
        name = _text(directory / "name")
        if name is not None:
            found[directory.name] = Zone(directory, directory.name, name, _range_uj(directory))
    return tuple(sorted(found.values(), key=lambda zone: _order(zone.zone_id)))


def groups(zones: Iterable[Zone]) -> tuple[Group, ...]:
    """The components that the zones make up. Nothing is in two of them that are added up."""
    zones = tuple(zones)
    by_id = {zone.zone_id: zone for zone in zones}
    packages: dict[str, list[Zone]] = {}
    dram: dict[str, list[Zone]] = {}
    platform: list[Zone] = []
    for zone in zones:
        package = _PACKAGE.fullmatch(zone.name)
        if package is not None:
            packages.setdefault(package[1] or "0", []).append(zone)
        elif zone.name == "dram":
            dram.setdefault(_package_of(zone, by_id), []).append(zone)
        elif zone.name == "psys":
            platform.append(zone)
    made = [_group(f"package-{number}", "package", members) for number, members in sorted(packages.items())]
    made += [_group(f"dram-{number}", "dram", members) for number, members in sorted(dram.items())]
    if platform:
        made.append(_group("psys", "platform", platform, in_total=not packages))
    return tuple(made)


def _group(
    name: str, kind: Literal["package", "dram", "platform"], zones: list[Zone], *, in_total: bool = True
) -> Group:
    """The zones of one control type: the main one where it is readable, else another whose zones all are."""
    controls = sorted({zone.control for zone in zones}, key=lambda control: (control != _MAIN_CONTROL, control))
    reason, remedy = None, None
    for control in controls:
        chosen = tuple(zone for zone in zones if zone.control == control)
        try:
            for zone in chosen:
                zone.energy_uj()
        except ZoneError as error:
            reason = reason or str(error)
            remedy = remedy or (REMEDY_PERMISSION if error.permission else None)
            continue
        return Group(name, kind, chosen, in_total)
    return Group(name, kind, (), in_total, reason, remedy)


def _package_of(zone: Zone, by_id: dict[str, Zone]) -> str:
    """The number of the package above a zone; for a zone at the top, its own."""
    parent = by_id.get(zone.zone_id.rpartition(":")[0])
    package = _PACKAGE.fullmatch(parent.name) if parent is not None else None
    return (package[1] or "0") if package is not None else zone.zone_id.rpartition(":")[2]


def _range_uj(directory: Path) -> int | None:
    try:
        return read_count(directory / "max_energy_range_uj") or None
    except ZoneError:
        return None


def _directories(directory: Path, deepest: int) -> Iterator[Path]:
    try:
        entries = sorted(path for path in directory.iterdir() if path.name.startswith("intel-rapl"))
    except OSError:
        return
    for entry in entries:
        yield entry
        if deepest > 1:
            yield from _directories(entry, deepest - 1)


def _lists(directory: Path, name: str) -> bool:
    """Whether the directory lists the file, readable or not."""
    try:
        return any(path.name == name for path in directory.iterdir())
    except OSError:
        return False


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(256).decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def _order(zone_id: str) -> tuple[str, tuple[int, ...]]:
    control, _, numbers = zone_id.partition(":")
    return control, tuple(int(number) for number in numbers.split(":"))
