"""A calibration from beginning to end: find the device, wait for quiet, measure, learn, write the profile."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from calibration.errors import CalibrationError
from calibration.learning.fit import fit
from calibration.measuring.collect import Collection, collect, open_record
from calibration.measuring.machine import Target, idle_power_w, target_of
from calibration.measuring.samples import read
from estimator.base.errors import JoulecastError
from estimator.base.locks import locked
from estimator.base.words import printable
from estimator.hardware.calibrated_machine import CalibratedMachine
from estimator.hardware.profile_file import SUFFIX, directory, is_name, save
from profilers.errors import MeterError
from profilers.load import LoadPolicy
from profilers.printing import say
from profilers.session import QUIET


@dataclass(frozen=True)
class Calibrated:
    """A finished calibration: the profile, where it is, how many windows other work had disturbed, and which failed."""

    machine: CalibratedMachine
    path: Path
    discarded: int
    failures: tuple[str, ...] = ()


def _name_of(target: Target) -> str:
    """A name for files and --hardware, from the device's own."""
    plain = re.sub(r"\((r|tm)\)|@.*|\bcpu\b|\bprocessor\b", " ", target.header.device_name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "this-machine"


def calibrate(
    hardware: str = "auto",
    minutes: float = 5.0,
    *,
    name: str | None = None,
    out: Path | None = None,
    dtypes: Sequence[str] = (),
    policy: LoadPolicy = QUIET,
    fresh: bool = False,
    target: Target | None = None,
) -> Calibrated:
    """Calibrate a device of this machine for about `minutes`, and write `NAME.profile.json` and its record.

    A record that is there already is continued, or with `fresh` replaced. Raises `BusyError` on a busy machine,
    `CalibrationError` where the device or the record cannot be used.
    """
    target = target or target_of(hardware, dtypes)
    name, folder = name or _name_of(target), out or directory()
    path, record_path = folder / f"{name}{SUFFIX}", folder / f"{name}.record.jsonl"
    if not is_name(name):
        raise CalibrationError(f"{name!r} cannot be a profile's name: use letters, digits, '.', '_' and '-'.")
    _writable(folder)
    _say(_meter_line(target))
    policy = replace(policy, limit_cores=target.other_cores, say=_say)
    with locked(folder / name):
        return _calibrated(target, name, path, record_path, 60 * minutes, policy, fresh)


def _calibrated(
    target: Target, name: str, path: Path, record_path: Path, seconds: float, policy: LoadPolicy, fresh: bool
) -> Calibrated:
    """Measure and learn; nobody else writes the record meanwhile."""
    policy.wait_until_quiet(target.meters)
    if fresh:
        _remove(record_path)
    record = open_record(record_path, target.header, lambda: idle_power_w(target.meters, policy))
    work = collect(record_path, record, seconds, target.meters, policy)
    try:
        _measure(work, name, seconds)
    except (KeyboardInterrupt, JoulecastError, MeterError, OSError):  # ended, a device that fails, busy, a full disk
        _say(f"\nWhat was measured is kept in {record_path}: calibrate again, without --fresh, and it goes on.")
        raise
    _say("Learning from what was measured ...")
    machine = fit(read(record_path), name, target.logical_cpus, target.meter)
    save(machine, path)
    return Calibrated(machine, path, work.discarded, tuple(work.failures))


def _say(line: str) -> None:
    say(line, err=True)


def _meter_line(target: Target) -> str:
    if target.meters:
        return f"{target.header.device_name}: joules are read by {target.meter}"
    return (
        f"{target.header.device_name}: no meter reads its joules (`estimate meters` says why), so times alone are "
        "calibrated"
    )


def _writable(folder: Path) -> None:
    """Better now than after the measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CalibrationError(
            f"nothing can be written into {folder} ({error.strerror}): name another folder with --out."
        ) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CalibrationError(
            f"--fresh cannot replace {path} ({error.strerror}): move it away, or name another --out."
        ) from error


def _measure(work: Collection, name: str, seconds: float) -> None:
    """Show how far it is; what an earlier calibration measured counts as done."""
    if work.begun_at_s >= seconds:
        _say(
            f"{work.begun_at_s / 60:.1f} minutes were measured before: nothing is measured now. More --minutes go on, "
            "--fresh begins anew."
        )
        return
    if work.begun_at_s > 0:
        _say(f"Going on after {work.begun_at_s / 60:.1f} minutes that were measured before")
    with click.progressbar(
        length=max(1, round(seconds - work.begun_at_s)), label=f"Calibrating {printable(name)}", file=sys.stderr
    ) as bar:
        for sample in work:
            done = min(round(sample.at_s - work.begun_at_s), bar.length or 0)
            bar.update(max(0, done - bar.pos))
