"""A calibration from beginning to end: find the device, wait for quiet, measure, learn, write the profile."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from calibration.collect import collect, open_record
from calibration.fit import fit
from calibration.machine import Target, idle_power_w, target_of
from calibration.samples import read
from estimator.profile_file import SUFFIX, CalibratedMachine, directory, save
from profilers.load import LoadPolicy


@dataclass(frozen=True)
class Calibrated:
    """A finished calibration: the profile, where it is, and how many windows other work had disturbed."""

    machine: CalibratedMachine
    path: Path
    discarded: int


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
    wait_s: float = 30.0,
    allow_busy: bool = False,
    target: Target | None = None,
) -> Calibrated:
    """Calibrate a device of this machine for about `minutes`, and write `NAME.profile.json` and its record.

    A record that is there already is continued. Raises `BusyError` on a busy machine, `CalibrationError` where the
    device or the record cannot be used.
    """
    target = target or target_of(hardware, dtypes)
    name, folder = name or _name_of(target), out or directory()
    policy = LoadPolicy(wait_s=wait_s, allow_busy=allow_busy)
    policy.wait_until_quiet(target.meters)
    record_path = folder / f"{name}.record.jsonl"
    record = open_record(record_path, target.header, lambda: idle_power_w(target.meters))
    work = collect(record_path, record, 60 * minutes, target.meters, policy)
    with click.progressbar(
        length=max(1, round(60 * minutes)), label=f"Calibrating {name}", file=sys.stderr, show_pos=False
    ) as bar:
        for sample in work:
            bar.update(max(0, min(round(sample.at_s), bar.length or 0) - bar.pos))
    click.echo("Learning from what was measured ...", err=True)
    machine = fit(read(record_path), name, target.logical_cpus, target.meter)
    path = folder / f"{name}{SUFFIX}"
    save(machine, path)
    return Calibrated(machine, path, work.discarded)
