"""What is searched, and how it is simulated: the plan, and the units of work that it falls into."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from estimator.base.errors import ScenarioError
from estimator.hardware.profile import HardwareProfile
from estimator.lifecycle.scenario import Scenario
from estimator.search.curves import Curves
from estimator.search.strategies import BLIND, INDEPENDENT, pruner_of, sampler_of

DEFAULT_TRIALS = 100
MOST_STUDIES = 20
_PRICED_BY_DEFAULT = 4000
MOST_TRIALS = 10_000_000
_BLOCK = 250
"""Trials of one unit, where trials do not depend on each other."""


class Unit(NamedTuple):
    """Trials that are simulated together: a whole study, or a block of independent ones from number `first` on."""

    study: int
    first: int
    trials: int


@dataclass(frozen=True)
class Plan:
    """A search to be priced. `space` is a file (`space.py`) or the function `build(trial)` itself.

    `scenario.trials` is the number of trials of one study. `patience` stops a trial's training after so many epochs
    without a new best loss. The search is simulated `studies` times (None: as often as makes 4,000 trials, 3 to 20
    times), each time in another world of learning curves. The same `seed` gives the same answer. `hardware` replaces
    the scenario's by a profile of one's own. Raises `ScenarioError` for a sampler or pruner that does not exist.
    """

    space: str | Callable[[Any], Any]
    scenario: Scenario
    sampler: str = "tpe"
    pruner: str = "none"
    patience: int | None = None
    studies: int | None = None
    curves: Curves = field(default_factory=Curves)
    seed: int = 0
    hardware: HardwareProfile | None = None

    def __post_init__(self) -> None:
        sampler_of(self.sampler, 0)
        pruner_of(self.pruner, 1)
        for flag, value in (("--early-stopping", self.patience), ("--studies", self.studies)):
            if value is not None and value < 1:
                raise ScenarioError(f"{flag} is a whole number from 1 up, not {value}.")
        if self.trials > MOST_TRIALS:
            raise ScenarioError(f"--trials of a search is at most {MOST_TRIALS:,}: price fewer, and multiply.")
        if self.seed < 0:
            raise ScenarioError(f"--seed is a whole number from 0 up, not {self.seed}.")
        if not 0 <= self.curves.spread <= 10:
            raise ScenarioError(f"--curve-spread is a number from 0 to 10, not {self.curves.spread:g}.")

    @property
    def trials(self) -> int:
        """Trials of one study."""
        return self.scenario.trials or DEFAULT_TRIALS

    @property
    def times(self) -> int:
        """How often the search is simulated."""
        return self.studies or max(3, min(MOST_STUDIES, _PRICED_BY_DEFAULT // self.trials))

    @property
    def reads_losses(self) -> bool:
        """Whether anything depends on the simulated learning curves."""
        return self.pruner != "none" or self.patience is not None or self.sampler not in BLIND

    def units(self) -> Iterator[Unit]:
        """The units of work, in the order of their trials."""
        alone = self.sampler in INDEPENDENT and self.pruner == "none"
        size = _BLOCK if alone else self.trials
        for study in range(self.times):
            for first in range(0, self.trials, size):
                yield Unit(study, first, min(size, self.trials - first))

    @property
    def fingerprint(self) -> str:
        """Equal for plans that give equal results."""
        machine = self.hardware and (self.hardware.name, self.hardware.status, self.hardware.source)
        if isinstance(self.space, str):
            file = Path(self.space.partition(".py")[0] + ".py")
            space: Any = self.space, file.read_bytes() if file.is_file() else b""
        else:
            space = _told_of(self.space)
        told = (space, self.scenario, self.sampler, self.pruner, self.patience, self.times, self.curves, self.seed)
        return hashlib.sha256(repr((told, machine)).encode()).hexdigest()[:16]


def _told_of(build: Callable[[Any], Any]) -> Any:
    """What tells `build` from another function: its code and what that encloses, or the very object without them."""
    try:
        return build.__module__, inspect.getsource(build), repr(inspect.getclosurevars(build).nonlocals)
    except (OSError, TypeError):  # typed in, or no function
        return repr(build)
