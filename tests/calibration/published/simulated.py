"""Rows of machines that obey the energy model with known coefficients: simulated truth."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from calibration.published.coefficients import machines, starting
from calibration.published.rows import Row
from estimator.workload.trace import TraceInputs, trace

TRUTH = {
    **starting("gpu"),
    "conv_efficiency": 0.5,
    "matmul_efficiency": 0.7,
    "bandwidth_efficiency": 0.6,
    "byte_power_share": 0.8,
    "unit_power_w": 1.0,
}


def _net(convolutions: int, width: int, hidden: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    for _ in range(convolutions):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1)]
    with torch.device("meta"):
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, hidden), nn.ReLU())


def row(name: str, device: str, net: nn.Module, batch: int, training: bool = False, **changes) -> Row:
    """A row of one batch; its energy and duration are not measured yet."""
    inputs = TraceInputs((torch.empty(batch, 3, 64, 64, device="meta"),), {}, batch)
    workload = trace(net, inputs, optimizer="momentum" if training else None)
    parameters = sum(p.numel() for p in net.parameters())
    phase = "training" if training else "inference"
    made = Row(device, f"torchvision/{name}", phase, "float32", workload, parameters, 1.0, 1.0, None, 0.0, True)
    return replace(made, **changes)


def measured(rows: list[Row], truth: dict[str, float]) -> list[Row]:
    """The rows with the joules and seconds that `truth` gives them."""
    found = {}
    for machine in machines(rows):
        joules, seconds = machine.predict(truth)
        found |= {id(r): (e, t) for r, e, t in zip(machine.rows, joules.tolist(), seconds.tolist(), strict=True)}
    return [replace(r, energy_j=found[id(r)][0], duration_s=found[id(r)][1]) for r in rows]


def rows() -> list[Row]:
    """Five families of two networks each on two devices, as `TRUTH` has them."""
    shapes = {
        "alpha": (2, 64, 512),
        "beta": (8, 32, 4096),
        "gamma": (1, 256, 128),
        "delta": (20, 16, 64),
        "eps": (3, 128, 8192),
    }
    made = [
        row(f"{name}{batch}", device, _net(*shape), batch)
        for device in ("rtx-2080-ti", "quadro-rtx-5000")
        for name, shape in shapes.items()
        for batch in (8, 64)
    ]
    return measured(made, TRUTH)
