"""Runs on disk: JSON lines with a schema version, each appended, flushed and synced: a kill loses at most one window.

What is read back is checked as if it came from a stranger: a torn last line, a damaged line, NaN or a negative energy
are reported and left out, and never become a number.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from filelock import FileLock, Timeout

from profilers.errors import RecordError
from profilers.fingerprint import Fingerprint
from profilers.load import Load
from profilers.measurement import Baseline, Measurement, Noise
from profilers.reading import Component, Conditions, CrossCheck, Partial, Reading

SCHEMA_VERSION = 1

_LONGEST_LINE = 1_000_000
_PATIENCE_S = 10.0

_Fact = TypeVar("_Fact")


@dataclass(frozen=True)
class Run:
    """A measurement with what it was of and when."""

    measurement: Measurement
    run_id: str
    recorded_at: str
    """UTC, ISO 8601."""
    command: tuple[str, ...] = ()
    exit_code: int | None = None


@dataclass(frozen=True)
class Recorded:
    """The runs of a file, and what in it could not be read."""

    runs: tuple[Run, ...]
    problems: tuple[str, ...]


def run_of(measurement: Measurement, command: tuple[str, ...] = (), exit_code: int | None = None) -> Run:
    """A run that ended now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Run(measurement, uuid4().hex, now, command, exit_code)


def append(path: Path, run: Run) -> None:
    """Add a run to a file, as `append_line` does."""
    append_line(path, json.dumps(to_dict(run), allow_nan=False))


def append_line(path: Path, line: str) -> None:
    """Add a line to a file: one write, then flush and fsync. A line that a kill tore earlier is closed first.

    Raises `RecordError` where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_ordinary(path)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=_PATIENCE_S), path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except Timeout as error:
        raise RecordError(f"another process holds the record {path}: wait until it ends, or name another") from error
    except OSError as error:
        raise RecordError(
            f"the record {path} cannot be written ({error.strerror}): name another with --record"
        ) from error


def _check_ordinary(path: Path) -> None:
    """Raises `OSError` for a pipe, which waits for its other end for ever, a device or a socket."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no ordinary file but a device, a pipe or a socket")


def read(path: Path) -> Recorded:
    """Every run of a file that is whole. Damaged lines are named in `problems`."""
    runs: list[Run] = []
    problems: list[str] = []
    try:
        _check_ordinary(path)
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"the record {path} cannot be read ({error.strerror}): check its path") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            runs.append(from_dict(_parsed(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            torn = "was torn by a kill" if number == len(lines) else "is damaged"
            problems.append(f"line {number} {torn} and was left out ({type(error).__name__}: {str(error)[:100]})")
    return Recorded(tuple(runs), tuple(problems))


def to_dict(run: Run) -> dict[str, Any]:
    """JSON form, schema version 1."""
    seen = run.measurement
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "recorded_at": run.recorded_at,
        "command": list(run.command),
        "exit_code": run.exit_code,
        "label": seen.label,
        "duration_s": seen.duration_s,
        "energy_j": seen.total.energy_j,
        "status": seen.total.status,
        "modelled_energy_j": seen.modelled.energy_j,
        "clean": seen.clean,
        "readings": [{**asdict(reading), "net_j": seen.net_j(reading.component.name)} for reading in seen.readings],
        "baseline": None if seen.baseline is None else asdict(seen.baseline),
        "load": None if seen.load is None else asdict(seen.load),
        "busy": list(seen.busy),
        "busy_allowed": seen.busy_allowed,
        "noise": {name: asdict(noise) for name, noise in seen.noise.items()},
        "interrupted": seen.interrupted,
        "notes": list(seen.notes),
        "fingerprint": None if seen.fingerprint is None else seen.fingerprint.to_dict(),
    }


def from_dict(raw: Mapping[str, Any]) -> Run:
    """A run from its JSON form; raises ValueError, TypeError or KeyError where it is none. Totals are computed anew."""
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {raw['schema_version']!r} is not {SCHEMA_VERSION}: read it with a newer joulecast"
        )
    measurement = Measurement(
        duration_s=_number(raw["duration_s"]),
        readings=tuple(_reading(part) for part in raw["readings"]),
        label=_text(raw["label"]),
        baseline=_baseline(raw["baseline"]),
        load=None if raw["load"] is None else _load(raw["load"]),
        busy_allowed=raw["busy_allowed"] is True,
        fingerprint=None if raw["fingerprint"] is None else _fingerprint(raw["fingerprint"]),
        noise={_text(name): _made(Noise, noise) for name, noise in raw["noise"].items()},
        interrupted=None if raw["interrupted"] is None else _text(raw["interrupted"]),
        notes=_texts(raw["notes"]),
    )
    exit_code = raw["exit_code"]
    if exit_code is not None and type(exit_code) is not int:
        raise TypeError(f"{exit_code!r} is no exit code")
    return Run(measurement, _text(raw["run_id"]), _text(raw["recorded_at"]), _texts(raw["command"]), exit_code)


def _reading(raw: Mapping[str, Any]) -> Reading:
    raw = {key: value for key, value in raw.items() if key != "net_j"}
    component = {**raw["component"], "refresh_s": _optional(raw["component"]["refresh_s"])}
    _text(component["name"])
    check, partial = raw["cross_check"], raw["partial"]
    return _made(
        Reading,
        {
            **raw,
            "component": _made(Component, component),
            "duration_s": _number(raw["duration_s"]),
            "energy_j": _optional(raw["energy_j"]),
            "uncertainty_j": _optional(raw["uncertainty_j"]),
            "notes": _texts(raw["notes"]),
            "cross_check": None if check is None else _made(CrossCheck, _numbers(check)),
            "partial": None if partial is None else _made(Partial, _numbers(partial)),
            "conditions": tuple(_made(Conditions, _optionals(part)) for part in raw["conditions"]),
        },
    )


def _baseline(raw: Mapping[str, Any] | None) -> Baseline | None:
    return None if raw is None else Baseline(_numbers(raw["power_w"]), _number(raw["duration_s"]))


def _load(raw: Mapping[str, Any]) -> Load:
    parts = {"processes": _texts(raw["processes"]), "gpu": _texts(raw["gpu"])}
    numbers = _optionals({key: value for key, value in raw.items() if key not in parts})
    return _made(Load, {**numbers, **parts, "limit_cores": _number(raw["limit_cores"])})


def _fingerprint(raw: Mapping[str, Any]) -> Fingerprint:
    parts = {key: value for key, value in raw.items() if key != "machine_id"}
    return _made(Fingerprint, {**parts, "gpus": _texts(raw["gpus"]), "packages": _texts(raw["packages"])})


def _made(kind: type[_Fact], raw: Mapping[str, Any]) -> _Fact:
    """A frozen fact from its fields; unknown keys are left out, so that newer files of the same schema can be read."""
    known = {field.name for field in fields(cast(Any, kind))}
    return kind(**{key: value for key, value in raw.items() if key in known})


def _parsed(line: bytes) -> Mapping[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"the line holds {len(line)} bytes")

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a number")

    raw = json.loads(line, parse_constant=refuse)
    if not isinstance(raw, dict):
        raise TypeError("not an object")
    return raw


def _number(value: Any) -> float:
    """A finite number that is not negative: nothing in a record is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a non-negative number")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _numbers(raw: Mapping[str, Any]) -> dict[str, float]:
    return {key: _number(value) for key, value in raw.items()}


def _optionals(raw: Mapping[str, Any]) -> dict[str, float | None]:
    return {key: _optional(value) for key, value in raw.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{values!r} is no list")
    return tuple(_text(value) for value in values)
