"""A machine that takes exactly so long: op times, overheads and joules from a law that the tests know."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from calibration.measuring.running import draw
from calibration.measuring.samples import Header, Sample
from calibration.networks.random_networks import Network
from estimator.energy.op_features import describe
from estimator.energy.op_times import OpTimes, Overhead, roofline_s
from estimator.workload.ops import Workload

PEAKS = {"convolution": 2e11, "depthwise convolution": 4e10, "matrix product": 3e11}
BANDWIDTH, LAUNCH_S = 4e10, 2e-6
SLOW_NAMES = {"gelu": 3.0, "softmax": 2.0, "native_batch_norm": 1.5}
CPU = {
    "inference": Overhead(1.0, 1e-6, 2e-6, 5e-6),
    "forward": Overhead(1.0, 1e-6, 3e-6, 5e-6),
    "backward": Overhead(1.0, 3e-6, 0.0, 2e-5),
    "optimizer": Overhead(1.0, 2e-5, 0.0, 3e-5, -2e-6, 5e-11),
}
GPU = {
    "inference": Overhead(1.0, 8e-6, 5e-6, 0.0),
    "forward": Overhead(1.0, 8e-6, 6e-6, 0.0),
    "backward": Overhead(1.0, 1.5e-5, 0.0, 0.0),
    "optimizer": Overhead(1.0, 3e-5, 0.0, 0.0),
}
STATIC_W, JOULES_PER_FLOP, JOULES_PER_BYTE = 40.0, 2e-11, 1e-10


def op_seconds(workload: Workload) -> np.ndarray:
    """The law: a roofline, times a factor for some names."""
    return np.array(
        [
            SLOW_NAMES.get(one.name, 1.0)
            * roofline_s(op, PEAKS.get(one.group.rpartition(" ")[0], 1e11), BANDWIDTH, LAUNCH_S)
            for op, one in zip(workload.ops, describe(workload), strict=True)
        ]
    )


def sample(seed: int, network: Network, workload: Workload, at_s: float, *, gpu: bool = False) -> Sample:
    """What measuring would say, without noise."""
    seconds = op_seconds(workload)
    law = OpTimes(BANDWIDTH, LAUNCH_S, {}, GPU if gpu else CPU, 0.0)
    phases = law.phases_s(workload, seconds, gpu)
    total_s = sum(phases.values())
    flops = sum(op.flops for op in workload.ops)
    energy_j = STATIC_W * total_s + JOULES_PER_FLOP * flops + JOULES_PER_BYTE * workload.bytes_moved
    return Sample(seed, phases, total_s, 0.0, 5, tuple(seconds.tolist()), energy_j, "measured", at_s, seed % 2 == 0)


@cache
def drawn(count: int, first: int = 0) -> tuple[tuple[int, Network, Workload], ...]:
    """The first `count` networks that can be measured, from a seed on."""
    found, seed = [], first
    while len(found) < count:
        one = draw(seed, "cpu", ("float32",))
        if one is not None:
            found.append((seed, *one))
        seed += 1
    return tuple(found)


def samples(count: int, first: int = 0, *, gpu: bool = False) -> Sequence[Sample]:
    """So many samples, one a second."""
    return [
        sample(seed, network, workload, float(i + 1), gpu=gpu)
        for i, (seed, network, workload) in enumerate(drawn(count, first))
    ]


def header(device: str = "cpu") -> Header:
    """Of the simulated machine."""
    return Header(device, "Simulated 3000", "0123456789ab", "2.13.0", 2, ("float32",))
