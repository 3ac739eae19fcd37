"""The switches of a scenario that say how a model is run: each is off where nobody turns it, as in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from estimator.base.errors import ScenarioError
from estimator.base.facts import Assumption
from estimator.lifecycle.spellings import dtype_of

OFF = "none"
CHOICES: Mapping[str, tuple[str, ...]] = {
    "autocast": (OFF, "bfloat16", "float16"),
    "checkpointing": (OFF, "full"),
    "compile": (OFF, "default", "reduce-overhead"),
}
"""The positions of each switch, by its field of `Scenario`."""

NAMES = (*CHOICES, "accumulate")
"""The fields of `Scenario` that are told here."""

_MEANS: Mapping[tuple[str, str], str] = {
    ("autocast", "bfloat16"): "products in bfloat16, norms and losses in float32 (torch.autocast); weights float32",
    ("autocast", "float16"): "products in float16, norms and losses in float32 (torch.autocast, GradScaler)",
    ("compile", "default"): "inductor: elementwise ops, norms and reductions fused, channels last where it decides so",
    ("compile", "reduce-overhead"): "the same, and CUDA graphs, which leave the host nothing to launch",
    ("checkpointing", "full"): "repeated blocks run their forward pass again in the backward pass",
}


def settled(name: str, value: object) -> str | None:
    """The position of the switch `name`, in torch's own words; None where it is off.

    Raises `ScenarioError` where the switch has no such position.
    """
    if value is None:
        return None
    position = dtype_of(str(value).strip())
    if position not in CHOICES[name]:
        raise ScenarioError(f"--{name} is one of {', '.join(CHOICES[name])}, not {value!r}.")
    return None if position == OFF else position


def check(values: Mapping[str, Any]) -> None:
    """Raises `ScenarioError` where a scenario of these `values` switches on what excludes something else in it."""
    if values["autocast"] is not None and values["dtype"] not in (None, "float32"):
        raise ScenarioError(
            f"--autocast keeps weights in float32, and --dtype {values['dtype']} does not; give one of them."
        )


def given(values: Mapping[str, Any]) -> Iterator[Assumption]:
    """The switches that were turned."""
    for name in CHOICES:
        if values[name] is not None:
            yield Assumption(name, values[name], "", "given", _MEANS[name, values[name]], f"--{name}")
    if values["accumulate"] is not None:
        why = "the optimizer's step is one of so many batches"
        yield Assumption("accumulate", values["accumulate"], "batches", "given", why, "--accumulate")
