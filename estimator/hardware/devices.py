"""A device as published, and how to read the tables that hold them.

Every value comes out as a `Fact` with unit, source and status; what nobody published is absent (`None`), never 0 and
never guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, get_args

from estimator.base.errors import HardwareError
from estimator.base.facts import Fact, FactStatus

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["gpu", "cpu"]

_QUANTITIES = frozenset(
    {
        *("float32_flop_per_s", "tf32_flop_per_s", "float16_flop_per_s", "bfloat16_flop_per_s", "vector_flop_per_s"),
        *("bandwidth_bytes_per_s", "memory_gb", "cache_mib", "tdp_w", "idle_power_w"),
        *("base_clock_hz", "boost_clock_hz", "efficiency_clock_hz", "compute_units", "cores", "efficiency_cores"),
        *("memory_channels", "memory_transfers_per_s", "process_nm"),
    }
)
"""What a table may say of a device; the name carries the unit."""

_SCALED = {"memory_gb": ("memory_bytes", 1e9), "cache_mib": ("cache_bytes", 2**20)}
"""Keys that tables use for people's sake: the fact that each becomes, and the factor."""

_UNITS = (
    ("_flop_per_s", "FLOP/s"),
    ("flop_per_cycle", "FLOP"),
    ("_bytes_per_s", "B/s"),
    ("_per_s", "1/s"),
    ("_bytes", "B"),
    ("_hz", "Hz"),
    ("_w", "W"),
    ("", "1"),
)

_RATE = "cores x {} FLOP/cycle x base clock, summed over the kinds of core"
_DERIVED: Mapping[str, tuple[str, float, tuple[tuple[str, ...], ...]]] = {
    "compute_units": ("cores of all kinds", 1, (("cores",), ("efficiency_cores",))),
    "float32_flop_per_s": (
        _RATE.format("float32"),
        1,
        (
            ("cores", "flop_per_cycle", "base_clock_hz"),
            ("efficiency_cores", "efficiency_flop_per_cycle", "efficiency_clock_hz"),
        ),
    ),
    "bfloat16_flop_per_s": (_RATE.format("bfloat16"), 1, (("cores", "bfloat16_flop_per_cycle", "base_clock_hz"),)),
    "bandwidth_bytes_per_s": (
        "memory channels x 8 bytes x fastest specified transfers/s",
        8,
        (("memory_channels", "memory_transfers_per_s"),),
    ),
}
"""What follows from a CPU's other facts: a formula in words, its factor, and the products that it sums."""

_WORDS = frozenset(
    {"title", "architecture", "year", "source", "aliases", "memory_technology", "core", "efficiency_core"}
)
"""What else it may say."""


@dataclass(frozen=True)
class Device:
    """One accelerator or CPU of the catalogue, as published.

    `facts` holds every known value by its name, which carries the unit ("tdp_w"); the properties read it and give
    `None` where nothing was published. Rates are dense peaks, not what a program reaches.
    """

    name: str
    title: str
    vendor: str
    kind: Kind
    architecture: str
    year: int
    aliases: tuple[str, ...] = ()
    memory_technology: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False, repr=False)

    def value(self, fact: str) -> float | None:
        """The value of the fact of that name, or `None` where it is not known."""
        found = self.facts.get(fact)
        return None if found is None else found.value

    def flop_per_s(self, dtype: str) -> float | None:
        """Dense rate of matrix products in FLOP/s, as PyTorch runs them in "float32", "tf32", "float16" or "bfloat16".

        float16 and bfloat16 accumulate in float32, on tensor cores where there are any; float32 is full float32.
        `None` for a dtype that the hardware lacks.
        """
        return self.value(f"{dtype}_flop_per_s")

    @property
    def vector_flop_per_s(self) -> float | None:
        """Plain (no tensor core, no matrix unit) float32 rate in FLOP/s."""
        return self.value("vector_flop_per_s")

    @property
    def bandwidth_bytes_per_s(self) -> float | None:
        """Peak bandwidth of the device's main memory in B/s."""
        return self.value("bandwidth_bytes_per_s")

    @property
    def memory_bytes(self) -> float | None:
        """Capacity of the device's own memory in bytes; `None` for a CPU, whose memory is the machine's."""
        return self.value("memory_bytes")

    @property
    def tdp_w(self) -> float | None:
        """Thermal design power of board, module or package in W."""
        return self.value("tdp_w")

    @property
    def idle_power_w(self) -> float | None:
        """Power in W while no process uses the device."""
        return self.value("idle_power_w")

    @property
    def base_clock_hz(self) -> float | None:
        """Guaranteed clock in Hz."""
        return self.value("base_clock_hz")

    @property
    def boost_clock_hz(self) -> float | None:
        """Highest published clock in Hz."""
        return self.value("boost_clock_hz")

    @property
    def compute_units(self) -> float | None:
        """Streaming multiprocessors, compute units, Xe cores, or CPU cores of all sorts."""
        return self.value("compute_units")

    @property
    def cache_bytes(self) -> float | None:
        """Last-level cache in bytes."""
        return self.value("cache_bytes")


