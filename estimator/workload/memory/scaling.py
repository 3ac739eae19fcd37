"""The peak at any batch size, from the passes of two.

Every storage of a pass grows linearly with the batch, and most not at all with anything else. So two traces tell the
size of each storage at every batch size, and the peak is the largest of many straight lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from estimator.workload.memory.peak import Allocations, Allocator, peak


@dataclass(frozen=True, eq=False)
class TwoBatches:
    """The same pass over batches of two sizes, `batch_sizes`."""

    batch_sizes: tuple[int, int]
    passes: tuple[Allocations, Allocations]
    allocator: Allocator

    def bytes_at(self, batch_size: int) -> int:
        """Peak bytes at any batch size; where the two passes are not made of the same storages, a line through both."""
        (first, second), (one, other) = self.passes, self.batch_sizes
        share = (batch_size - one) / (other - one)
        if not first.lifetimes.alike(second.lifetimes):
            ends = [peak(pass_, self.allocator).total for pass_ in self.passes]
            return round(ends[0] + share * (ends[1] - ends[0]))
        before, after = first.lifetimes.nbytes, second.lifetimes.nbytes
        nbytes = np.maximum(0, np.rint(before + share * (after - before))).astype(np.int64)
        return peak(replace(first, lifetimes=replace(first.lifetimes, nbytes=nbytes)), self.allocator).total

    def largest(self, capacity_bytes: float, below: int) -> int:
        """The largest batch size under `below` (one that does not fit) whose peak fits; 0 where not even 1 does."""
        fits, too_large = 0, below
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            fits, too_large = (middle, too_large) if self.bytes_at(middle) <= capacity_bytes else (fits, middle)
        return fits
