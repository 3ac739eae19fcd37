"""A name that is no file: what was probably meant."""

from __future__ import annotations

import pytest

from tests.estimator.sources.conftest import refusal


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_a_models_name_is_told_with_its_library(name):
    pytest.importorskip(name)
    assert f"`{name}:resnet50`" in refusal("resnet50")


def test_a_type_of_transformers():
    pytest.importorskip("transformers")
    assert "`transformers:bert`" in refusal("bert")


def test_a_file_beside(tmp_path):
    (tmp_path / "encoder.pt").touch()
    assert f"did you mean `{tmp_path / 'encoder.pt'}`" in refusal(str(tmp_path / "encodr.pt"))


def test_nothing_like_it_names_the_forms(tmp_path):
    assert "`file.py:Net`" in refusal(str(tmp_path / "missing.pt"))
    assert "`file.py:Net`" in refusal("resnet50.*(")
