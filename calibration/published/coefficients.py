"""The coefficients of the datasheet model, and how they are fitted on published rows.

The same energy model that the product prices with is fitted (`estimator.energy.pricing.phases_of`), so that the two
cannot differ. Robust least squares on log(predicted / measured) of energy and duration, each coefficient drawn to where
it starts by a stated width, so that rows which say nothing about it leave it there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibration.published.rows import Row
from estimator.base.facts import Fact
from estimator.energy.columns import Columns, folded, joined
from estimator.energy.demand import roofline, summed
from estimator.energy.model import EnergyModel
from estimator.energy.pricing import phases_of
from estimator.hardware import catalogue
from estimator.hardware.datasheet import from_datasheet

DeviceKind = Literal["gpu", "cpu"]
Floats = NDArray[np.float64]
Model = Mapping[str, float]

NOISE = 0.15
"""Standard deviation of log(predicted / measured) that a row is taken to have: 5% of it is measurement, the rest the
model's own. A coefficient leaves its start by one width where that gains what an error of this size costs."""

MOST_ROWS = 20
"""More rows of one device, source and phase weigh no more than this many: they are the same few networks again."""

HOSTS = 1.4
"""By what factor hosts are taken to differ (one standard deviation) where a fit sees several."""

OWN = 1.5
"""A machine's own coefficients are let go by this many of the widths: joules of networks left out of the RTX 5000, A10
and A100 PCIe are missed by 9, 5 and 8% with 0.7, by 7, 5 and 6% with 1.5."""

OVERLAP = 4.0
"""Loader and GPU work side by side, but not in step, so that each waits for the other at times: where they take a and b
alone, a batch takes (a^4 + b^4)^(1/4), 19% more than either where both are equal."""


@dataclass(frozen=True)
class Coefficient:
    """A coefficient to fit: where it starts, how far it is let go (a factor, one standard deviation), and its cap."""

    start: float
    factor: float
    cap: float
    unit: str = "1"


COEFFICIENTS: Mapping[DeviceKind, Mapping[str, Coefficient]] = {
    "gpu": {
        "conv_efficiency": Coefficient(0.65, 1.3, 1.0),
        "conv_efficiency_tf32": Coefficient(0.4, 1.3, 1.0),
        "conv_efficiency_narrow": Coefficient(0.35, 1.3, 1.0),
        "matmul_efficiency": Coefficient(0.85, 1.2, 1.0),
        "matmul_efficiency_narrow": Coefficient(0.55, 1.3, 1.0),
        "attention_efficiency": Coefficient(0.4, 1.5, 1.0),
        "attention_efficiency_narrow": Coefficient(0.25, 1.4, 1.0),
        "fill_blocks": Coefficient(2.0, 1.3, 10.0, "blocks"),
        "exponential_efficiency": Coefficient(0.6, 1.3, 1.0),
        "bandwidth_efficiency": Coefficient(0.75, 1.15, 0.95),
        "grouped_bandwidth": Coefficient(0.5, 1.4, 1.0),
        "norm_bandwidth": Coefficient(0.7, 1.4, 1.0),
        "norm_backward_bandwidth": Coefficient(0.6, 1.4, 1.0),
        "voltage_rise": Coefficient(0.4, 1.2, 1.0),
        "unit_s": Coefficient(2e-6, 1.5, 1.0, "s"),
        "backward_efficiency": Coefficient(0.85, 1.15, 1.0),
        "flop_energy_j": Coefficient(8.5e-12, 1.4, 1.0, "J"),
        "matrix_flop_energy_j": Coefficient(13e-12, 1.4, 1.0, "J"),
        "matrix_energy_exponent": Coefficient(0.5, 1.4, 1.0),
        "process_exponent": Coefficient(1.0, 1.3, 2.0),
        "byte_power_share": Coefficient(0.5, 1.4, 1.5),
        "active_power_share": Coefficient(0.25, 1.4, 0.8),
        "unit_power_w": Coefficient(0.7, 1.4, 3.0, "W"),
        "kernel_s": Coefficient(4e-6, 1.1, 5e-6, "s"),
        "launch_s": Coefficient(12e-6, 1.4, 1.0, "s"),
        "module_call_s": Coefficient(12e-6, 1.4, 1.0, "s"),
    },
    "cpu": {
        "conv_efficiency": Coefficient(0.6, 1.3, 1.0),
        "matmul_efficiency": Coefficient(0.7, 1.2, 1.0),
        "attention_efficiency": Coefficient(0.4, 1.5, 1.0),
        "bandwidth_efficiency": Coefficient(0.5, 1.3, 0.95),
        "fresh_s_per_byte": Coefficient(0.12e-9, 1.5, 1.0, "s"),
        "flop_power_share": Coefficient(0.5, 1.4, 1.0),
        "byte_power_share": Coefficient(0.1, 1.5, 1.0),
        "static_power_share": Coefficient(0.6, 1.3, 1.0),
    },
}
"""Starting values are round figures of the order that libraries reach; the fit says what the rows make of them."""

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
        "most_static_share": Fact(0.5, "1", "of the TDP: small boards are not built to burn more at rest", "default"),
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

_NODE = dict.fromkeys(
    ("host_share", "host_spread", "energy_spread", "duration_spread", "training_spread", "launch_spread"), 0.0
)  # no part of a device's own joules


def kind_of(row: Row) -> DeviceKind:
    """GPU or CPU: each has coefficients of its own."""
    return catalogue.find(row.device).kind


