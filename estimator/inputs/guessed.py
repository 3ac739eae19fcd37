"""Sizes that nobody gave: a model that takes no others fixes them; any other leaves them a guess, which is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from estimator.base.errors import InputError, JoulecastError
from estimator.base.facts import Assumption
from estimator.base.words import printable
from estimator.inputs.chosen import ChosenInputs
from estimator.sources.inputs import InputSpec

_Specs = tuple[InputSpec, ...]


def weighed(chosen: ChosenInputs, flops_at: Callable[[_Specs], float]) -> ChosenInputs:
    """`chosen`, with a warning where its sizes are a guess, and as detected where the model takes no others.

    `flops_at` gives the FLOPs per sample at other sizes, and raises a `JoulecastError` where the model refuses them.
    """
    if chosen.assumption.status != "default":
        return chosen
    for specs in _other_sizes(chosen.specs):
        try:
            flops, other = flops_at(chosen.specs), flops_at(specs)
        except JoulecastError:
            continue
        worth = f" ({other / flops:.3g} times the FLOPs)" if flops else ""
        warning = (
            f"nobody gave the input's sizes, and the model takes others: {chosen.assumption.value} is a guess, and it "
            f"runs at {_shown(specs)} too{worth}; give one sample's shape with --input"
        )
        return replace(chosen, warnings=(warning, *chosen.warnings))
    told = replace(chosen.assumption, status="detected", source=f"{chosen.assumption.source}; the model takes no other")
    return replace(chosen, assumption=told)


def refuse_guesses(assumptions: Iterable[tuple[str, Iterable[Assumption]]]) -> None:
    """Raises an `InputError` that names the models whose input is a guess: what `--strict` asks for.

    `assumptions` are those of each model, beside its name.
    """
    guessed = {
        f"{printable(name)} ({assumption.value})": None
        for name, made in assumptions
        for assumption in made
        if assumption.name == "input" and assumption.status == "default"
    }
    if guessed:
        raise InputError(
            f"--strict takes no guesses, and the input is one of {', '.join(guessed)}: "
            "give one sample's shape with --input"
        )


def _other_sizes(specs: _Specs) -> Iterator[_Specs]:
    """`specs` at half and at twice each size, the largest first: equal sizes together, as of a square, then alone."""
    sizes = sorted({size for spec in specs for size in spec.shape}, reverse=True)
    places = [(i, k) for i, spec in enumerate(specs) for k in range(len(spec.shape))]
    together = [[(i, k) for i, k in places if specs[i].shape[k] == size] for size in sizes]
    alone = [[place] for moved in together if len(moved) > 1 for place in moved]
    for moved in (*together, *alone):
        for half in (True, False):
            shapes = [list(spec.shape) for spec in specs]
            for i, k in moved:
                shapes[i][k] = shapes[i][k] // 2 if half else shapes[i][k] * 2
            if all(size for shape in shapes for size in shape):
                yield tuple(replace(spec, shape=tuple(shape)) for spec, shape in zip(specs, shapes, strict=True))


def _shown(specs: _Specs) -> str:
    return " ".join(map(str, specs))
