"""The record of a calibration: a header that says what was measured on, then one line per network.

A network is named by its seed: ops and shapes are traced again when the record is read. A record therefore belongs to
one version of the generator and of PyTorch, and says which.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibration.errors import CalibrationError
from calibration.measuring.pace import WORK
from calibration.networks.random_networks import GENERATOR
from estimator.base.atomic import write_text
from estimator.base.reading import read_bytes
from estimator.workload.ops import PHASES, Phase
from profilers.record import append_line

SCHEMA_VERSION = 2

_BEGINNING = b'{"schema_version": '
_LARGEST_FILE = 2**30


@dataclass(frozen=True)
class Header:
    """What a record was measured on. Records of different headers are never mixed."""

    device: str
    device_name: str
    machine_id: str
    torch: str
    threads: int
    dtypes: tuple[str, ...]
    generator: int = GENERATOR


@dataclass(frozen=True)
class Sample:
    """One network, measured. Seconds are those of one batch.

    `op_s` runs beside the traced ops, None where an op did not run as traced. `energy_j` is that of one batch, None
    where no meter measured it. `at_s`: seconds since the calibration's start. `judged`: drawn without choosing what is
    new, so that errors on it are those on any such network. `disturbed`: other work ran beside it, and was let.
    `pace_s`: seconds of `calibration.measuring.pace.WORK` around and beside it; empty where that is not known.
    `op_mapped`: bytes of memory that ops touched for the first time, None as in `op_s`; empty where they cannot be
    counted.
    """

    seed: int
    phases: Mapping[Phase, float]
    total_s: float
    scatter: float
    runs: int
    op_s: tuple[float | None, ...]
    energy_j: float | None
    energy_status: str
    at_s: float = 0.0
    judged: bool = False
    disturbed: bool = False
    pace_s: tuple[float, ...] = ()
    op_mapped: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Record:
    """A record read back. `idle_w`: the device's idle power as measured; None where it was not."""

    header: Header
    samples: tuple[Sample, ...]
    idle_w: float | None
    problems: tuple[str, ...] = ()


def begin(path: Path, header: Header, idle_w: float | None) -> None:
    """Write the header of a new record, whole or not at all."""
    line = {"schema_version": SCHEMA_VERSION, "header": asdict(header), "idle_w": idle_w}
    write_text(path, json.dumps(line, allow_nan=False) + "\n")


def is_torn(path: Path) -> bool:
    """Whether the record at `path` ends within its header: nothing was measured into it."""
    content = _content(path)
    return b"\n" not in content and content[: len(_BEGINNING)] == _BEGINNING[: len(content)]


def append(path: Path, sample: Sample) -> None:
    """Add a sample: one write, flushed and synced. Op times are kept to 4 digits."""
    entry = asdict(sample)
    entry["op_mapped"] = [None if b is None else round(b) for b in sample.op_mapped]
    entry["op_s"] = [None if s is None else float(f"{s:.4g}") for s in sample.op_s]
    append_line(path, json.dumps(entry, allow_nan=False, separators=(",", ":")))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a number of seconds, joules or bytes")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _sample(raw: Mapping[str, Any]) -> Sample:
    phases: dict[Phase, float] = {phase: _number(raw["phases"][phase]) for phase in PHASES if phase in raw["phases"]}
    pace_s = tuple(_number(s) for s in raw.get("pace_s", ()))
    if len(pace_s) not in (0, len(WORK)) or 0.0 in pace_s:
        raise ValueError(f"a pace is {len(WORK)} times")
    op_s, op_mapped = (tuple(map(_optional, values)) for values in (raw["op_s"], raw.get("op_mapped", ())))
    if len(op_mapped) not in (0, len(op_s)):
        raise ValueError("a sample counts the memory of all its ops, or of none")
    if "forward" not in phases or type(raw["seed"]) is not int or type(raw["runs"]) is not int:
        raise ValueError("a sample has a seed, runs and a forward pass")
    return Sample(
        seed=raw["seed"],
        phases=phases,
        total_s=_number(raw["total_s"]),
        scatter=_number(raw["scatter"]),
        runs=raw["runs"],
        op_s=op_s,
        energy_j=_optional(raw["energy_j"]),
        energy_status=str(raw["energy_status"]),
        at_s=_number(raw["at_s"]),
        judged=raw["judged"] is True,
        disturbed=raw.get("disturbed") is True,
        pace_s=pace_s,
        op_mapped=op_mapped,
    )


def _header(path: Path, line: str) -> tuple[Header, float | None]:
    try:
        raw = json.loads(line)
        if raw["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {raw['schema_version']!r}")
        h = raw["header"]
        texts = [h[name] for name in ("device", "device_name", "machine_id", "torch")]
        if not all(isinstance(text, str) for text in [*texts, *h["dtypes"]]):
            raise ValueError("a name is no text")
        device, device_name, machine_id, version = texts
        header = Header(
            device, device_name, machine_id, version, int(h["threads"]), tuple(h["dtypes"]), int(h["generator"])
        )
        return header, _optional(raw["idle_w"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise CalibrationError(f"{path} is not a calibration record of this version ({error}): remove it.") from error


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, _LARGEST_FILE)
    except OSError as error:
        raise CalibrationError(f"the record {path} cannot be read ({error.strerror}): check its path.") from error


def read(path: Path) -> Record:
    """The record at `path`. Damaged lines are left out and named in `problems`; a damaged header raises."""
    lines = _content(path).decode("utf-8", errors="replace").splitlines()
    if not lines:
        raise CalibrationError(f"the record {path} is empty: remove it.")
    header, idle_w = _header(path, lines[0])
    samples, problems = dict[int, Sample](), list[str]()
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            sample = _sample(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            problems.append(f"line {number} is damaged and was left out ({str(error)[:100]})")
            continue
        samples[sample.seed] = sample
    return Record(header, tuple(samples.values()), idle_w, tuple(problems))
