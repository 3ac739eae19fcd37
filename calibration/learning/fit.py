"""From a record to a profile: ops, phases, power, and how far all that misses networks it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from calibration.errors import CalibrationError
from calibration.learning.learn import (
    Measured,
    group_spreads,
    learn_ops,
    seconds_of,
    unseen_predictions,
)
from calibration.learning.phases import learn_host, learn_overheads
from calibration.learning.power import learn_power
from calibration.learning.spreads import spread_of
from calibration.learning.steady import at_usual_pace, usual_pace_s
from calibration.measuring.running import draw
from calibration.measuring.samples import Record
from estimator.energy.op_times import OpTimes
from estimator.hardware.calibrated import base_of
from estimator.hardware.calibrated_machine import CalibratedMachine, HeldOutError

Floats = NDArray[np.float64]

FEWEST = 20
"""Networks that a profile needs."""

CURVE_MINUTES = (1.0, 2.0, 4.0, 8.0)


def measured_of(record: Record) -> list[Measured]:
    """The networks of a record with their ops, traced again."""
    found = []
    for sample in record.samples:
        drawn = draw(sample.seed, record.header.device, record.header.dtypes)
        if drawn is not None and len(drawn[1].ops) == len(sample.op_s):
            found.append(Measured.of(sample, drawn[1]))
    return found


def _overheads(times: OpTimes, networks: Sequence[Measured], predicted: Sequence[Floats], gpu: bool) -> OpTimes:
    learn = learn_host if gpu else learn_overheads
    return replace(times, overheads=learn(networks, predicted))


def _log_errors(
    times: OpTimes, networks: Sequence[Measured], predicted: Sequence[Floats], gpu: bool, *, training: bool
) -> list[float]:
    return [
        float(np.log(times.batch_s(network.workload, seconds, gpu) / network.sample.total_s))
        for network, seconds in zip(networks, predicted, strict=True)
        if network.training == training and network.sample.judged
    ]


def _with_spreads(times: OpTimes, networks: Sequence[Measured], predicted: Sequence[Floats], gpu: bool) -> OpTimes:
    """`times` with the spread of every group, and margins by which nine in ten networks not seen are inside."""
    spreads = group_spreads(networks, predicted)
    groups = {
        name: replace(group, spread=spreads.get(name, times.unseen_spread)) for name, group in times.groups.items()
    }
    times = replace(times, groups=groups)
    margins = {}
    for phase, training in (("inference", False), ("training", True)):
        chosen = [
            (n, s) for n, s in zip(networks, predicted, strict=True) if n.training == training and n.sample.judged
        ]
        expected = [times.predict(n.workload, n.described).spread for n, _ in chosen]
        errors = _log_errors(times, [n for n, _ in chosen], [s for _, s in chosen], gpu, training=training)
        margins[phase] = spread_of([e / s for e, s in zip(errors, expected, strict=True)]) if errors else 1.0
    return replace(times, margins=margins)


def _error(log_errors: Sequence[float]) -> HeldOutError:
    ape = [abs(float(np.exp(e)) - 1) for e in log_errors]
    return HeldOutError(len(ape), median(ape), fmean(ape), spread_of(log_errors)) if ape else HeldOutError(0, 1, 1, 1)


def _learning_curve(
    networks: Sequence[Measured], steady: Sequence[Measured], gpu: bool
) -> tuple[tuple[float, float], ...]:
    """(minutes, median absolute error) on the judged networks, when only the first minutes of others were measured."""
    aside = [network for network in networks if network.sample.judged]
    others = [network for network in steady if not network.sample.judged]
    curve, before = [], 0
    for minutes in CURVE_MINUTES:
        seen = [network for network in others if network.sample.at_s <= 60 * minutes]
        if len(seen) == before or len(seen) < FEWEST:
            continue
        before = len(seen)
        times = learn_ops(seen)
        times = _overheads(times, seen, [seconds_of(times, n) for n in seen], gpu)
        predicted = [seconds_of(times, n) for n in aside]
        errors = [e for t in (False, True) for e in _log_errors(times, aside, predicted, gpu, training=t)]
        reached = min(minutes, max(n.sample.at_s for n in seen) / 60)
        curve.append((round(reached, 2), median(abs(float(np.exp(e)) - 1) for e in errors)))
    return tuple(curve)


def _software() -> dict[str, str]:
    found = {}
    for package in ("joulecast", "torch", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def fit(record: Record, name: str, logical_cpus: int, meter: str) -> CalibratedMachine:
    """The profile of the machine of `record`. Raises `CalibrationError` where too little was measured."""
    networks = measured_of(record)
    if len(networks) < FEWEST:
        raise CalibrationError(
            f"only {len(networks)} networks were measured and a profile needs {FEWEST}: give it more --minutes."
        )
    header, gpu = record.header, record.header.device.startswith("cuda")
    base = base_of(header.device, header.device_name)
    with threadpool_limits(1):  # small fits: threads wait for each other
        steady = at_usual_pace(networks)
        predicted = unseen_predictions(steady)
        times = _overheads(learn_ops(steady), steady, predicted, gpu)
        times = _with_spreads(times, steady, predicted, gpu)
        curve = _learning_curve(networks, steady, gpu)
    errors = {
        phase: _error(_log_errors(times, networks, predicted, gpu, training=training))
        for phase, training in (("inference", False), ("training", True))
    }
    return CalibratedMachine(
        name=name,
        device=header.device,
        device_name=header.device_name,
        catalogue_name=base.name,
        logical_cpus=logical_cpus,
        threads=header.threads,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine_id=header.machine_id,
        software=_software(),
        meter=meter,
        seconds=max(network.sample.at_s for network in networks),
        networks=len(networks),
        disturbed=sum(network.sample.disturbed for network in networks),
        pace_s=usual_pace_s(networks),
        dtypes=header.dtypes,
        errors=errors,
        learning_curve=curve,
        power=learn_power(networks, predicted, base.model, record.idle_w),
        op_times=times,
    )
