"""How good predictions are: one table of everything that can be checked here, and `build/accuracy.json`.

python -m calibration.proof.validate DIRECTORY                       # published machines, then this machine's CPU
python -m calibration.proof.validate DIRECTORY --published-only      # no measuring, a minute or two
python -m calibration.proof.validate --profile gpu.profile.json      # a device that was calibrated before: check it
python -m calibration.proof.validate --again                         # what was measured then, by the model of today

A device of this machine is calibrated and checked in one run: known networks, in none of which anything was fitted, are
measured in rounds in the midst of the calibration, so that drift of a shared machine falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch

from calibration.errors import CalibrationError
from calibration.learning.fit import fit, measured_of
from calibration.learning.learn import Measured
from calibration.measuring.collect import collect, open_record
from calibration.measuring.machine import idle_power_w, target_of
from calibration.measuring.samples import read
from calibration.networks.known_networks import known_networks
from calibration.networks.random_networks import GENERATOR
from calibration.proof.accuracy import published_cases
from calibration.proof.baselines import BASELINES, THETA, linear
from calibration.proof.checking import Checked, measure_round, to_check
from calibration.proof.scores import Case, as_json, score, table
from calibration.published.left_out import Target
from estimator.base.atomic import write_text
from estimator.base.errors import JoulecastError
from estimator.energy.pricing import Estimate, price
from estimator.hardware.calibrated import profile_from
from estimator.hardware.calibrated_machine import CalibratedMachine
from estimator.hardware.profile_file import SUFFIX, load, save
from estimator.workload.ops import Workload
from profilers.errors import MeterError
from profilers.load import LoadPolicy

ROUNDS = 12
"""How often every known network is measured, spread over the calibration."""

SPLIT = "networks never calibrated on"


@dataclass(frozen=True)
class _Network:
    """What the baselines look at."""

    workload: Workload
    parameters: int


def parameters_of(workload: Workload) -> int:
    """Elements of weights that contractions, norms and embeddings read, as the forward ops show them."""
    return sum(
        math.prod(op.inputs[1])
        for op in workload.ops
        if op.phase == "forward" and op.kind in ("conv", "matmul", "rnn") and len(op.inputs) > 1
    )


def _truth(check: Checked, target: Target) -> float | None:
    return check.duration_s if target == "duration" else check.energy_j


def _value(estimate: Estimate, target: Target) -> tuple[float, float, float]:
    interval = estimate.duration_s if target == "duration" else estimate.energy_j
    return interval.value, interval.low, interval.high


def _cases(
    checks: Sequence[Checked],
    device_name: str,
    target: Target,
    predict: Callable[[Workload], Estimate],
    seen: Sequence[tuple[_Network, float, bool]],
) -> Iterator[Case]:
    """Ours, and the baselines fitted on the networks that the calibration measured."""
    for check in checks:
        truth, training = _truth(check, target), check.known.optimizer is not None
        if truth is None:
            continue
        dataset = f"{device_name} {'training' if training else 'inference'}"
        if check.dtype != "float32":
            dataset += f" {check.dtype}"
        estimate = predict(check.workload)
        value, low, high = _value(estimate, target)
        yield Case(dataset, target, SPLIT, "joulecast", truth, value, low, high)
        like = [(network, cost) for network, cost, trained in seen if trained == training]
        costs, networks = np.array([cost for _, cost in like]), [network for network, _ in like]
        this = _Network(check.workload, parameters_of(check.workload))
        for method, features in BASELINES.items():
            if networks:
                yield Case(dataset, target, SPLIT, method, truth, float(linear(networks, costs, [this], features)[0]))
        if training:
            forward = replace(check.workload, ops=check.workload.of_phase("forward"))
            yield Case(dataset, target, SPLIT, f"theta = {THETA:g}", truth, THETA * _value(predict(forward), target)[0])


def _all_cases(checks: Sequence[Checked], machine: CalibratedMachine, networks: Sequence[Measured]) -> Iterator[Case]:
    """Durations and, where they were measured, energies."""
    profile = profile_from(machine)
    targets: tuple[Target, ...] = ("duration", "energy")
    for of in targets:
        seen = [
            (_Network(n.workload, parameters_of(n.workload)), cost, n.training)
            for n in networks
            if (cost := n.sample.total_s if of == "duration" else n.sample.energy_j)
        ]
        yield from _cases(checks, machine.device_name, of, lambda w: price(w, profile.model), seen)


def _noise(checks: Sequence[Checked], machine: CalibratedMachine, discarded: int | None = None) -> str:
    """How noisy the machine was, in words. `discarded`: windows thrown away; None where that is not known."""
    apart = [check.spread for check in checks if check.spread is not None]
    halves = [check.repeatability for check in checks if check.repeatability is not None]
    said = f"{machine.networks} random networks in {machine.seconds / 60:.1f} min"
    if discarded is not None:
        said += f", {discarded} disturbed"
    if not apart:
        return said
    return (
        f"{said}; the same network's rounds lie {median(apart):.1%} apart (median), {max(apart):.0%} at most, and the "
        f"medians of every second round and of the others {fmean(halves):.1%} (mean): about half of that is in every "
        "error, even a perfect prediction's"
    )


def check_here(hardware: str, minutes: float, out: Path) -> tuple[list[Case], str]:
    """Calibrate a device of this machine and check known networks in one run; what was measured is kept in `out`.

    The second value says how noisy the machine was.
    """
    target = target_of(hardware)
    policy = LoadPolicy(limit_cores=target.other_cores)
    policy.wait_until_quiet(target.meters)
    checks = to_check(known_networks(), target.header.dtypes)
    record_path = out / "accuracy.record.jsonl"
    record_path.unlink(missing_ok=True)
    record = open_record(record_path, target.header, lambda: idle_power_w(target.meters))
    moments = [60 * minutes * (i + 0.5) / ROUNDS for i in range(ROUNDS)]
    begun_s = time.monotonic()
    work = collect(record_path, record, 60 * minutes, target.meters, policy)
    for sample in work:
        if moments and sample.at_s >= moments[0]:
            moments.pop(0)
            measure_round(checks, target.header.device, target.meters)
            _keep(checks, out / "accuracy.checks.jsonl")
            _say(f"{ROUNDS - len(moments)} of {ROUNDS} rounds, {time.monotonic() - begun_s:.0f} s")
    record = read(record_path)
    machine = fit(record, "accuracy", target.logical_cpus, target.meter)
    save(machine, out / f"accuracy{SUFFIX}")
    return list(_all_cases(checks, machine, measured_of(record))), _noise(checks, machine, work.discarded)


def check_calibrated(path: Path, rounds: int, out: Path) -> tuple[list[Case], str]:
    """Check known networks on the device of the profile at `path`, with the record beside it for the baselines."""
    machine = load(path)
    target = target_of(machine.device, machine.dtypes)
    LoadPolicy(limit_cores=target.other_cores).wait_until_quiet(target.meters)
    checks = to_check(known_networks(), machine.dtypes)
    begun_s = time.monotonic()
    for done in range(rounds):
        measure_round(checks, machine.device, target.meters)
        _keep(checks, out / "accuracy.checks.jsonl")
        _say(f"{done + 1} of {rounds} rounds, {time.monotonic() - begun_s:.0f} s")
    record_path = _record_of(path)
    networks = measured_of(read(record_path)) if record_path.exists() else []
    return list(_all_cases(checks, machine, networks)), _noise(checks, machine)


def check_again(path: Path, out: Path) -> tuple[list[Case], str]:
    """The profile at `path`, of any version, fitted anew from its record, on the runs kept in `out`.

    Nothing is measured and nothing written but the table. Raises `CalibrationError` for a record of networks that are
    drawn or traced otherwise today.
    """
    kept, record = json.loads(path.read_text()), read(_record_of(path))
    if (record.header.generator, record.header.torch) != (GENERATOR, torch.__version__):
        raise CalibrationError(f"{_record_of(path)} is of another generator or another torch: measure anew.")
    machine = fit(record, kept["name"], kept["logical_cpus"], kept["meter"])
    runs = [json.loads(line) for line in (out / "accuracy.checks.jsonl").read_text().splitlines()]
    taken = {(run["network"], run["dtype"]): run for run in runs}
    checks = [c for c in to_check(known_networks(), machine.dtypes) if (c.known.name, c.dtype) in taken]
    for check in checks:
        run = taken[check.known.name, check.dtype]
        check.seconds, check.joules = run["duration_s"], run["energy_j"] or []
    return list(_all_cases(checks, machine, measured_of(record))), _noise(checks, machine)


def _record_of(profile: Path) -> Path:
    return profile.with_name(profile.name.replace(SUFFIX, ".record.jsonl"))


def _keep(checks: Iterable[Checked], path: Path) -> None:
    """The runs as JSON lines: what was measured of each known network, once a round."""
    lines = [
        json.dumps(
            {
                "network": check.known.name,
                "family": check.known.family,
                "optimizer": check.known.optimizer,
                "dtype": check.dtype,
                "batch_size": check.workload.batch_size,
                "duration_s": check.seconds,
                "energy_j": check.joules or None,
            }
        )
        for check in checks
    ]
    write_text(path, "\n".join(lines) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured_or_kept(arguments: argparse.Namespace) -> tuple[list[Case], str]:
    """What `arguments` ask for, and how noisy the machine was: "" where it was not measured."""
    cases: list[Case] = list(published_cases(arguments.directory)) if arguments.directory else []
    if arguments.again:
        here, noise = check_again(arguments.profile or arguments.out / f"accuracy{SUFFIX}", arguments.out)
    elif arguments.profile:
        here, noise = check_calibrated(arguments.profile, arguments.rounds, arguments.out)
    elif arguments.published_only:
        here, noise = [], ""
    else:
        here, noise = check_here(arguments.hardware, arguments.minutes, arguments.out)
    return cases + here, noise


def main() -> None:
    """Print the table; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m calibration.proof.validate", description="Errors of predictions.")
    parser.add_argument("directory", type=Path, nargs="?", help="published CSV files")
    parser.add_argument("--published-only", action="store_true", help="measure nothing here")
    parser.add_argument("--hardware", default="cpu", help="a device of this machine (default: cpu)")
    parser.add_argument("--profile", type=Path, help="check this profile on its device, without calibrating anew")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of measuring, with --profile (default: {ROUNDS})")
    parser.add_argument("--again", action="store_true", help="fit and score what is kept, without measuring")
    parser.add_argument("--minutes", type=float, default=5.0, help="of calibration (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="where profile, runs and accuracy.json go")
    arguments = parser.parse_args()
    try:
        cases, noise = _measured_or_kept(arguments)
    except (JoulecastError, MeterError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    scores = score(cases)
    print(table(scores))
    if noise:
        print(noise)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "accuracy.json", as_json(scores))


if __name__ == "__main__":
    main()
