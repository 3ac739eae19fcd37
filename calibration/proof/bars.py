"""What is asked of predictions, and what they reach: one row a case, each predicted without having been seen.

python -m calibration.proof.bars DIRECTORY                     # every case, a quarter of an hour
python -m calibration.proof.bars DIRECTORY --json build/bars.json

"device": the device is left out of the fit, its network left in; "network": the network (of torchvision its family) is
left out of its device's fit and of what that is drawn to. Beside ours stands one constant: seconds or joules of each
row's FLOPs over the data sheet's peak and bytes over its bandwidth, times what the rows that were not left out need.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from calibration.learning.spreads import spread_of, spread_of_devices
from calibration.published import beside
from calibration.published.coefficients import kind_of
from calibration.published.left_out import HeldOut, devices_left_out, networks_left_out
from calibration.published.network_rows import is_network
from calibration.published.rows import Row, read
from estimator.base.atomic import write_text
from estimator.energy.uncertainty import log_normal
from estimator.hardware import catalogue

Of = Literal["time", "energy", "power"]
LeftOut = Literal["device", "network"]
Picks = Callable[[Row], bool]

LEAST_JUDGED = 9
"""Of fewer rows inside their intervals no share is told: all 8 of 8 are inside at a true 75% one time in ten."""


@dataclass(frozen=True)
class Asked:
    """A case: rows that `picks` takes, what of them is predicted, and the mean error that is asked for.

    `worst`: asked of the worst device, where that is more. `relative`: to the same run at the board's own power limit.
    `peer`: what a published method reaches, and whose it is.
    """

    name: str
    of: Of
    left_out: LeftOut
    bar: float
    picks: Picks
    worst: float | None = None
    relative: bool = False
    peer: str = ""


@dataclass(frozen=True)
class Reached:
    """What a device reaches in a case: mean absolute percentage error and bias (a factor) of ours, the constant's
    error, and the share of rows inside their 90% intervals; the last two None where there is no such thing."""

    case: str
    of: Of
    left_out: LeftOut
    device: str
    n: int
    mean_ape: float
    bias: float
    constant: float | None
    coverage_90: float | None


def _sort(source: str, phase: str = "", *devices: str) -> Picks:
    """Rows of a source, of a phase, and of devices where some are named."""

    def picks(row: Row) -> bool:
        named = not devices or any(device in row.device for device in devices)
        return named and row.sort[1] == source and phase in ("", row.phase)

    return picks


def _at_the_top(row: Row) -> bool:
    return row.limit_w == _board_w(row)


def _board_w(row: Row) -> float:
    return float(catalogue.find(row.device).facts["tdp_w"].value)


def _with_joules(phase: str) -> Picks:
    """Rows of a phase, of the machines that measured joules of many networks."""
    return lambda row: row.energy_j is not None and row.limit_w is None and is_network(row) and row.phase == phase


_OLD = ("2080-ti", "titan-xp")
_NEUSIGHT = "NeuSight 7%"
CASES = (
    Asked("bfloat16 products", "time", "device", 0.13, _sort("ops", "products"), worst=0.20),
    Asked("causal attention", "time", "device", 0.20, _sort("ops", "attention"), worst=0.35),
    Asked("decoding attention", "time", "device", 0.25, _sort("ops", "decode")),
    Asked("float32 ops, forward", "time", "device", 0.15, _sort("ops", "float32 forward", "nvidia"), peer=_NEUSIGHT),
    Asked("float32 ops, backward", "time", "device", 0.15, _sort("ops", "float32 backward", "nvidia"), peer=_NEUSIGHT),
    Asked("float32 ops, forward, AMD", "time", "device", 0.30, _sort("ops", "float32 forward", "amd")),
    Asked("float32 ops, backward, AMD", "time", "device", 0.30, _sort("ops", "float32 backward", "amd")),
    Asked("timm, AMP, inference", "time", "device", 0.25, _sort("timm", "inference")),
    Asked("timm, AMP, training", "time", "device", 0.25, _sort("timm", "training")),
    Asked("language models, training", "time", "device", 0.25, _sort("decoders")),
    Asked("torchvision, inference", "time", "device", 0.30, _sort("torchvision", "inference", *_OLD)),
    Asked("torchvision, training", "time", "device", 0.30, _sort("torchvision", "training", *_OLD)),
    Asked("training at the top limit", "energy", "device", 0.15, lambda r: r.limit_w is not None and _at_the_top(r)),
    Asked("training along power limits", "time", "device", 0.10, _sort("limited"), relative=True),
    Asked("training along power limits", "energy", "device", 0.10, _sort("limited"), relative=True),
    Asked("inference", "energy", "device", 0.15, _with_joules("inference")),
    Asked("training", "energy", "device", 0.15, _with_joules("training")),
    Asked("inference", "energy", "network", 0.08, _with_joules("inference")),
    Asked("training", "energy", "network", 0.115, _with_joules("training")),
    Asked("inference", "power", "network", 0.08, _with_joules("inference"), peer="energaizer 7.7%"),
    Asked("training", "power", "network", 0.08, _with_joules("training")),
)


def _amount(of: Of, joules: float | None, seconds: float | None) -> float | None:
    if of == "power":
        return None if joules is None or seconds is None else joules / seconds
    return joules if of == "energy" else seconds


def _ideal_s(row: Row) -> float:
    """Seconds of FLOPs at the data sheet's peak and of bytes at its bandwidth, one after the other."""
    device = catalogue.find(row.device)
    peak = device.flop_per_s(row.dtype) or device.flop_per_s("float32") or math.inf
    bandwidth = float(device.facts["bandwidth_bytes_per_s"].value)
    return row.workload.flops / peak + row.workload.bytes_moved / bandwidth


