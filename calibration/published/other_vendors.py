"""Published times of single operations on GPUs of other vendors than the fit's: they judge, and are not fitted.

AMD-AGI/TraceLens (MIT): products in bfloat16 on an MI300X. TristanBilot/mlx-benchmark (MIT): float32 on Apple's chips,
through PyTorch's `mps`, means of few runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from calibration.published.op_rows import SHORTEST_MS
from calibration.published.rows import Row
from estimator.workload.ops import Kind, Op, Shape, Workload

APPLE: Mapping[str, str] = {
    "M1 (cores: 4E+4P+8GPU)": "apple-m1-gpu",
    "M1 Max (64GB) mlx 0.2.0": "apple-m1-max-gpu",
    "M2 Ultra (cores: 8E+16P+76GPU) mlx 0.7.0": "apple-m2-ultra-gpu",
}
"""The file's devices that the catalogue has, by its names."""

_POINTWISE = ("ReLU", "LeakyReLU", "Sigmoid")


def _op(name: str, kind: Kind, flops: int, inputs: tuple[Shape, ...], out: Shape, dtype: str) -> Op:
    size = 2 if dtype == "bfloat16" else 4
    return Op(
        phase="forward",
        name=name,
        kind=kind,
        flops=flops,
        bytes_read=size * sum(map(prod, inputs)),
        bytes_written=size * prod(out),
        dtype=dtype,
        inputs=inputs,
        outputs=(out,),
        layer="",
        layer_type="",
    )


def _product(a: Shape, b: Shape, dtype: str) -> Op:
    """(..., m, k) x (k, n), or of as many matrices b as a has."""
    if len(b) == 2:
        a = (prod(a[:-1]), a[-1])
    name = "bmm" if len(b) > 2 else "mm"
    return _op(name, "matmul", 2 * prod(a) * b[-1], (a, b), (*a[:-1], b[-1]), dtype)


def _row(device: str, phase: str, op: Op, seconds: float) -> Row:
    return Row(
        device=device,
        model=f"ops/{phase}",
        phase=phase,
        dtype=op.dtype,
        workload=Workload(ops=(op,), batch_size=1, module_calls=0),
        parameters=None,
        energy_j=None,
        duration_s=seconds,
        clock_hz=None,
        floor_s=0.0,
        multi_tensor=True,
        graphed=True,  # the device's own time
    )


def _apple_op(text: str) -> Op | None:
    """Of "Linear / dim=100x1024x32 dim=32x1024 dim=1024" and its like; None of other kinds."""
    name, _, rest = text.partition(" / ")
    shapes = [tuple(map(int, part[4:].split("x"))) for part in rest.split() if part.startswith("dim=")]
    if name in ("Linear", "MatMul"):
        return _product(shapes[0], shapes[1], "float32")
    if name in _POINTWISE:
        return _op("relu", "elementwise", prod(shapes[0]), (shapes[0],), shapes[0], "float32")
    if name == "Softmax":
        return _op("_softmax", "softmax", prod(shapes[0]), (shapes[0],), shapes[0], "float32")
    return None


def _apple(path: Path) -> Iterator[Row]:
    import pandas as pd

    frame: Any = pd.read_csv(path)
    for _, entry in frame[frame.device.isin(list(APPLE)) & (frame.mps > SHORTEST_MS)].iterrows():
        op = _apple_op(entry.op)
        if op is not None:
            yield _row(APPLE[entry.device], "float32 forward", op, 1e-3 * entry.mps)


def _amd(path: Path) -> Iterator[Row]:
    import pandas as pd

    frame: Any = pd.read_csv(path)
    seconds = 1e-6 * frame["Kernel Time (µs)_mean"]
    taken = (frame.device == "mi300") & (frame["op category"] == "GEMM") & (seconds > 1e-3 * SHORTEST_MS)
    for index, entry in frame[taken].iterrows():
        shapes = [shape for shape in ast.literal_eval(entry["Input Dims"]) if len(shape) > 1]
        yield _row("amd-mi300x", "products", _product(shapes[0], shapes[1], "bfloat16"), float(seconds[index]))


def read(directory: Path) -> list[Row]:
    """Rows of those files that the folder `ops` of `directory` has. Needs pandas (`pip install .[data]`)."""
    files = {"mi300x_h100_kernels.csv.gz": _amd, "apple_and_v100_ops.csv": _apple}
    paths = {directory / "ops" / name: rows_of for name, rows_of in files.items()}
    return [row for path, rows_of in paths.items() if path.exists() for row in rows_of(path)]
