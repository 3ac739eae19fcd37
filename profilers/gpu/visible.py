"""Which GPUs a CUDA program would see: `CUDA_VISIBLE_DEVICES` read as CUDA reads it.

Source: CUDA programming guide, "CUDA environment variables". The list holds indices, UUIDs, unambiguous beginnings of
UUIDs or MIG UUIDs, and ends at the first entry that does not exist; set but empty, it hides every GPU. A MIG instance
has no power sensor of its own, so it stands for its parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_OLD_MIG = re.compile(r"MIG-(GPU-[0-9a-fA-F-]+)/(\d{1,3})/(\d{1,3})")


@dataclass(frozen=True)
class Gpu:
    """A GPU to be metered: its NVML handle, its index in NVML's order, and what is to be said about it."""

    handle: Any
    index: int
    uuid: str
    name: str
    notes: tuple[str, ...] = ()


def visible_gpus(nvml: Any, wanted: str | None) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES picks (None: every one), and notes on how it was read."""
    every = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    if wanted is None:
        return tuple(_with_mig_note(nvml, gpu) for gpu in every), ()
    picked: dict[int, Gpu] = {}
    notes: list[str] = []
    for part in (part.strip() for part in wanted.split(",")):
        found = _find(nvml, every, part)
        if found is None:
            if wanted.strip():
                notes.append(
                    f"CUDA_VISIBLE_DEVICES={wanted} names {part!r}, which does not exist: it ends there, as in CUDA"
                )
            break
        mig_note = () if not part.startswith("MIG-") else (_whole_gpu(found, f"its instance {part} has"),)
        known = picked.get(found.index, found)
        picked[found.index] = Gpu(found.handle, found.index, found.uuid, found.name, (*known.notes, *mig_note))
    chosen = tuple(gpu if gpu.notes else _with_mig_note(nvml, gpu) for gpu in picked.values())
    if len({gpu.name for gpu in every}) > 1 and any(part.strip().isdigit() for part in wanted.split(",")):
        notes.append(
            "indices count in NVML's order, that of the bus: set CUDA_DEVICE_ORDER=PCI_BUS_ID so that CUDA counts alike"
        )
    return chosen, tuple(notes)


def _find(nvml: Any, every: Sequence[Gpu], part: str) -> Gpu | None:
    if re.fullmatch(r"[0-9]{1,6}", part):
        return every[int(part)] if int(part) < len(every) else None
    if part.startswith("MIG-"):
        return _parent(nvml, every, part)
    if part.startswith("GPU-"):
        matching = [gpu for gpu in every if gpu.uuid.startswith(part)]
        return matching[0] if len(matching) == 1 else None
    return None


def _parent(nvml: Any, every: Sequence[Gpu], mig: str) -> Gpu | None:
    old = _OLD_MIG.fullmatch(mig)
    if old is not None:
        return next((gpu for gpu in every if gpu.uuid == old[1]), None)
    try:
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvml.nvmlDeviceGetHandleByUUID(mig))
        uuid = text(nvml.nvmlDeviceGetUUID(parent))
    except nvml.NVMLError:
        return None
    return next((gpu for gpu in every if gpu.uuid == uuid), None)


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(handle, index, text(nvml.nvmlDeviceGetUUID(handle)), text(nvml.nvmlDeviceGetName(handle)))


def _with_mig_note(nvml: Any, gpu: Gpu) -> Gpu:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(gpu.handle)
    except (nvml.NVMLError, TypeError, ValueError):
        return gpu
    if not current:
        return gpu
    return Gpu(
        gpu.handle, gpu.index, gpu.uuid, gpu.name, (_whole_gpu(gpu, "it is split into MIG instances, which have"),)
    )


def _whole_gpu(gpu: Gpu, why: str) -> str:
    return f"this is the whole of GPU {gpu.index}, with the work of others on it: {why} no power sensor of its own"


def text(raw: str | bytes) -> str:
    """Older versions of pynvml answer in bytes."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
