"""A machine that takes exactly so long: op times, overheads and joules from a law that the tests know."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import numpy as np

from calibration.learning import fit as fitting
from calibration.learning import learn
from calibration.measuring import collect, running
from calibration.measuring.samples import Header, Record, Sample
from calibration.networks.random_networks import Network
from estimator.energy.op_features import describe
from estimator.energy.op_times import OpTimes, Overhead, roofline_s
from estimator.hardware.calibrated_machine import CalibratedMachine
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


draw = cache(running.draw)
"""A seed names the same network each time: it is traced once in a process, however many tests learn from it."""


@contextmanager
def traced_once() -> Iterator[None]:
    """Networks that were drawn before are not traced again, whether they are measured or learned from."""
    with patch.object(collect, "draw", draw), patch.object(fitting, "draw", draw):
        yield


@contextmanager
def few_trees() -> Iterator[None]:
    """Learn in a tenth of the time: for what is done with a profile, where it does not matter how well it predicts."""
    with patch.dict(learn._TREES, max_iter=20):
        yield


def learned(count: int = 20, name: str = "simulated") -> CalibratedMachine:
    """A profile to keep, damage and choose."""
    with traced_once(), few_trees():
        return fitting.fit(Record(header(), tuple(samples(count)), None), name, os.cpu_count() or 1, "none")


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
