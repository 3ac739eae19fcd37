"""What one of many devices holds of a training step whose parts they share (ZeRO: Rajbhandari et al. 2020, FSDP2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from estimator.workload.memory.lifetimes import Counts
from estimator.workload.memory.peak import Allocations


@dataclass(frozen=True)
class Sharing:
    """So many `devices` keep parts of what `shard` says: "none", "optimizer", "gradients" (with it) or "full".

    `blocks`: in which weights are gathered before they are used; the one in use and the next are whole.
    """

    devices: int = 1
    shard: str = "none"
    blocks: int = 1

    def part_of(self, pass_: Allocations) -> Allocations:
        """What one device holds of `pass_`."""
        if self.devices < 2 or self.shard == "none":
            return pass_
        lives, gathered = pass_.lifetimes, 0
        if self.shard != "optimizer":
            lives = replace(lives, nbytes=np.where(lives.gradient, self._part(lives.nbytes), lives.nbytes))
        weights = pass_.weights
        if self.shard == "full":
            gathered = min(int(weights.sum()), 2 * int(weights.sum()) // self.blocks)
            weights = self._part(weights)
        return replace(
            pass_,
            weights=weights,
            trained=self._part(pass_.trained),
            unpacked=pass_.unpacked + gathered,
            lifetimes=lives,
        )

    def _part(self, nbytes: Counts) -> Counts:
        return -(-nbytes // self.devices)
