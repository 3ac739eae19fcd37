"""What people write for an amount, a dtype or an optimizer: `100k`, `bf16`, `SGD`; each is understood."""

from __future__ import annotations

import re

_DTYPES = {
    "float32": ("fp32", "f32", "float", "single"),
    "bfloat16": ("bf16",),
    "float16": ("fp16", "f16", "half"),
}
_DTYPE_OF = {spelling: dtype for dtype, spellings in _DTYPES.items() for spelling in spellings}
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_AMOUNT = re.compile(r"(?P<number>[^kmgbt]+?)\s*(?P<factor>[kmgbt]?)", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([,_]\d{3})+(\.\d*)?")


def amount(text: str) -> float:
    """`100k`, `1.2M`, `1e6`, `1,000,000` or `1_000_000` as a number; raises `ValueError` where it is none."""
    text = text.strip()
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", "").replace("_", ""))
    try:
        return float(text)
    except ValueError:
        found = _AMOUNT.fullmatch(text)
        if found is None:
            raise
        return float(found["number"]) * _FACTORS[found["factor"].lower()]


def whole(text: str) -> int:
    """As `amount`, of what is counted: `1k` batches are 1,000; raises `ValueError` for a part of one."""
    value = amount(text)
    if not value.is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(value)


def dtype_of(name: str) -> str:
    """torch's name of a dtype: `bf16`, `half` and `torch.float16` in any case; an unknown name stays as it is."""
    plain = name.strip().lower().removeprefix("torch.")
    known = plain in _DTYPES or plain in _DTYPE_OF
    return _DTYPE_OF.get(plain, plain) if known else name


def optimizer_of(name: str) -> str:
    """The optimizer's name in lower case: `SGD`, `AdamW` and `torch.optim.Adam` are read."""
    return name.strip().lower().removeprefix("torch.optim.")
