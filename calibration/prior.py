"""Fit the device-independent coefficients of `estimator.hardware` on published rows, and tell how well they carry over.

    python -m calibration.prior DIRECTORY            # fit, leave each device out, print
    python -m calibration.prior DIRECTORY --write estimator/data/datasheet_model.toml

The same energy model that the product prices with is fitted (`estimator.energy.price`), so that the two cannot differ.
Least squares on log(predicted / measured) of energy and duration, each device weighing the same, drawn to stated
starting values where the rows say little.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import t as student_t

from calibration.published import Row, read
from estimator import catalogue
from estimator.atomic import write_text
from estimator.energy import price
from estimator.facts import Fact
from estimator.hardware import from_datasheet

DeviceKind = Literal["gpu", "cpu"]
Floats = NDArray[np.float64]


_Z = 1.6448536269514722  # the standard normal's 95% quantile, by which `estimator.uncertainty` reads a spread

STATED: Mapping[DeviceKind, Mapping[str, Fact]] = {
    "gpu": {
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
        "tensors_per_optimizer_launch": Fact(1, "1", "PyTorch's optimizers loop over parameters on a CPU", "published"),
        "kernel_s": Fact(0, "s", "an op on a CPU starts when the host calls it: launch_s holds it all", "derived"),
        "launch_spread": Fact(0, "1", "held by energy_spread and duration_spread, which are wider", "default"),
        "voltage_exponent": Fact(1, "1", "no published CPU row has a locked clock, so it is never used", "default"),
        "host_clock_hz": Fact(2.1e9, "Hz", "nominal clock of the machine that launch_s was measured on", "measured"),
        "launch_s": Fact(
            4.0e-6, "s", "python -m benchmarks dispatch, mean over forward, backward and Adam; torch 2.13", "measured"
        ),
        "module_call_s": Fact(0.9e-6, "s", "python -m benchmarks dispatch; torch 2.13", "measured"),
    },
}
"""Coefficients that the rows cannot tell, with their sources."""

NODE = {
    "host_share": Fact(
        0.36,
        "1",
        "wall meter over software readings of CNN runs on one desktop: 1.31 to 1.42 (interquartile range), its middle",
        "published",
    ),
    "host_spread": Fact(0.06, "1", "the same range as a standard deviation: log(1.42 / 1.31) / 1.349", "derived"),
}
"""What the rest of the node draws, as a share of the device's energy, and how sure that is (of its logarithm)."""


@dataclass(frozen=True)
class Coefficient:
    """A coefficient to fit: where it starts, how far it is let go (a factor, one standard deviation), and its cap."""

    start: float
    factor: float
    cap: float
    unit: str


_UNUSED = dict.fromkeys(
    ("host_share", "host_spread", "energy_spread", "duration_spread", "launch_spread"), 0.0
)  # no part of a device's own joules
_SHARE = "1"
_EFFICIENCY = {
    "conv_efficiency": Coefficient(0.6, 1.5, 1.0, _SHARE),
    "matmul_efficiency": Coefficient(0.7, 1.3, 1.0, _SHARE),
    "attention_efficiency": Coefficient(0.4, 1.5, 1.0, _SHARE),
    "bandwidth_efficiency": Coefficient(0.6, 1.4, 0.95, _SHARE),
}
_POWER = {
    "flop_power_share": Coefficient(0.5, 1.5, 1.0, _SHARE),
    "byte_power_share": Coefficient(0.5, 2.0, 1.5, _SHARE),
}
COEFFICIENTS: Mapping[DeviceKind, Mapping[str, Coefficient]] = {
    "gpu": {
        **_EFFICIENCY,
        "conv_efficiency_matrix": Coefficient(0.4, 1.5, 1.0, _SHARE),
        "matmul_efficiency_matrix": Coefficient(0.6, 1.3, 1.0, _SHARE),
        "attention_efficiency_matrix": Coefficient(0.3, 2.0, 1.0, _SHARE),
        **_POWER,
        "matrix_flop_power_share": Coefficient(0.6, 1.5, 1.5, _SHARE),
        "static_power_share": Coefficient(0.18, 1.2, 0.5, _SHARE),
        "voltage_exponent": Coefficient(1.0, 1.3, 2.0, _SHARE),
        "kernel_s": Coefficient(4e-6, 1.5, 1.0, "s"),
        "launch_s": Coefficient(8e-6, 2.0, 1.0, "s"),
        "module_call_s": Coefficient(8e-6, 2.0, 1.0, "s"),
    },
    "cpu": {
        **_EFFICIENCY,
        **_POWER,
        "static_power_share": Coefficient(0.6, 1.3, 1.0, _SHARE),
    },
}


def _prediction(row: Row, model: Mapping[str, float]) -> tuple[float, float]:
    """(joules, seconds) of one batch of `row` under the coefficients `model`; a data loader may make it wait."""
    device = catalogue.find(row.device)
    stated = {name: fact.value for name, fact in STATED[device.kind].items()}
    profile = from_datasheet(device, {**_UNUSED, **stated, **model}, row.clock_hz)
    estimate = price(row.workload, profile)
    waiting_s = max(0.0, row.floor_s - estimate.duration_s.value)
    return (
        estimate.energy_j.value + profile.static_power_w * waiting_s,
        estimate.duration_s.value + waiting_s,
    )


def _errors(rows: Sequence[Row], model: Mapping[str, float]) -> tuple[Floats, Floats]:
    """log(predicted / measured) of energy, and of duration where it was measured."""
    energy, duration = [], []
    for row in rows:
        joules, seconds = _prediction(row, model)
        energy.append(np.log(joules / row.energy_j))
        if row.duration_s:
            duration.append(np.log(seconds / row.duration_s))
    return np.array(energy), np.array(duration)


