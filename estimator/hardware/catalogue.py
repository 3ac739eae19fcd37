"""The hardware catalogue: what vendors and others published about accelerators and CPUs, and how to find a device.

The tables are `data/accelerators.toml` and `data/cpus.toml`; `estimator.hardware.devices` reads them.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import median, median_low

from estimator.base.errors import HardwareError
from estimator.base.facts import Fact
from estimator.base.packaged import own_text
from estimator.hardware.devices import Device, Kind, read_devices

__all__ = ["Device", "Kind", "catalogue", "find", "generic"]

_TABLES: Mapping[Kind, str] = {"gpu": "accelerators.toml", "cpu": "cpus.toml"}

_GENERATIONS = {"ada", "blackwell"}
"""Words that people leave out: "rtx-6000" may be the Quadro or the Ada card."""

_NOISE = re.compile(
    r"\((?:r|tm|c)\)|[®™©]|@.*$|\bwith radeon\b.*$|\b\d+-cores?\b|\b\d+(?:st|nd|rd|th) gen\b", re.IGNORECASE
)
_MARKETING = {"geforce", "tesla", "instinct", "radeon", "generation", "processor", "cpu", "corporation"}


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, Device]:
    """Every device of the two tables, by name."""
    return {
        name: device
        for kind, table in _TABLES.items()
        for name, device in read_devices(own_text(table), kind, table).items()
    }


def find(name: str) -> Device:
    """The device that `name` means: its name, title or alias, or an unambiguous tail of one ("rtx-2080-ti").

    Case, blanks, underscores and marketing words do not matter, so the names that drivers report are understood:
    "NVIDIA GeForce RTX 2080 Ti", "Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz". Tails are whole words: "a10" is never an
    A100. "generic-gpu" and "generic-cpu" give `generic`. Raises `HardwareError` with the candidates otherwise.
    """
    words = _words(name)
    if words in (("generic", "gpu"), ("generic", "cpu")):
        return generic("gpu" if words[1] == "gpu" else "cpu")
    exact, tails = _index()
    candidates = exact.get("".join(words)) or tails.get("".join(words)) or set()
    if len(candidates) == 1:
        return catalogue()[next(iter(candidates))]
    shown = " ".join(name.split())[:80]
    if candidates:
        raise HardwareError(
            f"hardware '{shown}' may mean {_listed(sorted(candidates), 'or')}: give one of these names"
            " ('estimate hardware' lists all)."
        )
    raise HardwareError(
        f"unknown hardware '{shown}': the nearest are {_listed(_nearest(words), 'and')}; 'estimate hardware' lists all."
    )


@lru_cache(maxsize=2)
def generic(kind: Kind) -> Device:
    """A made-up middling device: each fact is the median of the catalogue's devices of that kind that have it.

    What most of them lack is left out, except idle power, which every device has and few have published.
    """
    devices = [device for device in catalogue().values() if device.kind == kind]
    known: dict[str, list[Fact]] = defaultdict(list)
    for device in devices:
        for key, fact in device.facts.items():
            known[key].append(fact)
    facts = {
        key: Fact(
            median(fact.value for fact in facts),
            facts[0].unit,
            f"median of {len(facts)} {kind.upper()} entries of the catalogue",
            "derived",
        )
        for key, facts in known.items()
        if len(facts) >= (5 if key == "idle_power_w" else len(devices) / 2)
    }
    return Device(
        name=f"generic-{kind}",
        title=f"generic {kind.upper()} (medians of the catalogue)",
        vendor="generic",
        kind=kind,
        architecture="",
        year=median_low(device.year for device in devices),
        facts=facts,
    )


@lru_cache(maxsize=1)
def _index() -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """Names of devices by what they are called in full, and by every shorter tail of names and aliases.

    Words are joined without a blank, so that "rtx2080ti" is understood too.
    """
    exact: dict[str, set[str]] = defaultdict(set)
    tails: dict[str, set[str]] = defaultdict(set)
    for device in catalogue().values():
        exact["".join(_words(device.title))].add(device.name)
        for called in (device.name, *device.aliases):
            words = _words(called)
            exact["".join(words)].add(device.name)
            end = len(words) - 1 if words[-1] in _GENERATIONS else len(words)
            for start in range(1, len(words)):
                tails["".join(words[start:])].add(device.name)
                tails["".join(words[start:end])].add(device.name)
    tails.pop("", None)
    return exact, tails


def _words(name: str) -> tuple[str, ...]:
    words = re.findall(r"[a-z0-9]+", _NOISE.sub(" ", name.replace("_", " ")).lower())
    return tuple(words if words[:1] == ["generic"] else (word for word in words if word not in _MARKETING))


def _nearest(words: tuple[str, ...], count: int = 5) -> list[str]:
    def likeness(name: str) -> tuple[int, float]:
        return len(set(words) & set(name.split("-"))), difflib.SequenceMatcher(None, "-".join(words)[:80], name).ratio()

    return sorted(catalogue(), key=likeness, reverse=True)[:count]


def _listed(names: Iterable[str], word: str) -> str:
    *rest, last = names
    return f"{', '.join(rest)} {word} {last}" if rest else last
