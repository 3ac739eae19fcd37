"""Values that carry where they come from: facts from tables, and the assumptions an answer rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FactStatus = Literal["measured", "published", "datasheet", "derived", "default"]
"""measured: by us; published: somebody's measurement; datasheet: the vendor's word; derived: computed from other
facts by the formula that the source names; default: a stated choice."""

AssumptionStatus = Literal["given", "detected", "default"]


@dataclass(frozen=True)
class Fact:
    """One value of a table, with unit, source and status. A value that is not known is no `Fact` but `None`."""

    value: float
    unit: str
    source: str
    status: FactStatus


@dataclass(frozen=True)
class Assumption:
    """One choice that an answer rests on.

    `status` says who chose it: "given" by the user, "detected" from the machine or the model file, "default" by
    nobody; `flag` is what to type to change it, "" where nothing can.
    """

    name: str
    value: float | int | str
    unit: str
    status: AssumptionStatus
    source: str
    flag: str = ""
