"""The hardware profile: which machine is meant, its energy model, and where that is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from estimator.energy.model import EnergyModel

ProfileStatus = Literal["calibrated", "published", "datasheet", "generic"]


@dataclass(frozen=True)
class HostShare:
    """What the rest of the node draws, as a share of the device's own energy, and who says so."""

    value: float
    source: str


@dataclass(frozen=True)
class CalibratedHere:
    """What a calibration ran on: the torch device and version, and its pace (see `hardware.calibrated_machine`)."""

    torch_device: str
    torch_version: str
    pace_s: tuple[float, ...]


@dataclass(frozen=True)
class HardwareProfile:
    """A machine that workloads are priced for. `clock_hz`: of a GPU, None where it follows the load.

    `memory_bytes` is None where nobody published it; `calibrated` None where the machine was not.
    `limited`: whether its power limit was set below the board's own. `cores`: of a CPU, those that it is priced with.
    """

    name: str
    title: str
    status: ProfileStatus
    source: str
    model: EnergyModel
    host: HostShare
    memory_bytes: float | None
    clock_hz: float | None
    calibrated: CalibratedHere | None = None
    limited: bool = False
    cores: float | None = None
