"""One budget for building and tracing a model, whatever its form: what it may take, and the sentence where it is more.

`Limits` are the numbers to change; `limited(seconds=60)` sets others for the code inside, as `--limit seconds=60` does.
Layers, parameters, elements and ops are counted, the same on any machine. Seconds and memory are for what a file asks
of a library, which no count can tell; code of one's own may take its time, unless a limit is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from estimator.base.errors import ModelFileError
from estimator.base.watch import Watch, What

Limit = Literal["layers", "parameters", "elements", "ops", "seconds", "memory"]

FILE_SECONDS = 9.0
"""Processor time to read and trace what a file describes, imports aside. A model of 70 billion parameters takes 3."""

FILE_MEMORY = 0.5e9
"""Bytes of memory to read and trace what a file describes, beside that of the libraries; weights take none of it."""

OWN_MEMORY = 4e9
"""Bytes of tensors that code of one's own may make where it cannot be built without."""


@dataclass(frozen=True)
class Limits:
    """What one model may take. `seconds` and `memory` (bytes) are None for the defaults, which are those of files."""

    layers: float = 100_000
    """Of a model, and calls of layers in one pass. 671 billion parameters in experts made one by one are 75,000."""
    parameters: float = 1e14
    """The largest models that are known have 2e12."""
    elements: float = 2.0**28
    """Of a picture that settings ask for: 16,384 x 16,384."""
    ops: float = 600_000
    """Of one pass, steps of recurrent layers and results of one op too. 80 transformer layers take 17,000 to train."""
    seconds: float | None = None
    memory: float | None = None


class OverBudget(ModelFileError):
    """Building or tracing the model takes more than it may."""


class Exhausted(BaseException):
    """A limit is exceeded. No `Exception`, so that nothing a library catches keeps the work going."""


_WORDS: dict[Limit, str] = {
    "layers": "{} layers",
    "parameters": "{} parameters",
    "elements": "{} elements of a picture",
    "ops": "{} ops in one pass",
    "seconds": "{} s of processor time",
    "memory": "{}B of memory",
}


class _Account:
    """What one model has been charged, from its reading to its last pass."""

    def __init__(self) -> None:
        self._made: dict[Limit, float] = {}
        self._of_file = False
        self._watch: Watch | None = None
        if _limits.get().seconds is not None or _limits.get().memory is not None:
            self._begin()

    def read_from_file(self) -> None:
        """From now on the defaults for files hold."""
        if not self._of_file:
            self._of_file = True
            self._begin()

    def made(self, what: Limit, amount: float) -> None:
        """Add to what was made while the model is built; raises `Exhausted`."""
        self._made[what] = self._made.get(what, 0) + amount
        if self._made[what] > self.most(what):
            raise self.exhausted(what)

    def most(self, what: Limit) -> float:
        """The limit in force."""
        given: float | None = getattr(_limits.get(), what)
        if given is not None:
            return given
        if what == "seconds":
            return FILE_SECONDS if self._of_file else math.inf
        return FILE_MEMORY if self._of_file else OWN_MEMORY

    def exhausted(self, what: Limit) -> Exhausted:
        """What is raised where a limit is exceeded."""
        return Exhausted(_sentence(what, self.most(what)))

    def _begin(self) -> None:
        self.close()
        self._watch = Watch(self.most("seconds"), self.most("memory"), self._over)
        self._watch.start()

    def _over(self, what: What) -> None:
        raise self.exhausted(what)

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.stop()


_limits: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039 - it is frozen
_account: ContextVar[_Account | None] = ContextVar("account", default=None)


def limits() -> Limits:
    """The limits in force."""
    return _limits.get()


@contextmanager
def limited(**given: float) -> Iterator[None]:
    """Other limits for every model that is read and priced inside: `limited(seconds=60, memory=4e9, layers=1e6)`."""
    token = _limits.set(replace(_limits.get(), **given))
    try:
        yield
    finally:
        _limits.reset(token)


@contextmanager
def spending() -> Iterator[None]:
    """Everything inside is charged to one model; nested, the outermost counts. Raises `OverBudget`."""
    if _account.get() is not None:
        yield
        return
    account = _Account()
    token = _account.set(account)
    try:
        yield
    except Exhausted as error:
        raise OverBudget(str(error)) from error
    finally:
        account.close()
        _account.reset(token)


def read_from_file() -> None:
    """The model that is being read or priced is what a file says: seconds and memory are limited from now on."""
    account = _account.get()
    if account is not None:
        account.read_from_file()


def made(what: Limit, amount: float = 1) -> None:
    """Charge what is made while a model is built; raises `Exhausted`."""
    account = _account.get()
    if account is not None:
        account.made(what, amount)


def check(what: Limit, amount: float) -> None:
    """Raises `OverBudget` for an amount that is known beforehand."""
    most = getattr(_limits.get(), what)
    if amount > most:
        raise OverBudget(_sentence(what, most, amount))


class Counter:
    """How many of something one pass may still take."""

    def __init__(self, what: Limit) -> None:
        self._what, self._most = what, getattr(_limits.get(), what)
        self._left = self._most

    def spend(self) -> None:
        """Take one; raises `Exhausted` where none are left, again and again."""
        self._left -= 1
        if self._left < 0:
            raise Exhausted(_sentence(self._what, self._most))


def _sentence(what: Limit, most: float, amount: float = 0) -> str:
    return (
        f"the model takes more than {_WORDS[what].format(_short(most))}: check the sizes in its config or file, give a "
        f"smaller model or input, or allow more with `--limit {what}={_short(max(amount, 4 * most))}`"
    )


def _short(amount: float) -> str:
    """100000 as "100k", rounded up: as `--limit` reads it."""
    power = min(4, max(0, len(str(int(amount))) - 1) // 3)
    scaled = math.ceil(amount / 1000**power * 100) / 100
    return f"{scaled:.15g}{' kMGT'[power].strip()}"
