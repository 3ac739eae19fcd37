"""Amounts, dtypes and optimizers as people write them."""

from __future__ import annotations

import pytest

from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.spellings import amount, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("100k", 100_000), ("100K", 100_000), ("1.2M", 1_200_000), ("1e6", 1_000_000), ("2 B", 2_000_000_000)),
        *(("1,000,000", 1_000_000), ("1_000", 1_000), ("1,281,167", 1_281_167), (" 7 ", 7), ("0.5", 0.5), ("-3", -3)),
    ],
)
def test_amounts(text, value):
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "k", "1kk", "1,5", "1,00", "ten", "10 %", "0x10", "1k5"])
def test_what_is_no_amount(text):
    with pytest.raises(ValueError):
        amount(text)


def test_what_is_counted_is_whole():
    assert whole("1k") == 1000 and isinstance(whole("1e3"), int)
    for text in ("1.5", "nan", "inf"):
        with pytest.raises(ValueError):
            whole(text)


# the names of torch's documentation: torch.half is torch.float16, torch.float is torch.float32
@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        *((text, "float16") for text in ("fp16", "FP16", "half", "torch.float16", "torch.half")),
        *((text, "bfloat16") for text in ("bf16", "BFloat16", "torch.bfloat16")),
        *((text, "float32") for text in ("fp32", "float", "Float32", "single")),
    ],
)
def test_dtypes(text, dtype):
    assert Scenario(dtype=text).dtype == dtype


@pytest.mark.parametrize(("text", "name"), [("SGD", "sgd"), ("AdamW", "adamw"), ("torch.optim.Adam", "adam")])
def test_optimizers(text, name):
    assert Scenario(optimizer=text).optimizer == name
