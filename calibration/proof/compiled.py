"""How well the gain of `torch.compile` is predicted: the same networks of timm, eager and compiled, on one GPU.

    python -m calibration.proof.compiled DIRECTORY                # 40 networks, two minutes
    python -m calibration.proof.compiled DIRECTORY --networks 200

No compiled row is in any fit. Beside ours stands one constant: the median gain of the networks drawn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from calibration.published.network_rows import AMP, size_of, traced
from estimator.base.errors import JoulecastError
from estimator.energy.pricing import price
from estimator.hardware import catalogue
from estimator.hardware.datasheet import coefficients, from_datasheet
from estimator.sources import load
from estimator.sources.inputs import InputSpec

DEVICE = "nvidia-rtx-pro-6000-blackwell-max-q"
EAGER_FILE = "timm/benchmark-infer-amp-nchw-pt291-cu130-pro6000maxq.csv.gz"
COMPILED_FILE = "timm/benchmark-infer-amp-nchw-pt291-cu130-pro6000maxq-dynamo.csv.gz"
"""Of huggingface/pytorch-image-models (Apache-2.0): inference under autocast, in PyTorch 2.9."""

NETWORKS = 40
BAR = 0.15
"""The mean error that is asked for."""


@dataclass(frozen=True)
class Gain:
    """Eager seconds over compiled ones of a network's batch, as measured and as predicted."""

    network: str
    batch_size: int
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1


def gains(directory: Path, networks: int = NETWORKS) -> Iterator[Gain]:
    """Networks drawn from those that both files have at one batch size and picture, always the same ones."""
    import pandas as pd

    same = ["model", "infer_img_size", "infer_batch_size", "param_count"]
    eager, compiled = (pd.read_csv(directory / name) for name in (EAGER_FILE, COMPILED_FILE))
    pairs, found = eager.merge(compiled, on=same, suffixes=("", "_compiled")), 0
    facts = {name: fact.value for name, fact in coefficients()["gpu"].items()}
    model = from_datasheet(catalogue.find(DEVICE), facts).model
    for _, pair in pairs.sample(frac=1, random_state=0).iterrows():
        if found == networks:
            return
        spec, batch = InputSpec((3, int(pair.infer_img_size), int(pair.infer_img_size))), int(pair.infer_batch_size)
        try:
            module = load(f"timm:{pair.model}").module
            seconds = [
                price(traced(module, spec, batch, "float32", None, how), model).duration_s.value
                for how in (AMP, replace(AMP, compiled="default"))
            ]
        except JoulecastError:
            continue
        if abs(size_of(module) / 1e6 - pair.param_count) < 0.02 * pair.param_count:
            measured = float(pair.infer_step_time / pair.infer_step_time_compiled)
            yield Gain(pair.model, batch, measured, seconds[0] / seconds[1])
            found += 1


def table(found: Sequence[Gain]) -> str:
    """The gains as text of 80 columns, the worst first, and what they come to."""
    lines = [f"{'eager over compiled, seconds':44}{'batch':>8}{'measured':>10}{'ours':>8}{'error':>8}"]
    lines += [
        f"  {gain.network[:42]:42}{gain.batch_size:8}{gain.measured:10.2f}{gain.predicted:8.2f}{gain.error:8.0%}"
        for gain in sorted(found, key=lambda gain: -abs(gain.error))
    ]
    mean = fmean(abs(gain.error) for gain in found)
    bias = math.exp(fmean(math.log(gain.predicted / gain.measured) for gain in found))
    typical = median(gain.measured for gain in found)
    constant = fmean(abs(typical / gain.measured - 1) for gain in found)
    met = "met" if mean <= BAR else "missed"
    lines.append(f"{len(found)} networks: mean error {mean:.1%} (bar {BAR:.0%}: {met}), bias x{bias:.2f}")
    lines.append(f"one constant (x{typical:.2f}): mean error {constant:.1%}")
    return "\n".join(lines)


def main() -> None:
    """Print the table; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m calibration.proof.compiled", description="Gains of torch.compile.")
    parser.add_argument("directory", type=Path, help="the folder of the published files")
    parser.add_argument("--networks", type=int, default=NETWORKS, metavar="N", help="how many are drawn")
    arguments = parser.parse_args()
    print(table(list(gains(arguments.directory, arguments.networks))))


if __name__ == "__main__":
    main()
