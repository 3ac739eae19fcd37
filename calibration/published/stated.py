"""The coefficients of the datasheet model that the published rows cannot tell, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from estimator.base.facts import Fact

DeviceKind = Literal["gpu", "cpu"]

_NOT_ON_A_GPU = "PyTorch's allocator keeps a GPU's memory, so that no result is mapped anew"
_NOT_ON_A_CPU = "of GPUs alone"
STATED: Mapping[DeviceKind, Mapping[str, Fact]] = {
    "gpu": {
        "winograd_gain": Fact(
            2.0,
            "1",
            "Lavin and Gray 2016: F(2x2, 3x3) has 2.25 times fewer products; less for its transforms",
            "derived",
        ),
        "issue_efficiency": Fact(
            0.75,
            "1",
            "128 lanes a multiprocessor take every issue slot, so that loads and addresses displace multiply-adds: one "
            "instruction in four or so of a matrix product; 64 lanes leave every other slot free",
            "default",
        ),
        "relaid_share": Fact(
            0.5,
            "1",
            "of what convolutions in 16 bits work on: 45 timm networks on an RTX 3090, channels last over default; the "
            "ratio is missed by 5%, by 9% without (huggingface/pytorch-image-models, Apache-2.0)",
            "derived",
        ),
        "voltage_knee": Fact(
            0.67,
            "1",
            "of the boost clock: V100 0.63, RTX 6000 0.67 (fitted on ml-energy/zeus trainings at power limits, "
            "Apache-2.0), A100 PCIe 0.72 (supply voltage, yifueve/energaizer-ispass26-artifact, MIT); their median",
            "derived",
        ),
        "clocked_static_share": Fact(
            0.5, "1", "of what a waiting GPU draws half is clocks, as f V^2, half leaks or is memory", "default"
        ),
        "most_static_share": Fact(
            1 / 3,
            "1",
            "of the TDP: small boards of large chips are not built to burn more at rest. A half makes an RTX PRO 6000 "
            "Max-Q left out 19% too slow; with a quarter, networks left out on an A10 miss joules by 9%, not 6",
            "derived",
        ),
        "cached_share": Fact(
            1 / 3,
            "1",
            "last-level caches have about thrice the memory's bandwidth (A100: 5.1 to 1.6-2.0 TB/s)",
            "derived",
        ),
        "fresh_s_per_byte": Fact(0, "s", _NOT_ON_A_GPU, "derived"),
        "tensors_per_optimizer_launch": Fact(
            336,
            "1",
            "depth_to_max_tensors of torch 2.13's MultiTensorApply.cuh: three lists, CUDA 13 or newer",
            "published",
        ),
        "launch_spread": Fact(
            0.74,
            "1",
            "half of log(18.3 us / 4.2 us): launch_s as fitted on server hosts against this project's own CPU dispatch",
            "derived",
        ),
    },
    "cpu": {
        "winograd_gain": Fact(
            1, "1", "PyTorch asks oneDNN for direct convolutions (Conv.cpp, convolution_direct)", "published"
        ),
        "issue_efficiency": Fact(1, "1", _NOT_ON_A_CPU, "derived"),
        "grouped_bandwidth": Fact(1, "1", "the Xeon's rows fit no better with one of their own", "derived"),
        "backward_efficiency": Fact(1, "1", "no published CPU row is a training", "default"),
        "cached_share": Fact(1, "1", "caches of a CPU are not modelled", "default"),
        "active_power_share": Fact(
            0, "1", "a CPU's cores are at work all the time: static_power_share holds it", "derived"
        ),
        "tensors_per_optimizer_launch": Fact(1, "1", "PyTorch's optimizers loop over parameters on a CPU", "published"),
        "kernel_s": Fact(0, "s", "an op on a CPU starts when the host calls it: launch_s holds it all", "derived"),
        "launch_spread": Fact(0, "1", "held by energy_spread and duration_spread, which are wider", "default"),
        "host_clock_hz": Fact(2.1e9, "Hz", "nominal clock of the machine that launch_s was measured on", "measured"),
        "launch_s": Fact(
            4.0e-6, "s", "python -m benchmarks dispatch, mean over forward, backward and Adam; torch 2.13", "measured"
        ),
        "module_call_s": Fact(0.9e-6, "s", "python -m benchmarks dispatch; torch 2.13", "measured"),
    },
}
"""Coefficients that the rows cannot tell, with their sources."""

UNSPREAD = dict.fromkeys(
    (
        *("host_share", "host_spread", "energy_spread", "duration_spread", "training_spread", "launch_spread"),
        *("amd_spread", "apple_spread", "intel_spread"),
    ),
    0.0,
) | {"apple_share": 1.0}
"""What is no part of a device's own joules, or is told from rows that are not fitted (`published.vendors`)."""