def _top(held: Sequence[HeldOut]) -> dict[tuple[str, str, int], HeldOut]:
    """The runs at the board's own limit, by what ran on what."""
    return {_run(h): h for h in held if _at_the_top(h.row)}


def _run(h: HeldOut) -> tuple[str, str, int]:
    return h.row.device, h.row.model, h.row.workload.batch_size


@dataclass(frozen=True)
class _Judged:
    """A row of a case: measured, predicted, and what one constant would be multiplied by."""

    held: HeldOut
    measured: float
    predicted: float
    ideal: float

    @property
    def log_error(self) -> float:
        return math.log(self.predicted / self.measured)


def _judged(asked: Asked, held: Sequence[HeldOut]) -> Iterator[_Judged]:
    top = _top(held) if asked.relative else {}
    for h in held:
        measured = _amount(asked.of, h.row.energy_j, h.row.duration_s)
        predicted = _amount(asked.of, h.energy_j, h.duration_s)
        if not asked.picks(h.row) or measured is None or predicted is None:
            continue
        ideal = _amount(asked.of, _board_w(h.row) * _ideal_s(h.row), _ideal_s(h.row)) or 1.0
        if asked.relative:
            base = top.get(_run(h))
            if base is None or base is h:
                continue
            measured /= _amount(asked.of, base.row.energy_j, base.row.duration_s) or math.nan
            predicted, ideal = predicted / (_amount(asked.of, base.energy_j, base.duration_s) or math.nan), 1.0
        yield _Judged(h, measured, predicted, ideal)


def _seen(asked: Asked, j: _Judged, every: Sequence[_Judged]) -> list[_Judged]:
    """Rows of the case that were not left out with `j`: of other devices, or its device's other networks."""
    row = j.held.row
    if asked.left_out == "device":
        return [o for o in every if o.held.row.device != row.device]
    return [o for o in every if o.held.row.device == row.device and o.held.group != j.held.group]


def _constant(asked: Asked, j: _Judged, every: Sequence[_Judged]) -> float | None:
    """What one constant predicts, of rows that were not left out; None where there are none."""
    if asked.relative:
        return 1.0
    other = _seen(asked, j, every)
    if not other:
        return None
    return j.ideal * math.exp(fmean(math.log(o.measured / o.ideal) for o in other))


