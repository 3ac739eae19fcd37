"""Boosted regression trees as plain arrays: what scikit-learn fitted, evaluated without it and without unpickling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Forest:
    """A sum of trees. Arrays run over all nodes of all trees.

    `feature` is -1 at a leaf; a row goes to `left` where its feature is at most `threshold`, else to `right` (indices
    of nodes; children come after their parents). `value` is what a leaf adds; `roots` are the trees' first nodes.
    """

    base: float
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        if any(len(a) != nodes for a in (self.threshold, self.left, self.right, self.value)):
            raise ValueError("a forest's arrays differ in length")
        inner, at = self.feature >= 0, np.arange(nodes)
        for child in (self.left, self.right):
            if not (np.all(child[inner] > at[inner]) and np.all(child[inner] < nodes)):
                raise ValueError("a forest's children come after their parents")
        if len(self.roots) and not (self.roots.min() >= 0 and self.roots.max() < nodes):
            raise ValueError("a forest's roots are nodes")
        if not (np.isfinite(self.base) and np.isfinite(self.value).all() and not np.isnan(self.threshold).any()):
            raise ValueError("a forest holds finite numbers")

    def predict(self, rows: Floats) -> Floats:
        """One number for each row of `rows`, (n, features)."""
        return np.concatenate(
            [self._some(rows[i : i + _AT_ONCE]) for i in range(0, len(rows), _AT_ONCE)] or [rows[:, 0]]
        )

    def _some(self, rows: Floats) -> Floats:
        at = np.broadcast_to(self.roots, (len(rows), len(self.roots))).copy()
        which = np.arange(len(rows))[:, None]
        while True:
            feature = self.feature[at]
            inner = feature >= 0
            if not inner.any():
                break
            goes_left = rows[which, np.where(inner, feature, 0)] <= self.threshold[at]
            at = np.where(inner, np.where(goes_left, self.left[at], self.right[at]), at)
        total: Floats = self.base + self.value[at].sum(axis=1)
        return total
