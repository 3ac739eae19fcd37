"""How a model and PyTorch are set while a model is traced; each setting is put back afterwards."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import nn
from torch.distributions import Distribution


@contextlib.contextmanager
def module_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Train or eval mode, restored per submodule afterwards; the fused transformer path, unknown to meta, is off."""
    before = [(m, m.training) for m in module.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    if any(was is not training or type(m).train is not nn.Module.train for m, was in before):
        module.train(training)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for submodule, was in before:
            if submodule.training is not was:
                submodule.training = was


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch from logging the traceback of an error that is reported here."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Keeps distributions from checking their arguments' values, as `torch.compile` does: nothing depends on it."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
