"""What connects devices: NVLink by board, PCIe by generation, InfiniBand between nodes."""

from __future__ import annotations

from collections.abc import Mapping

from estimator.base.errors import HardwareError
from estimator.energy.collectives import Link
from estimator.hardware import catalogue

NVLINK: Mapping[str, float] = {
    "nvidia-p100-sxm2": 80e9,
    "nvidia-v100-sxm2": 150e9,
    "nvidia-a100-sxm4": 300e9,
    "nvidia-h100-sxm": 450e9,
    "nvidia-h200": 450e9,
    "nvidia-b200": 900e9,
    "nvidia-b300": 900e9,
}
"""B/s in one direction of a board, by how its name begins: half of the sum that NVIDIA's datasheets give."""

_PCIE = ((2025, 64e9, "5.0"), (2020, 32e9, "4.0"), (0, 16e9, "3.0"))
"""From which year boards of a generation are, B/s of 16 lanes in one direction (PCI-SIG), and its number."""

ETHERNET = Link("25 Gbit/s Ethernet", 25e9 / 8)
"""Between CPUs: an assumption."""

INFINIBAND_GBIT = 400.0
"""Of one device's adapter in today's nodes (NVIDIA DGX H100: eight ConnectX-7 of 400 Gbit/s)."""

FORMS = "nvlink, pcie or infiniband:400 (Gbit/s of a device)"


def infiniband(gbit_per_s: float = INFINIBAND_GBIT) -> Link:
    """Between nodes."""
    return Link(f"{gbit_per_s:g} Gbit/s InfiniBand", gbit_per_s * 1e9 / 8)


def _nvlink(name: str) -> Link | None:
    found = next((speed for start, speed in NVLINK.items() if name.startswith(start)), None)
    return None if found is None else Link("NVLink", found)


def _pcie(name: str) -> Link:
    year = catalogue.find(name).year if name in catalogue.catalogue() else 2020
    speed, number = next((speed, number) for since, speed, number in _PCIE if year >= since)
    return Link(f"PCIe {number}", speed, shared=True)


def links_of(name: str, kind: str, said: str | None = None) -> tuple[Link, Link]:
    """The link inside a node of devices called `name` ("gpu" or "cpu"), and the network between nodes.

    `said`: what the user says of them (`FORMS`). Raises `HardwareError` where that is none of them.
    """
    inside = ETHERNET if kind == "cpu" else _nvlink(name) or _pcie(name)
    if said is None:
        return inside, infiniband()
    word, _, gbit = said.strip().lower().partition(":")
    if word == "infiniband":
        try:
            return inside, infiniband(float(gbit or INFINIBAND_GBIT))
        except ValueError:
            raise HardwareError(f"--link {said!r} is no speed: write {FORMS}.") from None
    if word == "pcie" and not gbit:
        return _pcie(name), infiniband()
    if word == "nvlink" and not gbit:
        link = _nvlink(name)
        if link is None:
            raise HardwareError(f"{name} has no NVLink that is known here: say --link pcie, or leave it away.")
        return link, infiniband()
    raise HardwareError(f"--link is {FORMS}, not {said!r}.")
