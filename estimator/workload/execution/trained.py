"""Which parameters of a model are trained, and the tensors without data that stand in for all of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from estimator.base.errors import ScenarioError


def trainable_parameters(module: nn.Module, freeze: Sequence[str] = ()) -> frozenset[str]:
    """Dotted names of the parameters that are trained: those with a gradient that no pattern of `freeze` matches.

    A pattern (shell style) matches a parameter's name, or the module that holds it: "layer1", "encoder.*.bias".
    Raises `ScenarioError` where a pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, p in module.named_parameters(remove_duplicate=False)]
    frozen: set[str] = set()
    for pattern in freeze:
        matched = {n for n in names if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n, pattern + ".*")}
        if not matched:
            shown = ", ".join(dict.fromkeys(n.split(".")[0] for n in names))
            raise ScenarioError(f"--freeze {pattern!r} matches no parameter; the model's top-level parts are: {shown}.")
        frozen |= matched
    named = list(module.named_parameters(remove_duplicate=False))
    frozen_ids = {id(p) for n, p in named if n in frozen}  # a tied parameter is frozen under all its names
    trainable = {n for n, p in named if p.requires_grad and id(p) not in frozen_ids}
    if freeze and not trainable:
        raise ScenarioError("--freeze leaves nothing to train; freeze fewer parameters.")
    return frozenset(trainable)


def stand_ins(module: nn.Module, trainable: frozenset[str], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Stand-ins without data for every parameter and buffer, floating ones in `dtype`; tied ones stay one tensor."""
    made: dict[int, Tensor] = {}
    ghosts: dict[str, Tensor] = {}
    for named, parameters in ((module.named_parameters, True), (module.named_buffers, False)):
        for name, t in named(remove_duplicate=False):
            if id(t) not in made:
                to = dtype if t.dtype.is_floating_point else t.dtype
                made[id(t)] = torch.empty_strided(t.shape, t.stride(), dtype=to, device=device)
                made[id(t)].requires_grad_(parameters and name in trainable)
            ghosts[name] = made[id(t)]
    return ghosts
