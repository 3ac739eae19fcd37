"""A training step on many devices: what each of them computes, and how long it waits for the others.

Each device takes its part of the batch. Data parallel (torch's DDP) reduces gradients in buckets while the backward
pass goes on; sharding (FSDP2, ZeRO: Rajbhandari et al. 2020) gathers parameters before they are used and scatters
gradients, block by block, beside the passes. What is not hidden behind computing is waited for, and waiting is priced
as idle. An optimizer whose states are sharded takes its part of the parameters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from estimator.base.errors import ScenarioError
from estimator.energy.collectives import Cluster
from estimator.energy.pricing import Estimate
from estimator.workload.ops import Phase, Workload

Shard = Literal["none", "optimizer", "gradients", "full"]
SHARDS: tuple[Shard, ...] = get_args(Shard)
"""What is kept in parts, a part on each device: nothing (DDP), ZeRO's stages 1, 2 and 3 (FSDP)."""

BUCKET_BYTES = 25 * 2**20
"""DistributedDataParallel's bucket_cap_mb."""

_BLOCK = re.compile(r"^(.*?\.)?\d+(?=\.|$)")
"""Of a layer's path what names the numbered block that it is in."""


@dataclass(frozen=True)
class Exchange:
    """What a training step exchanges: bytes of its gradients (as many as of the parameters), in so many blocks.

    `accumulate`: gradients of so many batches are exchanged at once (DDP's `no_sync`); parameters are not.
    """

    gradient_bytes: float
    blocks: int
    accumulate: int = 1


def exchange_of(step: Workload) -> Exchange:
    """The trained parameters of a step, as its optimizer sees them, and the numbered blocks that they are in."""
    updates = step.of_phase("optimizer")
    narrow = ("bfloat16", "float16")
    size = sum((2 if op.dtype in narrow else 4) * math.prod(shape) for op in updates for shape in op.outputs)
    blocks = {found.group() for op in updates if (found := _BLOCK.match(op.layer))}
    return Exchange(size, max(1, len(blocks)), step.accumulate)


def part_of(batch_size: int, devices: int) -> int:
    """The samples of a batch that one device takes, at most. Raises `ScenarioError` where some would have none."""
    if devices > batch_size:
        raise ScenarioError(
            f"a batch of {batch_size:,} has less than one sample for each of {devices:,} devices: raise --batch-size "
            "or lower --devices."
        )
    return math.ceil(batch_size / devices)


def _left(total_s: float, parts: int, hidden_behind_s: float) -> float:
    """What is waited for of `parts` equal exchanges: all but one may go beside `hidden_behind_s` of computing."""
    return total_s / parts + max(0.0, total_s * (1 - 1 / parts) - hidden_behind_s)


def exposed_s(estimate: Estimate, exchange: Exchange, cluster: Cluster, shard: str) -> float:
    """Seconds of a step in which a device waits for the others."""
    if cluster.devices < 2 or not exchange.gradient_bytes:
        return 0.0
    size, passes_s = exchange.gradient_bytes, estimate.phase_duration_s
    forward_s, backward_s = passes_s.get("forward", 0.0), passes_s.get("backward", 0.0)
    blocks = exchange.blocks if shard == "full" else max(1, math.ceil(size / BUCKET_BYTES))

    def all_of(kind: Literal["all_reduce", "all_gather", "reduce_scatter"]) -> float:
        return blocks * cluster.collective_s(kind, size / blocks)

    if shard == "full":
        gathered_s, scattered_s = all_of("all_gather"), all_of("reduce_scatter")
        return _left(gathered_s, blocks, forward_s) + _left(gathered_s + scattered_s, blocks, backward_s)
    if shard == "none":
        return _left(all_of("all_reduce"), blocks, backward_s) / exchange.accumulate
    return (_left(all_of("reduce_scatter"), blocks, backward_s) + all_of("all_gather")) / exchange.accumulate


def shared(
    estimate: Estimate, exchange: Exchange, cluster: Cluster, shard: str, idle_w: float
) -> tuple[Estimate, float]:
    """The step of one of many devices, and the share of its time in which it waits; `idle_w`: watts meanwhile."""
    if cluster.devices < 2:
        return estimate, 0.0
    waited_s = exposed_s(estimate, exchange, cluster, shard)
    energy, seconds = dict(estimate.phase_energy_j), dict(estimate.phase_duration_s)
    if shard != "none" and "optimizer" in energy:
        energy["optimizer"] /= cluster.devices
        seconds["optimizer"] /= cluster.devices
    last: Phase = "backward" if "backward" in energy else "forward"
    energy[last] = energy.get(last, 0.0) + idle_w * waited_s
    seconds[last] = seconds.get(last, 0.0) + waited_s
    total_j, total_s = sum(energy.values()), sum(seconds.values())
    bounds = {bound: share * estimate.duration_s.value / total_s for bound, share in estimate.bound_shares.items()}
    return replace(
        estimate,
        energy_j=estimate.energy_j * (total_j / (estimate.energy_j.value or 1.0)),
        duration_s=estimate.duration_s * (total_s / (estimate.duration_s.value or 1.0)),
        phase_energy_j=energy,
        phase_duration_s=seconds,
        bound_shares=bounds,
    ), waited_s / total_s