def read_devices(text: str, kind: Kind, origin: str) -> dict[str, Device]:
    """The devices of one table in TOML; `origin` names it in errors. Unknown keys, sources and statuses are errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HardwareError(f"{origin} is not valid TOML ({error}); restore it or install joulecast again.") from error
    sources, cores = table.pop("sources", {}), table.pop("cores", {})
    devices = {}
    for name, entry in table.items():
        try:
            devices[name] = _device(name, kind, entry, sources, cores)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
            raise HardwareError(f"{origin}: [{name}] {reason}; correct that entry.") from error
    return devices


def _device(name: str, kind: Kind, entry: Any, sources: Mapping[str, str], cores: Mapping[str, Any]) -> Device:
    if not isinstance(entry, dict):
        raise TypeError("it is no table")
    if unknown := sorted(entry.keys() - _QUANTITIES - _WORDS):
        raise ValueError(f"unknown key {', '.join(unknown)}")
    facts = {}
    for key in (key for key in entry if key in _QUANTITIES):
        fact, factor = _SCALED.get(key, (key, 1))
        facts[fact] = _fact(entry[key], fact, factor, entry["source"], sources)
    for part in ("", "efficiency_"):
        if (core := entry.get(f"{part}core")) is not None:
            facts |= _core_facts(part, cores[core], sources)
    derived = dict(_derived(facts))
    vector = facts.get("vector_flop_per_s") or derived.get("float32_flop_per_s") or facts["float32_flop_per_s"]
    facts = derived | facts | {"vector_flop_per_s": vector}
    return Device(
        name=name,
        title=str(entry["title"]),
        vendor=name.partition("-")[0],
        kind=kind,
        architecture=str(entry["architecture"]),
        year=int(entry["year"]),
        aliases=tuple(entry.get("aliases", ())),
        memory_technology=entry.get("memory_technology"),
        facts=facts,
    )


def _fact(raw: Any, name: str, factor: float, source: str, sources: Mapping[str, str]) -> Fact:
    told = raw if isinstance(raw, dict) else {"value": raw}
    if unknown := sorted(told.keys() - {"value", "source", "status", "note"}):
        raise ValueError(f"unknown key {', '.join(unknown)} in {name}")
    value, status = told["value"], told.get("status", "datasheet")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value!r}, not a positive number")
    if status not in get_args(FactStatus):
        raise ValueError(f"unknown status {status!r} in {name}")
    text = sources[told.get("source", source)]
    return Fact(float(value * factor), _unit(name), f"{text}: {told['note']}" if "note" in told else text, status)


def _core_facts(part: str, core: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Fact]:
    about = {"source": core["source"], "note": core["note"]}
    return {
        f"{part}{key}": _fact({"value": core[key], **about}, key, 1, core["source"], sources)
        for key in ("flop_per_cycle", "bfloat16_flop_per_cycle")
        if key in core
    }


def _derived(facts: Mapping[str, Fact]) -> Iterator[tuple[str, Fact]]:
    for name, (formula, factor, terms) in _DERIVED.items():
        if all(key in facts for key in terms[0]):
            known = [term for term in terms if all(key in facts for key in term)]
            value = factor * sum(prod(facts[key].value for key in term) for term in known)
            yield name, Fact(value, _unit(name), f"derived: {formula}", "derived")


def _unit(name: str) -> str:
    return next(unit for suffix, unit in _UNITS if name.endswith(suffix))
