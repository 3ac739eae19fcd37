"""Fit the published machines' own coefficients, to be shipped in place of the rows.

    python -m calibration.published.machines DIRECTORY
    python -m calibration.published.machines DIRECTORY --write estimator/data/published_machines.toml

The prior's code on one machine's rows, each coefficient drawn to the prior (`calibration.published.coefficients.fit`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from calibration.learning.spreads import spread_of
from calibration.published import beside
from calibration.published.coefficients import Model, fit, kind_of
from calibration.published.left_out import TARGETS, HeldOut, devices_left_out, errors, networks_left_out
from calibration.published.prior import in_sample, show
from calibration.published.rows import Row, read
from calibration.published.stated import DeviceKind
from estimator.base.atomic import write_text
from estimator.hardware import catalogue


@dataclass(frozen=True)
class Origin:
    """Who measured the rows of a file, and under which conditions."""

    source: str
    conditions: str


IMAGENET = Origin(
    "raphischer/imagenet-energy-efficiency (MIT)",
    "torchvision CNNs in float32, batch 32, PyTorch 1.10, clock not locked, host Xeon W-2155",
)
ENERGAIZER = Origin(
    "yifueve/energaizer-ispass26-artifact (MIT)",
    "BERT-large, GPT-2, ViT-large and ResNet-101, inference, bfloat16 and float32, SM clock locked at 900 MHz",
)


@dataclass(frozen=True)
class Fitted:
    """One machine's coefficients, what they were fitted on, and its held-out predictions."""

    device: str
    rows: tuple[Row, ...]
    coefficients: Mapping[str, float]
    held: tuple[HeldOut, ...]
    few: float

    @property
    def origin(self) -> Origin:
        """Where the rows are from: only one source locked the clock."""
        return IMAGENET if self.rows[0].clock_hz is None else ENERGAIZER

    def spreads(self) -> Iterator[tuple[str, float]]:
        """Spreads of inference, and of training where the machine has trained."""
        inference = [h for h in self.held if h.row.phase == "inference"]
        for target in TARGETS:
            yield f"{target}_spread", spread_of(errors(inference, target), self.few)

    def held_out_error(self) -> Iterator[tuple[str, float]]:
        """Mean absolute percentage error of the energy, each network left out in turn, by phase."""
        for phase in dict.fromkeys(row.phase for row in self.rows):
            found = errors((h for h in self.held if h.row.phase == phase), "energy")
            yield phase, float(np.abs(np.expm1(found)).mean())


def fit_machines(rows: Sequence[Row], kind: DeviceKind, ops: Sequence[Row] = ()) -> Iterator[Fitted]:
    """Every machine of `rows`, with its own coefficients, drawn to a prior that has seen `ops` of other sources too."""
    prior: Model = fit([*rows, *ops], kind)
    held = networks_left_out(rows, kind, ops)
    few = spread_of(errors(devices_left_out(rows, kind, ops), "energy"))
    for device in dict.fromkeys(row.device for row in rows):
        own = tuple(row for row in rows if row.device == device)
        left_out = tuple(h for h in held if h.row.device == device)
        yield Fitted(catalogue.find(device).name, own, fit(own, kind, prior), left_out, few)


def toml_text(machine: Fitted) -> str:
    """The machine's table: source, conditions, errors, coefficients (units in their names, or shares)."""
    clock = machine.rows[0].clock_hz
    found = ", ".join(f"{phase} = {error:.3f}" for phase, error in machine.held_out_error())
    numbers = {**machine.coefficients, **dict(machine.spreads())}
    source = (
        f"fitted by calibration/published/machines.py on {len(machine.rows)} published rows: {machine.origin.source}"
    )
    return "\n".join(
        [
            f"[{machine.device}]",
            f'source = "{source}"',
            f'conditions = "{machine.origin.conditions}"',
            *([f"clock_hz = {clock:.4g}"] if clock else []),
            f"held_out_error = {{ {found} }}  # mean absolute percentage error of the energy, networks left out",
            "",
            f"[{machine.device}.coefficients]",
            *(f"{name} = {value:.4g}" for name, value in numbers.items()),
            "launch_spread = 0.0",
            "",
        ]
    )


def main() -> None:
    """Fit and print; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration.published.machines", description="Fit the published machines."
    )
    parser.add_argument("directory", type=Path, help="the folder of the published CSV files")
    parser.add_argument("--write", type=Path, metavar="TOML", help="write the coefficients to this file")
    arguments = parser.parse_args()
    rows, ops = list(read(arguments.directory)), beside.read(arguments.directory)
    text = (
        "# Written by calibration/published/machines.py; do not edit by hand. Coefficients as in\n"
        "# datasheet_model.toml, fitted on one machine's rows, in place of that file's. launch_spread is 0: the rows\n"
        "# were taken with its host.\n\n"
    )
    kinds: tuple[DeviceKind, ...] = get_args(DeviceKind)
    for kind in kinds:
        for machine in fit_machines([row for row in rows if kind_of(row) == kind], kind, ops if kind == "gpu" else ()):
            moved = ", ".join(f"{name} {value:.3g}" for name, value in machine.coefficients.items())
            print(f"\n{machine.device}: {moved}")
            show(in_sample(machine.rows, machine.coefficients), "in sample")
            show(machine.held, "left out")
            text += toml_text(machine) + "\n"
    if arguments.write:
        write_text(arguments.write, text)


if __name__ == "__main__":
    main()
