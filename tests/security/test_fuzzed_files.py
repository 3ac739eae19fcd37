"""Random damage: a file loads or is refused with a `ModelFileError`; nothing else happens."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from estimator.base.errors import FOREIGN_ERRORS, ModelFileError
from estimator.sources import load
from tests.security import files
from tests.security.damage import EXPORT_VALUES, damage_json, damaged

_TEMPORARY = tempfile.TemporaryDirectory(prefix="joulecast-fuzz-")
FOLDER = Path(_TEMPORARY.name)


def saved(**how: Any) -> bytes:
    stream = io.BytesIO()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LSTM(4, 5), nn.TransformerEncoderLayer(8, 2))
    torch.save(model, stream, **how)
    return stream.getvalue()


ZIPPED = saved()
LEGACY = saved(_use_new_zipfile_serialization=False)
with zipfile.ZipFile(io.BytesIO(ZIPPED)) as _archive:
    PICKLED = _archive.read(next(name for name in _archive.namelist() if name.endswith("data.pkl")))


def loads_or_is_refused(content: bytes, suffix: str = ".pt") -> None:
    path = FOLDER / f"fuzzed{suffix}"
    path.write_bytes(content)
    try:
        loaded = load(str(path))
    except ModelFileError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert isinstance(loaded.module, nn.Module) and all(p.is_meta for p in loaded.module.parameters())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", files.MAGIC]))
def test_random_bytes(content, head):
    loads_or_is_refused(head + content)


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1), st.sampled_from([ZIPPED, LEGACY]))
def test_truncation(part, whole):
    loads_or_is_refused(whole[: int(part * len(whole))])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([ZIPPED, LEGACY]))
def test_damaged_files(seed, whole):
    loads_or_is_refused(damaged(whole, random.Random(seed)))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_pickle_programs(seed):
    path = FOLDER / "program.pt"
    files.torch_zip(path, damaged(PICKLED, random.Random(seed)))
    loads_or_is_refused(path.read_bytes())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_pickle_programs(content):
    path = FOLDER / "random.pt"
    files.torch_zip(path, b"\x80\x02" + content + b".")
    loads_or_is_refused(path.read_bytes())


NODES = (
    files.node("torch.ops.aten.sym_size.int", files.tensor("x"), {"as_int": 0}),
    files.node(
        "torch.ops.aten.view.default",
        files.tensor("x"),
        {"as_sym_ints": [{"as_int": -1}, {"as_int": 4}]},
        outputs=("v",),
    ),
    files.node("torch.ops.aten.mean.dim", files.tensor("v"), {"as_ints": [0]}),
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_exports(seed):
    rng = random.Random(seed)
    content = json.loads(json.dumps(files.export_json(*NODES)))
    damage_json(content, rng, EXPORT_VALUES)
    path = FOLDER / "fuzzed.pt2"
    try:
        loaded = load(files.pt2(path, content))
    except ModelFileError as error:
        assert "\n" not in str(error)
        return
    with contextlib.suppress(ModelFileError, *FOREIGN_ERRORS):
        loaded.module(torch.empty(2, 8, device="meta"))
