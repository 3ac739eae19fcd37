"""Which values ops read and write, so that what runs as one kernel can be told from what they hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from estimator.workload.formulas import nbytes

Value = tuple[int, int]
"""What stands in a memory between two writes: which memory, and how often it was written before."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The bytes of each value that an op reads, and of each that it writes, its first result first."""

    reads: dict[Value, int]
    writes: dict[Value, int]


class DataFlow:
    """Follows values through ops: views of a memory are one value, and a write in place makes a new one of it."""

    def __init__(self) -> None:
        self.flows: list[Flow] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # a memory that is given back would be another's by its address
        self._written: dict[int, int] = {}

    def _memory(self, t: Tensor) -> int:
        storage = t.untyped_storage()
        number = self._numbers.setdefault(storage._cdata, len(self._numbers))
        if number == len(self._kept):
            self._kept.append(storage)
        return number

    def follow(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """The next op reads `inputs` and writes `outputs`; of the same memory it reads the value before."""
        reads: dict[Value, int] = {}
        for t in inputs:
            memory = self._memory(t)
            value = memory, self._written.get(memory, 0)
            reads[value] = max(reads.get(value, 0), nbytes(t))
        writes: dict[Value, int] = {}
        for t in outputs:
            memory = self._memory(t)
            self._written[memory] = self._written.get(memory, 0) + 1
            writes[memory, self._written[memory]] = nbytes(t)
        self.flows.append(Flow(reads, writes))