def fit(rows: Sequence[Row], kind: DeviceKind) -> dict[str, float]:
    """The coefficients that price `rows` (all of devices of one kind) best."""
    table = COEFFICIENTS[kind]
    names = list(table)
    start = np.log([table[n].start for n in names])
    width = np.log([table[n].factor for n in names])
    caps = np.log([table[n].cap for n in names])
    weight = {device: 1 / np.sqrt(count) for device, count in Counter(row.device for row in rows).items()}

    def residuals(x: Floats) -> Floats:
        model = dict(zip(names, np.exp(x).tolist(), strict=True))
        fitted = []
        for row in rows:
            joules, seconds = _prediction(row, model)
            fitted.append(weight[row.device] * np.log(joules / row.energy_j))
            if row.duration_s:
                fitted.append(weight[row.device] * np.log(seconds / row.duration_s))
        return np.concatenate([np.array(fitted) / 0.15, (x - start) / width])

    solution = least_squares(residuals, start, bounds=(-np.inf, caps), loss="soft_l1", x_scale=width)
    return dict(zip(names, np.exp(solution.x).tolist(), strict=True))


def summary(log_errors: Floats) -> str:
    """Mean and median absolute percentage error, the bias as a factor, and the root mean square log error."""
    ratio = np.exp(log_errors)
    ape = np.abs(ratio - 1)
    return (
        f"mean {ape.mean():6.1%}  median {np.median(ape):6.1%}  bias x{np.exp(log_errors.mean()):.2f}  "
        f"rms log {np.sqrt(np.mean(log_errors**2)):.2f}  n={len(ratio)}"
    )


def _by_phase(rows: Sequence[Row], model: Mapping[str, float], tag: str) -> None:
    for device in dict.fromkeys(row.device for row in rows):
        for phase in ("inference", "training"):
            subset = [row for row in rows if row.device == device and row.phase == phase]
            if subset:
                energy, duration = _errors(subset, model)
                print(f"{tag:>11} {device:24} {phase:9} energy    {summary(energy)}")
                if len(duration):
                    print(f"{'':>11} {'':24} {'':9} duration  {summary(duration)}")


def spreads(rows: Sequence[Row], kind: DeviceKind) -> tuple[float, float]:
    """Spreads of log(predicted / measured), of energy and duration, for a device that the fit has not seen.

    Root mean square over devices, each left out of the fit in turn (with one device: of the fit itself), widened by
    Student's t for so few devices: t(95%, number of devices) / z(95%).
    """
    devices = list(dict.fromkeys(row.device for row in rows))
    energy, duration = [], []
    for device in devices:
        others = [row for row in rows if row.device != device]
        model = fit(others or rows, kind)
        unseen = [row for row in rows if row.device == device]
        _by_phase(unseen, model, "left out")
        of_energy, of_duration = _errors(unseen, model)
        energy.append(np.mean(of_energy**2))
        duration.append(np.mean(of_duration**2))
    few = float(student_t.ppf(0.95, len(devices))) / _Z
    return few * float(np.sqrt(np.mean(energy))), few * float(np.sqrt(np.mean(duration)))


_SOURCE = (
    "fitted by calibration/prior.py on {n} published rows of {devices}: raphischer/imagenet-energy-efficiency and "
    "yifueve/energaizer-ispass26-artifact, both MIT"
)


def _toml(kind: DeviceKind, model: Mapping[str, float], rows: Sequence[Row]) -> str:
    """The table of one kind: fitted coefficients, spreads, and the stated ones."""
    devices = list(dict.fromkeys(row.device for row in rows))
    source = _SOURCE.format(n=len(rows), devices=", ".join(devices))
    energy_spread, duration_spread = spreads(rows, kind)
    seen = "each device left out of the fit in turn" if len(devices) > 1 else "the one device fitted"
    error = f"rms log error of {seen}, widened by Student's t for {len(devices)} device(s); {source}"
    facts = {name: Fact(value, COEFFICIENTS[kind][name].unit, source, "published") for name, value in model.items()}
    facts["energy_spread"] = Fact(energy_spread, "1", error, "published")
    facts["duration_spread"] = Fact(duration_spread, "1", error, "published")
    facts |= {**STATED[kind], **NODE}
    lines = [
        f'{name} = {{ value = {f.value:.4g}, unit = "{f.unit}", source = "{f.source}", status = "{f.status}" }}'
        for name, f in facts.items()
    ]
    return "\n".join(["# Written by calibration/prior.py; do not edit by hand.", f"[{kind}]", *lines, ""])


def main() -> None:
    """Fit and print; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m calibration.prior", description="Fit the datasheet coefficients.")
    parser.add_argument("directory", type=Path, help="the folder of the published CSV files")
    parser.add_argument("--write", type=Path, metavar="TOML", help="write the coefficients to this file")
    arguments = parser.parse_args()
    rows = list(read(arguments.directory))
    text = ""
    for kind in COEFFICIENTS:
        of_kind = [row for row in rows if catalogue.find(row.device).kind == kind]
        model = fit(of_kind, kind)
        print(f"\n{kind}: " + ", ".join(f"{name} {value:.3g}" for name, value in model.items()))
        _by_phase(of_kind, model, "in sample")
        text += _toml(kind, model, of_kind) + "\n"
    if arguments.write:
        write_text(arguments.write, text)


if __name__ == "__main__":
    main()