@dataclass(frozen=True)
class Machine:
    """Rows taken on one device under one set of conditions, priced at once."""

    rows: tuple[Row, ...]

    @cached_property
    def columns(self) -> Columns:
        """The ops of all rows, equal ones folded: a fit prices them a thousand times."""
        return folded(joined([row.workload for row in self.rows]))

    def predict(self, model: Model) -> tuple[Floats, Floats]:
        """(joules, seconds) of one batch of every row under the coefficients `model`.

        `model` may tell how slow the rows' host is, "host NAME", over the one that `launch_s` stands for.
        """
        slower = model.get(f"host {self.rows[0].host}", 1.0)
        model = {**model, **{name: slower * model[name] for name in ("launch_s", "module_call_s") if name in model}}
        device = catalogue.find(self.rows[0].device)
        stated = {name: fact.value for name, fact in STATED[device.kind].items()}
        return self.predict_with(from_datasheet(device, {**stated, **_NODE, **model}, self.rows[0].clock_hz).model)

    def predict_with(self, model: EnergyModel) -> tuple[Floats, Floats]:
        """The same on the machine that `model` describes, waiting for the rows' data loader included.

        On a GPU the loader works beside the device (`OVERLAP`); on a CPU it takes the same cores.
        """
        if self.rows[0].graphed:
            model = replace(model, launching=replace(model.launching, launch_s=0.0, module_call_s=0.0))
        if self.rows[0].limit_w is not None:
            model = replace(model, power=replace(model.power, limit_w=self.rows[0].limit_w))
        if self.rows[0].burst:
            model = replace(model, power=replace(model.power, limit_w=math.inf))
        if not self.rows[0].multi_tensor:
            model = replace(model, launching=replace(model.launching, tensors_per_optimizer_launch=1))
        phases = phases_of(summed(roofline(self.columns, model), self.columns), model)
        alone, energy = phases.time_s.sum(axis=1), phases.energy_j.sum(axis=1)
        floor = np.array([row.floor_s for row in self.rows])
        overlapped = (alone**OVERLAP + floor**OVERLAP) ** (1 / OVERLAP)
        duration = overlapped if model.asynchronous else alone + floor
        return energy + model.power.static_w * (duration - alone), duration


def machines(rows: Sequence[Row]) -> list[Machine]:
    """`rows` by what they ran on, in the order of the first of each."""
    by: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        by.setdefault(
            (row.device, row.clock_hz, row.multi_tensor, row.graphed, row.burst, row.limit_w, row.host), []
        ).append(row)
    return [Machine(tuple(of)) for of in by.values()]


def predictions(rows: Sequence[Row], model: Model) -> tuple[Floats, Floats]:
    """(joules, seconds) of one batch of each of `rows` under the coefficients `model`."""
    found: dict[int, tuple[float, float]] = {}
    for machine in machines(rows):
        joules, seconds = machine.predict(model)
        found |= dict(zip(map(id, machine.rows), zip(joules.tolist(), seconds.tolist(), strict=True), strict=True))
    pairs = np.array([found[id(row)] for row in rows]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def starting(kind: DeviceKind) -> dict[str, float]:
    """Where the coefficients of `kind` start."""
    return {name: coefficient.start for name, coefficient in COEFFICIENTS[kind].items()}


def _weights(rows: Sequence[Row]) -> dict[int, float]:
    """Of each row by its identity: over `NOISE`, and by how many there are of its sort."""
    counts = Counter(row.sort for row in rows)
    return {id(row): math.sqrt(min(counts[row.sort], MOST_ROWS) / counts[row.sort]) / NOISE for row in rows}


def fit(rows: Sequence[Row], kind: DeviceKind, prior: Model | None = None) -> dict[str, float]:
    """The coefficients that price `rows` (all of devices of one kind) best, drawn to where they start.

    With a `prior`, the rows are one machine's, and its coefficients are drawn to the prior's (`OWN`). Without one, each
    host that is known gets a factor, "host NAME".
    """
    table = COEFFICIENTS[kind]
    hosts = [f"host {name}" for name in sorted({row.host for row in rows if row.host})] if prior is None else []
    names = [*table, *hosts]
    caps = np.array([*np.log([table[n].cap for n in table]), *(math.inf for _ in hosts)])
    drawn_to = np.log([(prior or starting(kind))[n] for n in table])
    center = np.minimum(np.array([*drawn_to, *(0.0 for _ in hosts)]), caps - 1e-9)
    widths = np.log([*(table[n].factor for n in table), *(HOSTS for _ in hosts)])
    width = (OWN if prior else 1.0) * widths
    weights, parts = _weights(rows), []
    for machine in machines(rows):
        weight = np.array([weights[id(row)] for row in machine.rows])
        energy = np.log([row.energy_j or np.nan for row in machine.rows])
        duration = np.log([row.duration_s or np.nan for row in machine.rows])
        parts.append((machine, np.concatenate([weight, weight]), np.concatenate([energy, duration])))

    def residuals(x: Floats) -> Floats:
        model = dict(zip(names, np.exp(x).tolist(), strict=True))
        found = [(x - center) / width]
        for machine, weight, measured in parts:
            errors = weight * (np.log(np.concatenate(machine.predict(model))) - measured)
            found.append(errors[~np.isnan(errors)])
        return np.concatenate(found)

    solution = least_squares(residuals, center, bounds=(-np.inf, caps), loss="soft_l1", x_scale=width, max_nfev=40)
    return dict(zip(names, np.exp(solution.x).tolist(), strict=True))
