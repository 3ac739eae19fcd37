"""The most bytes that one device holds at once, and what they are: in inference, and in a training step.

    peak = weights + optimizer states + reserve + max over ops (storages held while the op runs)

The last op of a training step is the optimizer's, whose temporaries are added there. A step is one of many: the states
exist, and the gradients of the step before are gone (`zero_grad`, which sets them to None by default, comes before the
forward pass). What a kernel takes and gives back while it runs (workspaces of convolutions) is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from estimator.workload.memory.lifetimes import Counts, Lifetimes


@dataclass(frozen=True)
class Allocator:
    """How a device gives memory to PyTorch: in blocks, besides what is taken before the first tensor.

    `foreach`: whether optimizers step over all parameters at once there, as they do by default on GPUs
    (torch/optim/optimizer.py, `_default_to_fused_or_foreach`), and their temporaries are of all parameters.
    """

    block_bytes: int
    reserve_bytes: int
    foreach: bool


DEVICE = Allocator(block_bytes=512, reserve_bytes=512 * 2**20, foreach=True)
"""A GPU. Blocks: `kMinBlockSize` of c10/cuda/CUDACachingAllocator. Reserve: see `RESERVE`."""

RESERVE = (
    "the CUDA context with its kernels, and cuBLAS's workspace of 8 to 32 MiB; the context was 426 MiB on an RTX 6000 "
    "Ada with torch 2.10 and CUDA 13.0 (unslothai/unsloth-zoo pull request 1053), 256 to 616 MiB elsewhere"
)
"""What `DEVICE.reserve_bytes` is for. Free memory in pieces too small to be used is not in it."""

HOST = Allocator(block_bytes=1, reserve_bytes=0, foreach=False)
"""A CPU: as much as is asked for, and its memory is not PyTorch's alone."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak by what they are for. `activations` of a training step are what backward still needs of the
    forward pass, inputs included; those of inference whatever is held beside the weights."""

    weights: int
    gradients: int
    optimizer_states: int
    activations: int
    temporaries: int
    reserve: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by the names of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class StepMemory:
    """What an optimizer holds, in tensors of a parameter's size: states, and what a step makes beside them, of one
    parameter after the other (`temporaries`) or of all at once (`together`, see `Allocator`)."""

    states: int
    temporaries: int
    together: int


@dataclass(frozen=True, eq=False)
class Allocations:
    """All that a pass puts into memory.

    `weights` are bytes of each parameter and buffer as it is stored, `trained` of each parameter that is trained (no
    entries in inference); `unpacked` are those of the largest weight that is stored in fewer bits, in the run's dtype,
    in which its products take it. `optimizer` is None in inference. `accumulated`: whether gradients are there from
    the batch before, and each batch's own last until they are added.
    """

    weights: Counts
    trained: Counts
    unpacked: int
    optimizer: StepMemory | None
    lifetimes: Lifetimes
    accumulated: bool = False


def peak(pass_: Allocations, allocator: Allocator) -> Memory:
    """What one device holds when it holds most."""

    def blocks(nbytes: Counts) -> Counts:
        return -(-nbytes // allocator.block_bytes) * allocator.block_bytes

    lives, step, trained = pass_.lifetimes, pass_.optimizer, blocks(pass_.trained)
    sizes, last = blocks(lives.nbytes), lives.ops - 1
    born = np.where(lives.gradient, 0, lives.born) if pass_.accumulated else lives.born
    adding = np.where(lives.gradient, sizes, 0) if pass_.accumulated else np.zeros_like(sizes)
    stepping = _step_temporaries(step, trained, allocator) if step else 0
    held = _held(sizes, born, lives.died, lives.ops) + _held(adding, lives.born, lives.born, lives.ops)
    held[last] += stepping
    at = int(held.argmax())
    alive = (born <= at) & (lives.died >= at)
    gradients = alive & lives.gradient
    activations = alive & ~gradients if step is None else alive & lives.saved
    parts = {
        "gradients": int(sizes[gradients].sum()),
        "activations": int(sizes[activations].sum()),
        "temporaries": int(sizes[alive & ~gradients & ~activations].sum() + adding[lives.born == at].sum()),
    }
    parts["temporaries"] += pass_.unpacked + (stepping if at == last else 0)
    return Memory(
        weights=int(blocks(pass_.weights).sum()),
        optimizer_states=step.states * int(trained.sum()) if step else 0,
        reserve=allocator.reserve_bytes,
        **parts,
    )


def _held(sizes: Counts, born: Counts, died: Counts, ops: int) -> Counts:
    """Bytes that are held while each op runs."""
    change = np.zeros(ops + 1, np.int64)
    np.add.at(change, born, sizes)
    np.subtract.at(change, died + 1, sizes)
    return change.cumsum()[:ops]


def _step_temporaries(step: StepMemory, trained: Counts, allocator: Allocator) -> int:
    """Bytes that the optimizer makes beside its states: of all parameters at once, or of one after the other."""
    return step.together * int(trained.sum()) if allocator.foreach else step.temporaries * int(trained.max(initial=0))
