"""Architecture search, priced before it runs: `from estimator.search import Plan, search`. Needs Optuna."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from estimator.search.answer import Runner, SearchCost, search
    from estimator.search.curves import Curves
    from estimator.search.plan import Plan
    from estimator.search.pricing import Pricer
    from estimator.search.real import Ledger, priced

_WHERE = {
    "Plan": "plan",
    "Curves": "curves",
    "Runner": "answer",
    "SearchCost": "answer",
    "search": "answer",
    "Pricer": "pricing",
    "Ledger": "real",
    "priced": "real",
}

__all__ = ["Curves", "Ledger", "Plan", "Pricer", "Runner", "SearchCost", "priced", "search"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
