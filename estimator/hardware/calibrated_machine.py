"""What a calibration learned of one machine: its facts, as a profile file keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from estimator.energy.op_times import OpTimes


@dataclass(frozen=True)
class HeldOutError:
    """How far predictions missed networks that the fit had not seen. `spread`: of log(measured / predicted)."""

    networks: int
    median_ape: float
    mean_ape: float
    spread: float


@dataclass(frozen=True)
class Power:
    """What the device draws, fitted on measured joules; factors on the terms of the profile that it starts from.

    `factors`: of "static", "active", "byte" and of the rates ("float32", "tf32", "bfloat16", "vector", ...).
    `class_w`: watts beyond that while ops of a class run (`estimator.energy.columns.OP_CLASSES`).
    """

    status: str
    factors: Mapping[str, float]
    class_w: Mapping[str, float]
    error: HeldOutError


@dataclass(frozen=True)
class CalibratedMachine:
    """What a calibration learned. `device_name`: as its driver names it; `catalogue_name`: the profile it builds on.

    `errors` by "inference" and "training", of durations; `power` is None where no meter read joules.
    `learning_curve`: (minutes, median absolute error of unseen networks). `disturbed`: of the `networks`, those beside
    which other work ran. `pace_s`: what `calibration.measuring.pace` took at the machine's usual pace; empty where not
    known.
    """

    name: str
    device: str
    device_name: str
    catalogue_name: str
    logical_cpus: int
    threads: int
    created: str
    machine_id: str
    software: Mapping[str, str]
    meter: str
    seconds: float
    networks: int
    dtypes: tuple[str, ...]
    errors: Mapping[str, HeldOutError]
    learning_curve: tuple[tuple[float, float], ...]
    power: Power | None
    op_times: OpTimes
    disturbed: int = 0
    pace_s: tuple[float, ...] = ()
