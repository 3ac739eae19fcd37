"""The names of the hardware in this machine, for `--hardware auto`.

It reads NAMES ONLY: no clock, no counter, no load, no power, so that the estimator stays ex ante. GPUs are named by
NVML (NVIDIA's alone; others are not looked for), the CPU by the operating system.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from estimator.base.errors import HardwareError
from estimator.hardware.catalogue import Device, Kind, find

_CPUINFO = Path("/proc/cpuinfo")
_ARM_PARTS = {
    "0xd08": "Cortex-A72",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
"""Names, as lscpu gives them, of "CPU part" where "CPU implementer" is Arm's 0x41: /proc/cpuinfo has no more on ARM."""


@dataclass(frozen=True)
class Seen:
    """A device of this machine, as its driver or the operating system names it."""

    kind: Kind
    name: str


def present(nvml: Any = None, cpuinfo: str | None = None, visible: str | None = None) -> tuple[Seen, ...]:
    """The GPUs, then the CPU, as drivers and operating system report them.

    nvml: the pynvml module or its like; `None` imports it, if it is there.
    cpuinfo: text in the form of /proc/cpuinfo; `None` asks the operating system.
    visible: the value of CUDA_VISIBLE_DEVICES; `None` reads the environment.
    """
    cpu = cpu_name(cpuinfo)
    gpus = tuple(Seen("gpu", name) for name in gpu_names(nvml, visible))
    return (*gpus, Seen("cpu", cpu)) if cpu else gpus


def detect(seen: Sequence[Seen] | None = None) -> tuple[Device | None, Seen | None]:
    """What this machine computes on: its first GPU that the catalogue has; its CPU only where it has no GPU at all.

    Where the catalogue has none of them: `None`, and the first GPU, or the CPU, as it was seen (`None` where nothing
    was). A name that could be several devices counts as not known: never a guess. `seen` stands for `present()`.
    """
    devices = present() if seen is None else tuple(seen)
    eligible = tuple(device for device in devices if device.kind == "gpu") or devices
    for device in eligible:
        try:
            found = find(device.name)
        except HardwareError:
            continue
        if found.kind == device.kind and found.vendor != "generic":
            return found, device
    return None, eligible[0] if eligible else None


def gpu_names(nvml: Any = None, visible: str | None = None) -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that CUDA would show, in the order of CUDA_VISIBLE_DEVICES; () without NVML.

    As in CUDA, the list of indices, UUIDs, beginnings of UUIDs or MIG UUIDs ends at the first that does not exist.
    Indices count in NVML's order, that of the bus.
    """
    if nvml is None:
        try:
            nvml = import_module("pynvml")
        except ImportError:
            return ()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError, OSError):
        return ()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        chosen = handles if wanted is None else list(_chosen(nvml, handles, wanted))
        return tuple(_text(nvml.nvmlDeviceGetName(handle)) for handle in chosen)
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def usable_cores(root: Path = Path("/")) -> float | None:
    """Physical cores that this process may use: its affinity, and its cgroups' quota (version 2); None if not known.

    `root` stands for the file system. Hardware threads of a core count as one.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    threads = float(len(os.sched_getaffinity(0)))
    for folder in _cgroups(root):
        quota = _quota(folder / "cpu.max")
        threads = min(threads, quota) if quota is not None else threads
    return threads / _threads_a_core(root)


def _cgroups(root: Path) -> Iterator[Path]:
    """The folder of this process's cgroup, and those above it."""
    base = root / "sys/fs/cgroup"
    try:
        line = (root / "proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
    except OSError:
        line = ""
    folder = base / line.strip("/")
    yield from (f for f in (folder, *folder.parents) if f == base or base in f.parents)


def _quota(path: Path) -> float | None:
    """Cores' worth of time that "quota period" of a cpu.max file allows; None where it says "max" or is missing."""
    try:
        quota, period = path.read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _threads_a_core(root: Path) -> float:
    """Hardware threads of a core, as the first CPU says."""
    try:
        text = (root / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list").read_text(encoding="utf-8").strip()
    except OSError:
        return 1.0
    return float(sum(1 + int(b or a) - int(a) for a, _, b in (part.partition("-") for part in text.split(",") if part)))


def cpu_name(cpuinfo: str | None = None) -> str | None:
    """Name of the CPU, `None` where the system does not tell. `cpuinfo` stands for the text of /proc/cpuinfo."""
    if cpuinfo is None:
        system = platform.system()
        if system == "Darwin":
            return _sysctl("machdep.cpu.brand_string")
        if system != "Linux":
            return platform.processor() or None
        try:
            cpuinfo = _CPUINFO.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return platform.processor() or None
    fields = {
        key.strip().lower(): value.strip()
        for key, separator, value in (line.partition(":") for line in cpuinfo.splitlines())
        if separator and value.strip()
    }
    arm = _ARM_PARTS.get(fields.get("cpu part", "")) if fields.get("cpu implementer") == "0x41" else None
    named = next((fields[key] for key in ("model name", "cpu model", "hardware", "model") if key in fields), None)
    named = None if named is None or named.isdigit() else named  # "model" is a bare number on x86
    return named or arm or platform.processor() or None


def _chosen(nvml: Any, handles: Sequence[Any], wanted: str) -> Iterator[Any]:
    """The handles that a value of CUDA_VISIBLE_DEVICES picks, up to its first invalid part."""
    for part in (part.strip() for part in wanted.split(",")):
        if re.fullmatch(r"[0-9]+", part) and int(part) < len(handles):
            yield handles[int(part)]
        elif part.startswith("MIG-"):
            try:
                yield nvml.nvmlDeviceGetHandleByUUID(part)
            except nvml.NVMLError:
                return
        elif part.startswith("GPU-"):
            matching = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(part)]
            if len(matching) != 1:
                return
            yield matching[0]
        else:
            return


def _sysctl(key: str) -> str | None:
    try:
        answer = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or None
    return answer.stdout.strip() or None


def _text(raw: str | bytes) -> str:
    """Older versions of pynvml answer in bytes."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
