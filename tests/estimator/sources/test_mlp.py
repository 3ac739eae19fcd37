"""Networks by their shape: `mlp:INPUTxDEPTHxWIDTH`."""

from __future__ import annotations

import pytest

from estimator.base.errors import ModelFileError
from estimator.sources import load
from estimator.sources.inputs import InputSpec
from estimator.sources.mlp import expand
from tests.estimator.networks import TABLE_6


@pytest.mark.parametrize(("layers", "size", "parameters", "_kwh"), TABLE_6)
def test_table_6(layers, size, parameters, _kwh):
    loaded = load(f"mlp:100x{layers}x{size}")
    assert sum(p.numel() for p in loaded.module.parameters()) == parameters
    assert loaded.inputs == (InputSpec((100,)),)
    assert all(p.is_meta for p in loaded.module.parameters())


def test_families():
    assert expand("mlp:100x[1, 2,2]x3") == ("mlp:100x1x3", "mlp:100x2x3")
    assert expand("mlp:[4,5]X6×7") == ("mlp:4x6x7", "mlp:5x6x7")
    assert expand("mlp:100x010x3") == ("mlp:100x10x3",)
    assert expand("nets/wide.pt") == ("nets/wide.pt",)
    assert expand("mlp:100x[1,2]") == ("mlp:100x[1,2]",)  # no shape: `load` says so


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mlp:100x[10,20]x30", "2 networks.*estimate compare"),
        ("mlp:100x30", "mlp:INPUTxDEPTHxWIDTH"),
        ("mlp:100x30x", "mlp:INPUTxDEPTHxWIDTH"),
        ("mlp:", "mlp:100x30x300"),
        ("mlp:0x1x1", "out of range"),
        ("mlp:1x10001x1", "out of range"),
        ("mlp:1x1x1000001", "out of range"),
        ("mlp:1x1x99999999", "mlp:INPUTxDEPTHxWIDTH"),
    ],
)
def test_refused(spec, says):
    with pytest.raises(ModelFileError, match=says):
        load(spec)


def test_code_in_a_file_of_that_name_is_still_code(tmp_path, monkeypatch):
    (tmp_path / "mlp.py").write_text("from torch import nn\nNet = lambda: nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    assert load("mlp:Net").form == "Python factory"
