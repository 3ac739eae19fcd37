"""Whether a pass fits into a device, and the largest batch that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from estimator.base.units import si
from estimator.workload.memory.peak import Allocations, Allocator, Memory, peak
from estimator.workload.memory.scaling import TwoBatches


@dataclass(frozen=True)
class Need:
    """Peak bytes of one device, of a pass over a batch of `batch_size`.

    `capacity_bytes` is None where nobody said what the device has. `largest_batch` is told where the pass does not fit:
    the largest that does, 0 where not even one sample does; None where it fits, or where its batch cannot be chosen.
    """

    peak: Memory
    batch_size: int
    capacity_bytes: float | None
    largest_batch: int | None = None

    @property
    def fits(self) -> bool | None:
        """Whether the device has as much; None where its memory is not known."""
        return None if self.capacity_bytes is None else self.peak.total <= self.capacity_bytes


@dataclass(frozen=True)
class MemoryNeed:
    """What one device needs for inference, and for a training step (what is sharded: its part)."""

    inference: Need
    training: Need


def need(
    pass_: Allocations,
    batch_size: int,
    allocator: Allocator,
    capacity_bytes: float | None,
    twice: Callable[[], Allocations] | None,
) -> Need:
    """What a pass needs on a device of `capacity_bytes`; `twice` traces it over twice the batch, where it does not fit.

    `twice` is None where the batch cannot be chosen.
    """
    found = Need(peak(pass_, allocator), batch_size, capacity_bytes)
    if capacity_bytes is None or found.fits or twice is None:
        return found
    if batch_size == 1:
        return Need(found.peak, batch_size, capacity_bytes, 0)
    two = TwoBatches((batch_size, 2 * batch_size), (pass_, twice()), allocator)
    return Need(found.peak, batch_size, capacity_bytes, two.largest(capacity_bytes, batch_size))


def refusals(memory: MemoryNeed, device: str) -> Iterator[str]:
    """What does not fit into one `device`, and what does: each a sentence."""
    for need_, name, what, option in (
        (memory.training, "training", "a step", "--batch-size"),
        (memory.inference, "inference", "a pass", "--inference-batch-size"),
    ):
        if need_.fits is not False or need_.capacity_bytes is None:
            continue
        samples = f"{need_.batch_size:,} sample{'' if need_.batch_size == 1 else 's'}"
        takes = (
            f"{name} does not fit: {what} of {samples} takes {si(need_.peak.total, 'B')}, and {device} has "
            f"{si(need_.capacity_bytes, 'B')}"
        )
        if need_.largest_batch:
            yield f"{takes}; the largest batch that fits is {option} {need_.largest_batch}"
        else:
            few = "its batch is fixed" if need_.largest_batch is None else "nor does one sample"
            shared = ", or share it: --devices 8 --shard full" if name == "training" else ""
            yield f"{takes}; {few}: choose --hardware with more memory{shared}"
