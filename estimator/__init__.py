"""Ex ante: what a PyTorch model will cost in joules, before anything has run. Nothing here reads a clock or a counter.

from estimator import estimate, Scenario
footprint = estimate("model.pt", Scenario(epochs=10, samples=100_000))
print(footprint.training.stage.energy_kwh)

`register_flops` tells the FLOPs of an operator of your own, which is named as not counted otherwise.
`with limited(seconds=60):` sets how much reading and tracing one model may take, as `--limit` does.

Public, and kept from version to version: the names in `__all__`, the command line, and the JSON of `to_dict`
(docs/json.md). All other modules are rooms of the house (docs/architecture.md) and may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from estimator.base.budget import limited
    from estimator.base.errors import JoulecastError
    from estimator.footprint import Footprint, estimate
    from estimator.lifecycle.scenario import Scenario
    from estimator.report.contract import to_dict
    from estimator.workload.registered import register_flops

_WHERE = {
    "estimate": "estimator.footprint",
    "Footprint": "estimator.footprint",
    "Scenario": "estimator.lifecycle.scenario",
    "JoulecastError": "estimator.base.errors",
    "limited": "estimator.base.budget",
    "to_dict": "estimator.report.contract",
    "register_flops": "estimator.workload.registered",
}

__all__ = ["Footprint", "JoulecastError", "Scenario", "estimate", "limited", "register_flops", "to_dict"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that importing the package does not import torch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