def _inside(asked: Asked, j: _Judged, every: Sequence[_Judged]) -> bool | None:
    """Whether the measured value lies in the interval that the errors of other devices, or other networks, make."""
    if asked.relative or asked.of == "power":
        return None
    seen = _seen(asked, j, every)
    if len(seen) < LEAST_JUDGED:
        return None
    if asked.left_out == "device":
        devices = dict.fromkeys(o.held.row.device for o in seen)
        spread = spread_of_devices([o.log_error for o in seen if o.held.row.device == d] for d in devices)
    else:
        spread = spread_of([o.log_error for o in seen])
    interval = log_normal(j.predicted, spread)
    return interval.low <= j.measured <= interval.high


def reached(asked: Asked, held: Sequence[HeldOut]) -> Iterator[Reached]:
    """One line a device of a case."""
    every = list(_judged(asked, held))
    for device in dict.fromkeys(j.held.row.device for j in every):
        of = [j for j in every if j.held.row.device == device]
        constants = [(_constant(asked, j, every), j.measured) for j in of]
        apart = [abs(value / truth - 1) for value, truth in constants if value is not None]
        inside = [held_in for j in of if (held_in := _inside(asked, j, every)) is not None]
        yield Reached(
            asked.name,
            asked.of,
            asked.left_out,
            device,
            len(of),
            fmean(abs(math.expm1(j.log_error)) for j in of),
            math.exp(fmean(j.log_error for j in of)),
            fmean(apart) if apart else None,
            fmean(inside) if len(inside) >= LEAST_JUDGED else None,
        )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def table(cases: Sequence[Asked], found: Sequence[Reached]) -> str:
    """The cases as text of 80 columns: a line for each, with its bar, and one for each of its devices."""
    lines = [f"{'mean error':45}{'n':>5}{'ours':>7}{'bias':>6}{'const.':>8}{'in 90%':>8}"]
    for asked in cases:
        of = [r for r in found if (r.case, r.of, r.left_out) == (asked.name, asked.of, asked.left_out)]
        if not of:
            continue
        mean, worst = fmean(r.mean_ape for r in of), max(r.mean_ape for r in of)
        met = mean <= asked.bar and worst <= (asked.worst or math.inf)
        bar = f"bar {asked.bar:.4g}" + (f", worst {asked.worst:g}" if asked.worst else "")
        peer = f"; {asked.peer}" if asked.peer else ""
        lines.append(f"{asked.name}: {asked.of}, {asked.left_out} left out ({bar}{peer})")
        lines.append(f"  {'mean of devices':43}{sum(r.n for r in of):5}{mean:7.1%}{'met' if met else 'missed':>22}")
        lines += [
            f"    {r.device:41}{r.n:5}{r.mean_ape:7.1%}{r.bias:6.2f}{_share(r.constant):>8}{_share(r.coverage_90):>8}"
            for r in of
        ]
    return "\n".join(lines)


def held_out(directory: Path) -> list[tuple[LeftOut, list[HeldOut]]]:
    """Every row of `directory`, its device left out, and its network."""
    rows, others = list(read(directory)), beside.read(directory)
    gpus, cpus = ([row for row in rows if kind_of(row) == kind] for kind in ("gpu", "cpu"))
    return [
        ("device", devices_left_out([*gpus, *others], "gpu")),
        ("network", [*networks_left_out(gpus, "gpu", others), *networks_left_out(cpus, "cpu")]),
    ]


def main() -> None:
    """Print the table; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m calibration.proof.bars", description="Errors against their bars.")
    parser.add_argument("directory", type=Path, help="the folder of the published files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the lines to this file")
    arguments = parser.parse_args()
    held = dict(held_out(arguments.directory))
    found = [line for asked in CASES for line in reached(asked, held[asked.left_out])]
    print(table(CASES, found))
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(line) for line in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
