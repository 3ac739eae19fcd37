"""Predict a model on this machine, then run and measure it: is the profile still true?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from calibration.errors import CalibrationError
from calibration.machine import target_of
from calibration.measuring import energy_of, passes
from calibration.networks import Network, with_data
from calibration.stopwatch import stopwatch_of
from calibration.timing import Run
from estimator.energy import price
from estimator.errors import FOREIGN_ERRORS
from estimator.footprint import as_loaded, input_specs, workload_of
from estimator.hardware import HardwareProfile
from estimator.inputs import build_inputs
from estimator.scenario import Scenario
from estimator.selection import choose
from estimator.uncertainty import Interval

Quantity = Literal["duration", "energy"]


@dataclass(frozen=True)
class Check:
    """One prediction beside its measurement, for one batch: seconds or joules. `measured` is None without a meter."""

    phase: str
    quantity: Quantity
    unit: str
    predicted: Interval
    measured: float | None
    status: str
    scatter: float | None
    hardware: str

    @property
    def error(self) -> float | None:
        """predicted / measured - 1."""
        return None if self.measured is None else self.predicted.value / self.measured - 1

    @property
    def within(self) -> bool:
        """Whether the interval holds what was measured; True where nothing was."""
        return self.measured is None or self.predicted.low <= self.measured <= self.predicted.high


def _torch_device(profile: HardwareProfile) -> str:
    return profile.torch_device or ("cuda:0" if profile.asynchronous and torch.cuda.is_available() else "cpu")


def _run(network: Network, device: str, what: str) -> Run:
    try:
        return Run(with_data(network, device), stopwatch_of(device))
    except FOREIGN_ERRORS as error:
        raise CalibrationError(
            f"{what} cannot be run on {device} ({str(error)[:120]}): verify another model."
        ) from error


def _checks(
    module: nn.Module, network: Network, predicted: tuple[Interval, Interval], profile: HardwareProfile, phase: str
) -> list[Check]:
    device = _torch_device(profile)
    meters, stopwatch = target_of(device).meters, stopwatch_of(device)
    run = _run(network, device, phase)
    batch_s = run.warm_up()
    whole = run.whole(passes(batch_s)[0])
    joules, status = energy_of(run, whole.total_s, meters, stopwatch)
    seconds, energy = predicted
    return [
        Check(phase, "duration", "s", seconds, whole.total_s, "measured", whole.scatter, profile.name),
        Check(phase, "energy", "J", energy, joules, status, None, profile.name),
    ]


def verify(
    model: str,
    *,
    hardware: str = "auto",
    batch_size: int = 32,
    inference_batch_size: int = 1,
    inputs: Sequence[str] = (),
    dtype: str = "float32",
    optimizer: str = "adam",
    trust: bool = False,
) -> list[Check]:
    """Predict and measure one inference batch and one training step of `model` (as `estimate.model` takes it).

    Energies are those of the device. Weights are random: speed depends on shapes.
    """
    scenario = Scenario(
        hardware=hardware,
        batch_size=batch_size,
        inference_batch_size=inference_batch_size,
        inputs=tuple(inputs),
        dtype=dtype,
        optimizer=optimizer,
    )
    profile, _ = choose(scenario)
    found: list[Check] = []
    for phase, asked, used in (("inference", inference_batch_size, None), ("training", batch_size, optimizer)):
        loaded = as_loaded(model, trust=trust)  # anew: running gives it weights
        specs, _ = input_specs(loaded, scenario)
        batch = loaded.fixed_batch or asked
        workload = workload_of(loaded, specs, batch, scenario, training=used is not None)
        estimate = price(workload, profile)
        args, kwargs = build_inputs(specs, batch, getattr(torch, dtype))
        network = Network(loaded.name, used, dtype, loaded.module, tuple(args), dict(kwargs))
        found += _checks(loaded.module, network, (estimate.duration_s, estimate.energy_j), profile, phase)
    return found
