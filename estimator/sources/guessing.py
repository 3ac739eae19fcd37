"""The inputs of a model that nobody gave: as its library's settings tell, else as its first layer does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estimator.base.errors import InputError
from estimator.base.words import told
from estimator.sources.inputs import FORMS, InputSpec, lazy_layers, of_first_layer
from estimator.sources.libraries.library_inputs import inputs_of_library_model

if TYPE_CHECKING:
    import torch


def guess_inputs(module: torch.nn.Module) -> tuple[tuple[InputSpec, ...], str]:
    """The inputs of a model and where they come from: its library's own settings, else its first layer.

    `is_assumed` tells of the second whether it assumed a dimension. Raises `InputError` naming `--input` where
    neither tells.
    """
    if unknown := lazy_layers(module):
        raise InputError(unknown)
    try:
        found = inputs_of_library_model(module)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # settings of an unexpected kind
        found = None
    try:
        return found or of_first_layer(module)
    except AttributeError as error:  # a layer of a file, without what its class gives every layer
        raise InputError(
            f"a layer of the model does not tell its sizes ({told(error)}): give one sample's shape with `--input`, "
            f"{FORMS}, or save the model again with the installed version of its library"
        ) from error
