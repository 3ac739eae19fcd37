"""Activation checkpointing: blocks whose forward pass runs again in the backward pass, so that less is kept between."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from estimator.base.errors import ScenarioError

_MARKED = "GradientCheckpointingLayer"
"""What transformers derives the layers from that `gradient_checkpointing_enable` checkpoints."""


def blocks_of(module: nn.Module) -> tuple[nn.Module, ...]:
    """The blocks that libraries checkpoint one by one, in the model's order; empty where it has none.

    Those that transformers marks; else the members of lists (`nn.ModuleList`, `nn.Sequential`) that have layers of
    their own and a type that two or more have, and of those inside each other the innermost (blocks, not stages).
    """
    marked = [m for m in module.modules() if any(kind.__name__ == _MARKED for kind in type(m).__mro__)]
    if marked:
        return tuple(marked)
    lists = [m for m in module.modules() if isinstance(m, (nn.ModuleList, nn.Sequential))]
    composite = {id(m): m for of in lists for m in of if next(m.children(), None) is not None}
    counts = Counter(type(m) for m in composite.values())
    found = {at: m for at, m in composite.items() if counts[type(m)] > 1}
    return tuple(m for m in found.values() if not any(id(inner) in found for inner in m.modules() if inner is not m))


def _again(forward: Any, *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, determinism_check="none", **kwargs)


@contextlib.contextmanager
def checkpointed(module: nn.Module, *, wanted: bool) -> Iterator[None]:
    """While active and `wanted`, the blocks of `module` are called through `torch.utils.checkpoint`.

    So torch itself says what runs again: all of a block up to the last tensor that was saved. Raises `ScenarioError`
    where there is no block.
    """
    blocks = blocks_of(module) if wanted else ()
    if wanted and not blocks:
        raise ScenarioError(
            "--checkpointing full finds no repeated blocks (members of an nn.ModuleList or nn.Sequential that have "
            "layers of their own); leave it out, or call torch.utils.checkpoint in the model's code, which is followed."
        )
    before = [vars(block).get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = partial(_again, block.forward)
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is None:
                vars(block).pop("forward", None)
            else:
                block.forward = own
