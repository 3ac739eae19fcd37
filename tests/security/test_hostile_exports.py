"""Exports (`.pt2`) made to do harm: refused in one sentence, never evaluated, never allocated."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from estimator.base.errors import ModelFileError
from estimator.sources import load
from estimator.sources.exports import pt2_archive
from tests.security import files
from tests.security.conftest import attacks

EVIL_OPS = [
    "os.system",
    "_operator.itemgetter",
    "builtins.exec",
    "torch.load",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.save.default",
    "torch.ops.aten._print.default",
    "torch.ops.aten.__class__.default",
    "torch.ops.prim.Print.default",
    "torch.ops.aten.add.__class__",
    "torch.ops.higher_order.triton_kernel_wrapper_mutation",
    "math.__loader__.load_module",
    None,
    3,
]


@pytest.mark.parametrize("target", EVIL_OPS)
def test_ops_that_no_model_needs(tmp_path, canary, refused, target):
    argument = {"as_string": f"touch {canary}"}
    refused(files.pt2(tmp_path / "a.pt2", files.export_json(files.node(target, argument))))


def test_an_expression_is_never_evaluated(tmp_path, canary):
    expression = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    size = {"as_expr": {"expr_str": expression, "hint": {"as_int": 2}}}
    program = files.export_json(files.node("torch.ops.aten.relu.default", files.tensor("x")), size=size)
    loaded = load(files.pt2(tmp_path / "a.pt2", program))
    assert loaded.module(torch.empty(3, 8, device="meta")).shape == (3, 8)
    assert not canary.exists()


def test_pickles_inside_a_pt2_are_not_opened(tmp_path, canary):
    pickled = pickle.dumps(attacks(canary)["os.system"], 2)
    inner = Path(files.torch_zip(tmp_path / "inner.pt", pickled)).read_bytes()
    program = files.export_json(files.node("torch.ops.aten.relu.default", files.tensor("x")))
    members = {"data/sample_inputs/model.pt": inner, "data/weights/weight_0": pickled, "data/constants/obj_0": pickled}
    assert load(files.pt2(tmp_path / "a.pt2", program, **members)).form == "torch.export program"
    assert not canary.exists()


INT = {"as_int": 10**12}
GREEDY = {
    "zeros": files.node("torch.ops.aten.zeros.default", {"as_ints": [10**12]}),
    "text": files.node("_operator.mul", {"as_string": "x"}, INT),
    "list": files.node("_operator.mul", {"as_ints": [1, 2]}, INT),
    "unbind": files.node("torch.ops.aten.unbind.int", files.tensor("x")),
    "split": files.node("torch.ops.aten.split.Tensor", files.tensor("x"), {"as_int": 1}),
    "missing": files.node("torch.ops.aten.relu.default", files.tensor("nowhere")),
    "item": files.node("_operator.getitem", {"as_string": "x"}, {"as_int": 0}),
}


@pytest.mark.parametrize("kind", GREEDY)
def test_ops_that_would_fill_the_memory(tmp_path, kind):
    loaded = load(files.pt2(tmp_path / "a.pt2", files.export_json(GREEDY[kind])))
    if kind == "zeros":
        assert loaded.module(torch.empty(2, 8, device="meta")).is_meta
        return
    with pytest.raises(ModelFileError) as caught:
        loaded.module(torch.empty(2, 8, device="meta"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[]",
        "3",
        "{}",
        '{"graph_module": 3}',
        '{"graph_module": {"graph": {}}}',
        "[" * 200_000,
        b"\xff\xfe{",
        "9" * 5000,
    ],
)
def test_broken_json(tmp_path, refused, content):
    refused(files.pt2(tmp_path / "a.pt2", content))


def test_huge_json(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(pt2_archive, "MAX_JSON_BYTES", 1000)
    refused(files.pt2(tmp_path / "a.pt2", " " * 2000), "more than the limit")
