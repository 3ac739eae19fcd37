"""Which machine, driver and software a measurement belongs to, so that runs of different ones are never mixed.

It holds no host name, user name or path.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_DISTRIBUTIONS = ("joulecast", "torch", "numpy", "nvidia-ml-py", "codecarbon", "psutil")


@dataclass(frozen=True)
class Fingerprint:
    """A machine and its software. Empty or None: the system does not tell."""

    cpu: str
    logical_cpus: int | None
    memory_bytes: int | None
    gpus: tuple[str, ...]
    gpu_driver: str | None
    system: str
    python: str
    packages: tuple[str, ...]

    @property
    def machine_id(self) -> str:
        """A digest of the hardware alone: the same after an update of the software."""
        hardware = (self.cpu, self.logical_cpus, self.memory_bytes, self.gpus)
        return hashlib.sha256(json.dumps(hardware).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"machine_id": self.machine_id, **asdict(self), "gpus": list(self.gpus), "packages": list(self.packages)}


def fingerprint(gpus: Sequence[str] = (), gpu_driver: str | None = None) -> Fingerprint:
    """The fingerprint of this machine. GPUs and driver come from the meter that reads them."""
    return Fingerprint(
        cpu=_cpu_name(),
        logical_cpus=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        gpus=tuple(gpus),
        gpu_driver=gpu_driver,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=tuple(f"{name} {found}" for name in _DISTRIBUTIONS if (found := _version(name)) is not None),
    )


def _cpu_name() -> str:
    for line in _read(_CPUINFO).splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in {"model name", "cpu model", "hardware"} and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    """MemTotal of /proc/meminfo, rounded to GiB: a few MiB differ from boot to boot."""
    for line in _read(_MEMINFO).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "MemTotal:" and words[1].isdigit():
            return round(int(words[1]) / 2**20) * 2**30
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
