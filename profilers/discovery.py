"""What this machine can read, and for what it cannot: why, and what would help."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from profilers.cpu import powercap
from profilers.cpu.conditions import cpu_conditions
from profilers.cpu.rapl import RaplMeter
from profilers.errors import MeterError
from profilers.gpu.nvml import NvmlMeter
from profilers.meter import Meter
from profilers.modelled import ModelledMeter

NAMES = ("nvml", "rapl", "codecarbon")


@dataclass(frozen=True)
class Missing:
    """What cannot be read, why, and the remedy."""

    name: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Discovery:
    """The meters of this machine, best first, and what it lacks."""

    meters: tuple[Meter, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...] = ()


def find_meters(
    names: Sequence[str] = (), *, nvml: Any = None, root: Path = powercap.ROOT, visible: str | None = None
) -> Discovery:
    """The meters of this machine; codecarbon's model only where no CPU package can be read.

    names: take these alone ("nvml", "rapl", "codecarbon"). nvml, root, visible: stand for the pynvml module, the
    powercap tree and CUDA_VISIBLE_DEVICES.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise MeterError(f"there is no meter {unknown[0]!r}: choose from {', '.join(NAMES)}")
    meters: list[Meter] = []
    missing: list[Missing] = []
    notes: tuple[str, ...] = ()
    if not names or "nvml" in names:
        try:
            gpus = NvmlMeter(_pynvml() if nvml is None else nvml, visible)
        except MeterError as error:
            missing.append(_missing("nvml", error))
        else:
            notes = gpus.notes
            if gpus.sensors:
                meters.append(gpus)
            else:
                missing.append(Missing("nvml", "NVML answers, and lists no GPU", "see `nvidia-smi -L`"))
    packages = False
    if not names or "rapl" in names:
        rapl = RaplMeter(root, conditions=cpu_conditions)
        packages = any(part.kind in {"package", "platform"} for part in rapl.components())
        if rapl.components() or rapl.unreadable():
            meters.append(rapl)
        missing.extend(
            Missing(part.name, part.why, part.remedy or "see docs/measuring.md") for part in rapl.unreadable()
        )
        if not rapl.components() and not rapl.unreadable():
            missing.append(_no_rapl(root))
    if "codecarbon" in names or (not names and not packages):
        if find_spec("codecarbon") is None:
            missing.append(
                Missing(
                    "codecarbon", "it is not installed, so the CPU cannot even be modelled", "pip install codecarbon"
                )
            )
        else:
            meters.append(ModelledMeter())
    return Discovery(tuple(meters), tuple(missing), notes)


def _pynvml() -> Any:
    try:
        return import_module("pynvml")
    except ImportError as error:
        raise MeterError("the NVML bindings are not installed: pip install nvidia-ml-py") from error


def _missing(name: str, error: MeterError) -> Missing:
    why, _, remedy = str(error).rpartition(": ")
    return Missing(name, why, remedy)


def _no_rapl(root: Path) -> Missing:
    if platform.system() != "Linux":
        return Missing("rapl", f"{platform.system()} does not show RAPL to programs", "the CPU is modelled instead")
    if not root.is_dir():
        return Missing(
            "rapl",
            f"there is no {root}: a virtual machine or container without it, or a kernel without powercap",
            "run on bare metal, or mount it into the container (-v /sys/class/powercap:/sys/class/powercap:ro and "
            "/sys/devices/virtual/powercap)",
        )
    return Missing(
        "rapl",
        f"{root} holds no RAPL zone: a virtual machine, an ARM CPU, or the driver is not loaded",
        "sudo modprobe intel_rapl_msr (AMD too), or on a virtual machine ask for bare metal",
    )
