"""Ops of transformers in place: what they ask for, by hand arithmetic."""

import pandas as pd
import pytest

from calibration.published.float32_rows import FILE, read

LINEAR = {
    "device": "Tesla_T4",
    "op": "call_module",
    "target": "bert.encoder.layer.0.output.dense",
    "input_shapes": "[[2, 512, 4096]]",
    "output_shape": "(2, 512, 1024)",
    "fw_latency": 2.0,
    "bw_latency": 4.0,
}
CALLED = LINEAR | {"op": "call_function"}


def _read(folder, entry):
    (folder / "ops").mkdir()
    pd.DataFrame([entry]).to_parquet(folder / "ops" / FILE)
    return list(read(folder))


def test_a_linear_layer_and_its_two_gradients(tmp_path):
    forward, backward = _read(tmp_path, LINEAR)
    assert (forward.device, forward.phase, forward.duration_s) == ("nvidia-t4", "float32 forward", 2e-3)
    assert (backward.phase, backward.duration_s) == ("float32 backward", 4e-3)
    (product,) = forward.workload.ops
    assert product.flops == 2 * 1024 * 4096 * 1024  # 2 x 512 rows
    assert product.bytes_moved == 4 * (1024 * 4096 + 4096 * 1024 + 1024 * 1024)
    assert [op.flops for op in backward.workload.ops] == [product.flops] * 2
    assert [op.outputs for op in backward.workload.ops] == [((1024, 4096),), ((4096, 1024),)]


BATCHED = 32 * 128
"""Rows of 2 x 16 matrices of 128."""

CALLS = {
    "bmm": ("matmul", "[[2, 16, 128, 64], [2, 16, 64, 128]]", "(2, 16, 128, 128)", 2 * BATCHED * 64 * 128),
    "mm": ("addmm", "[[384], [128, 64], [64, 384]]", "(128, 384)", 2 * 128 * 64 * 384),
    "_softmax": ("softmax", "[[8, 16, 512, 512]]", "(8, 16, 512, 512)", 8 * 16 * 512 * 512),
    "mul": ("<built-in function add>", "[[4, 16, 32], [4, 1, 32]]", "(4, 16, 32)", 4 * 16 * 32),
}
MOVED = {
    "bmm": 2 * BATCHED * 64 + BATCHED * 128,
    "mm": 128 * 64 + 64 * 384 + 128 * 384,
    "_softmax": 2 * 8 * 16 * 512 * 512,
    "mul": 2 * 4 * 16 * 32 + 4 * 32,
}
"""Elements of operands and result."""


@pytest.mark.parametrize("name", list(CALLS))
def test_calls_by_hand(tmp_path, name):
    target, shapes, out, flops = CALLS[name]
    called = {"target": target, "input_shapes": shapes, "output_shape": out, "bw_latency": 0.0}
    (row,) = _read(tmp_path, CALLED | called)
    (op,) = row.workload.ops
    assert (op.name, op.flops, op.bytes_moved) == (name, flops, 4 * MOVED[name])


@pytest.mark.parametrize("changed", [{"device": "Tesla_K80"}, {"fw_latency": 0.04}, {"target": "transformer.wte"}])
def test_others_are_left_out(tmp_path, changed):
    assert not _read(tmp_path, LINEAR | changed)


def test_a_folder_without_the_file_has_none(tmp_path):
    assert not list(read(tmp_path))
