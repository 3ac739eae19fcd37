"""Calibrated profiles on disk: one JSON file per machine, data only, that may be carried to another computer.

What is read is checked as if it came from a stranger: sizes are bounded, numbers finite, arrays consistent; what does
not fit is refused in one sentence, and nothing in the file is ever executed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sized
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from estimator.base.atomic import write_text
from estimator.base.errors import HardwareError
from estimator.base.reading import read_json
from estimator.base.words import printable
from estimator.energy.op_features import FEATURES
from estimator.energy.op_times import PLACES, OpGroup, OpTimes, Overhead, Place
from estimator.hardware import profile_forest
from estimator.hardware.calibrated_machine import CalibratedMachine, HeldOutError, Power

_Entries = TypeVar("_Entries", bound=Sized)

SCHEMA_VERSION = 4
SUFFIX = ".profile.json"

_LARGEST_FILE = 64 * 2**20
_MOST_ENTRIES = 10_000
"""Of one list or mapping: networks in a learning curve, names of ops in a group."""
_WIDEST = 100.0
"""Of a margin times the spread it widens, a logarithm: e^100 is no interval, beyond e^709 a float overflows."""


def directory() -> Path:
    """Where profiles are kept: $JOULECAST_HOME, else the user's data directory of the operating system."""
    from click import get_app_dir

    return Path(os.environ.get("JOULECAST_HOME") or get_app_dir("joulecast")) / "profiles"


