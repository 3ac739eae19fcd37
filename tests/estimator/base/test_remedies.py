"""The remedy is a shape only where one can help."""

from __future__ import annotations

import pytest

from estimator.base.remedies import said_and_remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x7 and 20x3)"), "one sample's shape with --input"),
        (RuntimeError("Given groups=1, expected input to have 3 channels"), "one sample's shape with --input"),
        (RuntimeError("addmm of integers and floating point"), "one sample's shape with --input"),
        (IndexError("Dimension out of range"), "one sample's shape with --input"),
        (ValueError("not enough values to unpack (expected 4, got 3)"), "one sample's shape with --input"),
        (TypeError("Net.forward() missing 1 required positional argument: 'mask'"), "--input NAME=3x224x224"),
        (TypeError("forward() got an unexpected keyword argument 'ids'"), "--input NAME=3x224x224"),
        (RuntimeError("expected BFloat16 weights"), "--dtype bfloat16"),
        (AttributeError("'Tensor' object has no attribute 'x'"), "returns (model, example)"),
        (KeyError("ids"), "returns (model, example)"),
        (ImportError("No module named 'flash_attn'"), "no shape helps"),
        (NotImplementedError(), "no shape helps"),
        (SystemExit(3), "no shape helps"),
    ],
)
def test_remedies(error, remedy):
    sentence, told = said_and_remedy(error)
    assert sentence and remedy in told
    assert ("--input" in told) is ("--input" in remedy)
