"""What a workload holds in a device's memory, and whether the device has as much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from estimator.base.facts import Assumption
from estimator.hardware.profile import HardwareProfile
from estimator.hardware.settings import Settings
from estimator.workload.memory.need import Need, need
from estimator.workload.memory.peak import DEVICE, HOST, RESERVE, Allocations
from estimator.workload.memory.sharding import Sharing
from estimator.workload.ops import Workload

ALONE = Sharing()
"""One device, which keeps all of it."""


def memory_of(
    workload: Workload,
    profile: HardwareProfile,
    settings: Settings,
    traced: Callable[[int], Workload] | None,
    sharing: Sharing = ALONE,
) -> Need:
    """What one device of `profile` holds while it runs `workload`.

    `traced` traces the same pass over a batch of another size, None where it has but one: where the workload does not
    fit, it is traced once more, over twice the batch, to tell the largest batch that does. `sharing`: whose parts other
    devices keep.
    """
    allocator = replace(DEVICE, foreach=settings.optimizer_loop != "single") if profile.model.asynchronous else HOST
    twice = None if traced is None else lambda: sharing.part_of(allocations_of(traced(2 * workload.batch_size)))
    return need(sharing.part_of(allocations_of(workload)), workload.batch_size, allocator, profile.memory_bytes, twice)


def allocations_of(workload: Workload) -> Allocations:
    """What a traced workload holds."""
    if workload.allocations is None:
        raise ValueError("a workload that was put together from parts does not tell what it holds in memory")
    return workload.allocations


def reserve_of(profile: HardwareProfile) -> Iterator[Assumption]:
    """What is taken before the first tensor, where something is."""
    if profile.model.asynchronous:
        yield Assumption("memory_reserve", DEVICE.reserve_bytes // 2**20, "MiB", "default", RESERVE, "")