def _plain(value: Any) -> Any:
    """Facts and mappings as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def save(machine: CalibratedMachine, path: Path) -> None:
    """Write a profile, whole or not at all."""
    times = machine.op_times
    groups = {
        name: {**vars(group), "names": dict(group.names), "forest": profile_forest.packed(group.forest)}
        for name, group in times.groups.items()
    }
    document = {
        "joulecast_profile": SCHEMA_VERSION,
        **{name: _plain(value) for name, value in vars(machine).items() if name != "op_times"},
        "op_times": {
            "bandwidth_bytes_per_s": times.bandwidth_bytes_per_s,
            "launch_s": times.launch_s,
            "unseen_spread": times.unseen_spread,
            "fresh_s_per_byte": times.fresh_s_per_byte,
            "margins": dict(times.margins),
            "overheads": {place: asdict(over) for place, over in times.overheads.items()},
            "groups": groups,
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(document, allow_nan=False, indent=1) + "\n")


def _number(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    if not least <= value <= most:
        raise ValueError(f"{value:g} is out of range")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError(f"{str(value)[:40]!r} is not a text")
    return printable(value)


def _bounded(entries: _Entries) -> _Entries:
    """A list or a mapping of no more entries than any profile has."""
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"it lists more than {_MOST_ENTRIES:,} of one thing")
    return entries


def _numbers(raw: Mapping[str, Any], least: float, most: float) -> dict[str, float]:
    """Numbers by name."""
    return {_text(name): _number(value, least, most) for name, value in _bounded(raw).items()}


def _row(values: Any) -> tuple[float, ...]:
    row = tuple(_number(v) for v in _bounded(values))
    if len(row) != 1 + FEATURES:
        raise ValueError(f"ops have a name and {FEATURES} features, not {len(row)} numbers")
    return row


def _group(raw: Mapping[str, Any]) -> OpGroup:
    peak, low, high = raw["flop_per_s"], _row(raw["low"]), _row(raw["high"])
    slopes = _row(raw["slopes"])
    if any(least > most for least, most in zip(low, high, strict=True)):
        raise ValueError("a feature's low is above its high")
    linear = sum(abs(s) * max(abs(x), abs(y)) for s, x, y in zip(slopes, low, high, strict=True))
    if linear > 3 * profile_forest.LARGEST_LOG_FACTOR:  # features are logarithms themselves, and undo each other
        raise ValueError("its slopes add up to a factor that no op has")
    return OpGroup(
        flop_per_s=None if peak is None else _number(peak, 1e3, 1e21),
        names=_numbers(raw["names"], -50, 50),
        low=low,
        high=high,
        slopes=slopes,
        forest=profile_forest.unpacked(raw["forest"], _number(raw["forest"]["base"])),
        spread=_number(raw["spread"], 0, 10),
    )


def _overhead(raw: Mapping[str, Any]) -> Overhead:
    return Overhead(
        scale=_number(raw["scale"], 0.01, 100),
        op_s=_number(raw["op_s"], -1, 1),
        module_call_s=_number(raw["module_call_s"], 0, 1),
        phase_s=_number(raw["phase_s"], 0, 10),
        kernel_s=_number(raw["kernel_s"], -1, 1),
        freed_s_per_byte=_number(raw["freed_s_per_byte"], 0, 1),
    )


def _op_times(raw: Mapping[str, Any]) -> OpTimes:
    overheads: dict[Place, Overhead] = {
        place: _overhead(raw["overheads"][place]) for place in PLACES if place in raw["overheads"]
    }
    times = OpTimes(
        bandwidth_bytes_per_s=_number(raw["bandwidth_bytes_per_s"], 1e3, 1e18),
        launch_s=_number(raw["launch_s"], 0, 1),
        groups={_text(name): _group(group) for name, group in _bounded(raw["groups"]).items()},
        overheads=overheads,
        unseen_spread=_number(raw["unseen_spread"], 0, 10),
        margins=_numbers(raw["margins"], 0, 1e4),
        fresh_s_per_byte=_number(raw["fresh_s_per_byte"], 0, 1),
    )
    spread = max([times.unseen_spread, *(group.spread for group in times.groups.values())])
    if max(times.margins.values(), default=0.0) * spread > _WIDEST:
        raise ValueError("a margin makes intervals without end")
    return times


def _error(raw: Mapping[str, Any]) -> HeldOutError:
    return HeldOutError(
        int(_number(raw["networks"], 0)),
        _number(raw["median_ape"], 0),
        _number(raw["mean_ape"], 0),
        _number(raw["spread"], 0, 10),
    )


def _power(raw: Mapping[str, Any] | None) -> Power | None:
    if raw is None:
        return None
    return Power(
        status=_text(raw["status"]),
        factors=_numbers(raw["factors"], 0, 1e3),
        class_w=_numbers(raw["class_w"], 0, 1e5),
        error=_error(raw["error"]),
    )


def _machine(raw: Mapping[str, Any]) -> CalibratedMachine:
    if raw["joulecast_profile"] != SCHEMA_VERSION:
        raise ValueError(f"its schema version is {raw['joulecast_profile']!r}, ours {SCHEMA_VERSION}")
    if not is_name(_text(raw["name"])) or not re.fullmatch(r"cpu|cuda(:\d{1,3})?", _text(raw["device"])):
        raise ValueError("its name or its device is none")
    texts = ("name", "device", "device_name", "catalogue_name", "created", "machine_id", "meter")
    return CalibratedMachine(
        **{name: _text(raw[name]) for name in texts},
        logical_cpus=int(_number(raw["logical_cpus"], 1)),
        threads=int(_number(raw["threads"], 1)),
        software={_text(k): _text(v) for k, v in _bounded(raw["software"]).items()},
        seconds=_number(raw["seconds"], 0),
        networks=int(_number(raw["networks"], 1)),
        dtypes=tuple(_text(dtype) for dtype in _bounded(raw["dtypes"])),
        errors={_text(phase): _error(error) for phase, error in _bounded(raw["errors"]).items()},
        learning_curve=tuple((_number(m, 0), _number(e, 0)) for m, e in _bounded(raw["learning_curve"])),
        power=_power(raw["power"]),
        op_times=_op_times(raw["op_times"]),
        disturbed=int(_number(raw.get("disturbed", 0), 0)),
        pace_s=tuple(_number(s, 1e-9, 1e3) for s in _bounded(raw.get("pace_s", ()))),
    )


def load(path: Path) -> CalibratedMachine:
    """Read a profile. Raises `HardwareError` where it cannot be read, is damaged, or is of another version."""
    try:
        return _machine(read_json(path, _LARGEST_FILE))
    except OSError as error:
        raise HardwareError(
            f"the profile {path} cannot be read ({error.strerror}): give the path of a profile's file."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise HardwareError(
            f"{path} is not a profile that this joulecast can use ({why[:120]}): remove it, or make it again with "
            "`estimate calibrate`."
        ) from error


def kept() -> Iterator[Path]:
    """The profiles in `directory`, newest first."""
    found = directory().glob(f"*{SUFFIX}")
    yield from sorted(found, key=lambda path: path.lstat().st_mtime, reverse=True)  # a link may lead nowhere


def name_of(path: Path) -> str:
    """What --hardware calls a kept profile: its file's name without the suffix, or all its path where that is none."""
    name = path.name.removesuffix(SUFFIX)
    return name if is_name(name) else str(path)


def is_name(name: str) -> bool:
    """Whether a profile may be called so: no path, nothing that a shell or a file system minds."""
    return bool(name) and name != "auto" and len(name) <= 100 and all(c.isalnum() or c in "._-" for c in name)


def path_of(name: str) -> Path | None:
    """The file that `name` means: a path that ends as profiles do, or the name of a kept profile; else None."""
    if name.endswith(SUFFIX):
        return Path(name)
    kept_there = directory() / f"{name}{SUFFIX}"
    return kept_there if is_name(name) and kept_there.is_file() else None
