"""What a library raises, whatever its class, is one sentence; our own sentences and the user's interrupt stay."""

from __future__ import annotations

import struct
import sys
import types

import pytest

from estimator.base.budget import OverBudget
from estimator.base.errors import ModelFileError
from estimator.sources import load
from estimator.sources.building import foreign_code


class OfItsOwn(Exception):
    """No class of Python's."""


RAISED = [
    *(struct.error("x"), OverflowError("x"), RecursionError("x"), AttributeError("x")),
    *(OfItsOwn("x"), SystemExit("x")),
]
NAME_OF = {"ids": lambda error: type(error).__name__}


@pytest.mark.parametrize("error", RAISED, **NAME_OF)
def test_any_error_is_a_sentence(error):
    with pytest.raises(ModelFileError) as caught, foreign_code(lambda why: f"it cannot be built ({why}): try another"):
        raise error
    assert str(caught.value) == f"it cannot be built ({type(error).__name__}: x): try another"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OverBudget("ours")], **NAME_OF)
def test_an_interrupt_and_our_own_sentences_stay(error):
    with pytest.raises(type(error)) as caught, foreign_code(lambda why: "another"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", RAISED, **NAME_OF)
@pytest.mark.parametrize("asked", ["is_model", "create_model"])
def test_a_library_that_raises_when_it_is_asked(monkeypatch, asked, error):
    def raises(*args, **kwargs):
        raise error

    library = types.SimpleNamespace(is_model=lambda name: True, list_models=list, create_model=raises)
    setattr(library, asked, raises)
    monkeypatch.setitem(sys.modules, "timm", library)
    with pytest.raises(ModelFileError, match=rf"{type(error).__name__}: x"):
        load("timm:resnet18")


@pytest.mark.parametrize(
    "error", [OSError("x"), RuntimeError("x"), OfItsOwn("x")], ids=lambda error: type(error).__name__
)
def test_a_library_that_cannot_be_imported(monkeypatch, tmp_path, error):
    (tmp_path / "timm.py").write_text("import builtins\nraise builtins.raised_here\n")
    monkeypatch.setattr("builtins.raised_here", error, raising=False)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match=rf"timm cannot be imported \({type(error).__name__}: x\)"):
        load("timm:resnet18")
