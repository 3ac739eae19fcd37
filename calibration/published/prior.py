"""Fit the device-independent coefficients of `estimator.hardware.datasheet`, and say how well they carry over.

    python -m calibration.published.prior DIRECTORY            # fit, leave each device out, print
    python -m calibration.published.prior DIRECTORY --write estimator/data/datasheet_model.toml

How: `calibration.published.coefficients`. How far off for a device that nobody measured: `calibration.proof.held_out`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from calibration.learning.spreads import Z, spread_of, spread_of_devices
from calibration.published import beside as others
from calibration.published import other_vendors
from calibration.published.coefficients import COEFFICIENTS, Model, fit, kind_of, predictions
from calibration.published.left_out import (
    TARGETS,
    HeldOut,
    devices_left_out,
    errors,
    errors_by_device,
    networks_left_out,
)
from calibration.published.network_rows import is_network
from calibration.published.rows import Row, read
from calibration.published.stated import STATED, DeviceKind
from calibration.published.vendors import vendor_facts
from estimator.base.atomic import write_text
from estimator.base.facts import Fact
from estimator.hardware import catalogue

SOURCES = "raphischer/imagenet-energy-efficiency and yifueve/energaizer-ispass26-artifact, both MIT"
OTHER_SOURCES = (
    "ai-dynamo/aiconfigurator, huggingface/pytorch-image-models, mosaicml/llm-foundry and ml-energy/zeus, Apache-2.0; "
    "sitar-lab/NeuSight and ryujaehun/pytorch-gpu-benchmark, MIT"
)

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


def summary(log_errors: Sequence[float] | NDArray[np.float64]) -> str:
    """Mean and median absolute percentage error, the bias as a factor, and the root mean square log error."""
    found = np.asarray(log_errors)
    ape = np.abs(np.expm1(found))
    return (
        f"mean {ape.mean():6.1%}  median {np.median(ape):6.1%}  bias x{np.exp(found.mean()):.2f}  "
        f"rms log {np.sqrt(np.mean(found**2)):.2f}  n={len(found)}"
    )


def show(held: Sequence[HeldOut], tag: str) -> None:
    """Print the errors by device and phase."""
    for sort in dict.fromkeys(h.row.sort for h in held):
        of = [h for h in held if h.row.sort == sort]
        for target in TARGETS:
            if found := errors(of, target):
                print(f"{tag:>11} {' '.join(sort):52} {target:9} {summary(found)}", flush=True)


def in_sample(rows: Sequence[Row], model: Model) -> list[HeldOut]:
    """Predictions of the fit for its own rows."""
    pairs = zip(rows, *predictions(rows, model), strict=True)
    return [HeldOut(row, "", float(joules), float(seconds)) for row, joules, seconds in pairs]


def training_spread(held: Sequence[HeldOut], few: float) -> float:
    """What training adds to the spread of inference (as independent errors), on machines that have both."""
    trained = {h.row.device for h in held if h.row.phase == "training"}
    of = [h for h in held if h.row.device in trained]
    spreads = [spread_of(errors((h for h in of if h.row.phase == p), "energy"), few) for p in ("training", "inference")]
    return math.sqrt(max(0.0, spreads[0] ** 2 - spreads[1] ** 2))


def gpu_spreads(rows: Sequence[Row], beside: Sequence[Row], model: Model, foreign: Sequence[Row]) -> dict[str, Fact]:
    """Spreads for a GPU that the fit has not seen, of other vendors too, and of a training step on any device."""
    held, by_network = devices_left_out([*rows, *beside], "gpu"), networks_left_out(rows, "gpu", beside)
    show(held, "left out")
    by_device = [h for h in held if is_network(h.row)]
    left_out = (
        "each device left out of the fit in turn: its networks' mean error as one draw of few (Student's t), and the "
        f"90% quantile of its rows' errors about that, over {Z:.3f}; {SOURCES}; {OTHER_SOURCES}"
    )
    spreads = {target: spread_of_devices(errors_by_device(by_device, target)) for target in TARGETS}
    trained = (
        "root of the difference of squares of held-out training and inference errors, Quadro RTX 5000 (7 and 12 rows); "
        "raphischer/imagenet-energy-efficiency, MIT"
    )
    return {
        **{f"{target}_spread": Fact(spread, "1", left_out, "published") for target, spread in spreads.items()},
        "training_spread": Fact(
            training_spread(by_network, spread_of(errors(by_device, "energy"))), "1", trained, "published"
        ),
        **vendor_facts(model, foreign, held),
    }


def cpu_spreads(rows: Sequence[Row], gpu: Mapping[str, Fact]) -> dict[str, Fact]:
    """Spreads for a CPU that the fit has not seen: one machine does not tell how CPUs differ."""
    held = networks_left_out(rows, "cpu")
    show(held, "left out")
    few = float(student_t.ppf(0.95, 1)) / Z
    why = (
        f"rms error of networks left out on one CPU, widened by Student's t for one device ({few:.2f}), and the "
        f"spread of GPUs left out, as independent errors; {SOURCES}"
    )
    spreads = {"training_spread": gpu["training_spread"]}
    for target in TARGETS:
        own = few * float(np.sqrt(np.mean(np.square(errors(held, target)))))
        spreads[f"{target}_spread"] = Fact(math.hypot(own, gpu[f"{target}_spread"].value), "1", why, "derived")
    return spreads


def toml_table(name: str, facts: Mapping[str, Fact]) -> str:
    """One table of a TOML file, a line for each fact."""
    lines = [
        f'{key} = {{ value = {f.value:.4g}, unit = "{f.unit}", source = "{f.source}", status = "{f.status}" }}'
        for key, f in facts.items()
    ]
    return "\n".join([f"[{name}]", *lines, ""])


def _rows_of(rows: Sequence[Row]) -> str:
    titles = dict.fromkeys(catalogue.find(row.device).title for row in rows)
    return f"{len(rows)} published rows of {', '.join(titles)}"


def main() -> None:
    """Fit and print; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration.published.prior", description="Fit the datasheet coefficients."
    )
    parser.add_argument("directory", type=Path, help="the folder of the published CSV files")
    parser.add_argument("--write", type=Path, metavar="TOML", help="write the coefficients to this file")
    arguments = parser.parse_args()
    rows, ops = list(read(arguments.directory)), others.read(arguments.directory)
    foreign = other_vendors.read(arguments.directory)
    text = "# Written by calibration/published/prior.py; do not edit by hand.\n"
    gpu: dict[str, Fact] = {}
    kinds: tuple[DeviceKind, ...] = ("gpu", "cpu")
    for kind in kinds:
        of_kind = [row for row in rows if kind_of(row) == kind]
        beside = ops if kind == "gpu" else []
        model = fit([*of_kind, *beside], kind)
        print(f"\n{kind}: " + ", ".join(f"{name} {value:.3g}" for name, value in model.items()))
        show(in_sample(of_kind, model), "in sample")
        fitted = f"fitted by calibration/published/prior.py on {_rows_of(of_kind)}: {SOURCES}"
        source = f"{fitted}; and on {_rows_of(beside)}: {OTHER_SOURCES}" if beside else fitted
        facts = {
            name: Fact(value, COEFFICIENTS[kind][name].unit, source, "published")
            for name, value in model.items()
            if name in COEFFICIENTS[kind]
        }
        spreads = gpu = gpu_spreads(of_kind, ops, model, foreign) if kind == "gpu" else cpu_spreads(of_kind, gpu)
        text += toml_table(kind, {**facts, **spreads, **STATED[kind], **NODE}) + "\n"
    if arguments.write:
        write_text(arguments.write, text)


if __name__ == "__main__":
    main()
