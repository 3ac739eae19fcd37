"""Published times of the ops of transformers in place, float32, forward and backward (sitar-lab/NeuSight, MIT)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from calibration.published.op_rows import SHORTEST_MS
from calibration.published.rows import Row
from estimator.workload.ops import Kind, Op, Phase, Shape, Workload

FILE = "ops_in_transformers.parquet"

DEVICES = {
    "NVIDIA_H100_80GB_HBM3": "nvidia-h100-sxm",
    "Tesla_V100-PCIE-32GB": "nvidia-v100-pcie-32gb",
    "NVIDIA_A100-PCIE-40GB": "nvidia-a100-pcie-40gb",
    "NVIDIA_A100_80GB_PCIe": "nvidia-a100-pcie-80gb",
    "Tesla_P100-PCIE-16GB": "nvidia-p100-pcie-16gb",
    "Tesla_T4": "nvidia-t4",
    "Tesla_P4": "nvidia-p4",
    "AMD_Instinct_MI100": "amd-mi100",
}
"""The file's devices by the catalogue's names."""

_LINEAR = ("dense", "query", "key", "value", "decoder", "lm_head", "seq_relationship")
_ELEMENTWISE = ("gelu", "tanh", "pow", "truediv", "function mul", "function add", "where")


def _op(name: str, kind: Kind, flops: int, inputs: tuple[Shape, ...], out: Shape, phase: Phase) -> Op:
    return Op(
        phase=phase,
        name=name,
        kind=kind,
        flops=flops,
        bytes_read=4 * sum(map(prod, inputs)),
        bytes_written=4 * prod(out),
        dtype="float32",
        inputs=inputs,
        outputs=(out,),
        layer="",
        layer_type="",
    )


def _product(batch: tuple[int, ...], m: int, k: int, n: int, phase: Phase) -> Op:
    name, flops = "bmm" if batch else "mm", 2 * prod(batch) * m * k * n
    return _op(name, "matmul", flops, ((*batch, m, k), (*batch, k, n)), (*batch, m, n), phase)


def _products(batch: tuple[int, ...], m: int, k: int, n: int) -> tuple[list[Op], list[Op]]:
    """(m, k) x (k, n), and its gradients: of the first operand, and of the second."""
    back = [_product(batch, m, n, k, "backward"), _product(batch, k, m, n, "backward")]
    return [_product(batch, m, k, n, "forward")], back


def _ops(entry: Any, inputs: list[Shape], out: Shape) -> tuple[list[Op], list[Op]]:
    """Of one row's call: the ops of its forward and of its backward pass; none where it is of another kind."""
    called, module = entry.target, entry.op == "call_module"
    if module and called.endswith(_LINEAR):
        return _products((), prod(inputs[0][:-1]), inputs[0][-1], out[-1])
    if "addmm" in called:
        return _products((), inputs[1][0], inputs[1][1], out[-1])
    if "matmul" in called:
        return _products((prod(inputs[0][:-2]),), inputs[0][-2], inputs[0][-1], inputs[1][-1])
    if "softmax" in called:
        back = _op("_softmax_backward_data", "softmax", prod(out), (out, out), out, "backward")
        return [_op("_softmax", "softmax", prod(out), (out,), out, "forward")], [back]
    if module and ("LayerNorm" in called or ".ln_" in called):
        back = _op("native_layer_norm_backward", "norm", prod(out), (out, out), out, "backward")
        return [_op("native_layer_norm", "norm", prod(out), (out,), out, "forward")], [back]
    if any(name in called for name in _ELEMENTWISE):
        return [_op("mul", "elementwise", prod(out), tuple(inputs), out, "forward")], []
    return [], []


def _row(entry: Any, phase: str, ops: list[Op], milliseconds: float) -> Row:
    return Row(
        device=DEVICES[entry.device],
        model="ops/float32",
        phase=phase,
        dtype="float32",
        workload=Workload(ops=tuple(ops), batch_size=1, module_calls=0),
        parameters=None,
        energy_j=None,
        duration_s=1e-3 * milliseconds,
        clock_hz=None,
        floor_s=0.0,
        multi_tensor=True,
        graphed=True,  # the device's own time
    )


def read(directory: Path) -> Iterator[Row]:
    """Rows of the file, if the folder `ops` of `directory` has it."""
    path = directory / "ops" / FILE
    if not path.exists():
        return
    import pandas as pd

    frame = pd.read_parquet(path)
    for _, entry in frame[(frame.fw_latency > SHORTEST_MS) & frame.device.isin(list(DEVICES))].iterrows():
        shapes, out = ast.literal_eval(entry.input_shapes), ast.literal_eval(entry.output_shape)
        forward, backward = _ops(entry, [tuple(shape) for shape in shapes if shape], tuple(out))
        if forward:
            yield _row(entry, "float32 forward", forward, entry.fw_latency)
        if backward and entry.bw_latency > SHORTEST_MS:
            yield _row(entry, "float32 backward", backward, entry.bw_latency)
