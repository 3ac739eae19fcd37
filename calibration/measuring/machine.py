"""The device to calibrate: its name, its meters, and the header of its records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibration.errors import CalibrationError
from calibration.measuring.samples import Header
from profilers.discovery import find_meters
from profilers.fingerprint import fingerprint
from profilers.load import LoadPolicy
from profilers.meter import Meter
from profilers.session import QUIET, measure_idle

IDLE_S = 5.0
"""How long idle power is measured ahead of a calibration."""


@dataclass(frozen=True)
class Target:
    """What is calibrated. `meters` read the joules of this device alone; empty where none can."""

    header: Header
    meters: tuple[Meter, ...]
    logical_cpus: int

    @property
    def meter(self) -> str:
        """The meters' names, or that there is none."""
        return ", ".join(meter.name for meter in self.meters) or "none"

    @property
    def other_cores(self) -> float | None:
        """From how many cores of other work on the machine is busy: a GPU needs few of many. None: the usual limit."""
        return max(1.0, self.logical_cpus / 2) if self.header.device.startswith("cuda") else None


def _torch_device(hardware: str) -> torch.device:
    if hardware == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(hardware)
    except RuntimeError as error:
        raise CalibrationError(
            f"--hardware {hardware!r} is not a device of PyTorch: give --hardware cpu, or cuda:0."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise CalibrationError(f"calibration knows cpu and cuda devices, not {device.type}: give --hardware cpu.")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise CalibrationError(
            f"PyTorch sees {torch.cuda.device_count()} CUDA devices, so {hardware} is none of them: give --hardware "
            "cpu, or install a CUDA build of torch."
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def _meters(device: torch.device) -> tuple[Meter, ...]:
    """What reads this device's joules: its own NVML sensor, or the CPU's RAPL. Never a modelled one."""
    if device.type == "cpu":
        return tuple(m for m in find_meters(["rapl"]).meters if m.components())
    cuda: Any = torch.cuda
    uuid, index = getattr(cuda.get_device_properties(device), "uuid", ""), device.index or 0
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    place = visible[index] if index < len(visible) else str(index)
    names = [*([f"GPU-{uuid}", f"MIG-{uuid}"] if uuid else []), place]  # CUDA and NVML need not count alike
    return next((meters for name in names if (meters := find_meters(["nvml"], visible=name).meters)), ())


def target_of(hardware: str, dtypes: Sequence[str] = ()) -> Target:
    """The device that `hardware` ("auto", "cpu", "cuda:0") means, with its meters."""
    device = _torch_device(hardware)
    meters = _meters(device)
    machine = fingerprint([part.device or part.name for meter in meters for part in meter.components()])
    cuda: Any = torch.cuda
    name = cuda.get_device_name(device) if device.type == "cuda" else machine.cpu
    usual = ("float32",) if device.type == "cpu" else ("float32", "bfloat16")
    header = Header(
        str(device), name, machine.machine_id, torch.__version__, torch.get_num_threads(), tuple(dtypes) or usual
    )
    return Target(header, meters, os.cpu_count() or 1)


def idle_power_w(meters: Sequence[Meter], policy: LoadPolicy = QUIET) -> float | None:
    """Watts of the idle device; None where no meter reads them."""
    if not meters:
        return None
    powers = measure_idle(meters, IDLE_S, policy=policy).power_w
    counted = {part.name for meter in meters for part in meter.components() if part.in_total}
    known = [power for name, power in powers.items() if name in counted]
    return sum(known) if known else None
