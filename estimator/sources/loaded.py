"""What every source hands back, and the words its errors share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from estimator.base.errors import ModelFileError
from estimator.sources.inputs import InputSpec

if TYPE_CHECKING:
    import torch

EXPORT_LINE = 'torch.export.save(torch.export.export(model, (example_input,)), "model.pt2")'
"""The line to paste where a file cannot be read: run beside the model's own code, it writes a readable `.pt2`."""

NAME_THE_CODE = "name the model's code instead, `estimate file.py:Net`"
"""The remedy where a file does not tell enough, or more than may be believed."""


def no_code_file(path: object) -> ModelFileError:
    """The error for a Python file that is named and is not there."""
    return ModelFileError(f"there is no file {path}: give the path of the Python file, `estimate path/to/file.py:Net`")


@dataclass(frozen=True)
class LoadedModel:
    """An architecture without its weights, and what its source tells of its inputs.

    `module` has its parameters and buffers on the meta device. `inputs` is None where the source tells nothing;
    `fixed_batch` is the only batch size at which an export with a static batch dimension can be traced; `notes` are
    sentences about what of the source was left out. `no_batch` is the sentence that says why the inputs hold one sample
    and no batch, "" where they have a batch dimension. `dtype` is the number format that the model's
    settings name, in their own spelling, which need not be one that can be priced; None where they name none.
    `of_file` says that its sizes are the word of a file, for which seconds and memory are limited (`base/budget.py`).
    """

    module: torch.nn.Module
    name: str
    form: str
    inputs: tuple[InputSpec, ...] | None = None
    inputs_source: str = ""
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()
    dtype: str | None = None
    of_file: bool = False
    no_batch: str = ""
