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
from importlib import import_module
from pathlib import Path
from typing import Any

from estimator.catalogue import Device, find
from estimator.errors import HardwareError

_CPUINFO = Path("/proc/cpuinfo")
_ARM_PARTS = {
    "0xd08": "Cortex-A72",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
"""Names, as lscpu gives them, of "CPU part" where "CPU implementer" is Arm's 0x41: /proc/cpuinfo has no more on ARM."""


def present(nvml: Any = None, cpuinfo: str | None = None, visible: str | None = None) -> tuple[str, ...]:
    """Names of the GPUs, then of the CPU, as drivers and operating system report them.

    nvml: the pynvml module or its like; `None` imports it, if it is there.
    cpuinfo: text in the form of /proc/cpuinfo; `None` asks the operating system.
    visible: the value of CUDA_VISIBLE_DEVICES; `None` reads the environment.
    """
    cpu = cpu_name(cpuinfo)
    return (*gpu_names(nvml, visible), *((cpu,) if cpu else ()))


def detect(names: Sequence[str] | None = None) -> tuple[Device | None, str]:
    """The best device of this machine in the catalogue, with its raw name: the first known GPU, else the CPU.

    Where no name is in the catalogue: `None` and the first raw name ("" where there is none). A name that could be
    several devices counts as not known: never a guess. `names` stands for `present()`.
    """
    seen = present() if names is None else tuple(names)
    for name in seen:
        try:
            return find(name), name
        except HardwareError:
            continue
    return None, seen[0] if seen else ""


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
