"""Published times of single operations, read as rows of one op each: products and fused attention in bfloat16.

They were timed as CUDA graphs (ai-dynamo/aiconfigurator, Apache-2.0), so that no host's time is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.published.rows import Row
from estimator.workload.ops import Kind, Op, Shape, Workload

SHORTEST_MS = 0.05
"""Shorter rows time the launch of a kernel rather than its work."""

WIDEST = 256
"""Elements of a head up to which fused kernels are made."""

A_DEVICE = 60
"""Rows a device and file: drawn at random, always the same ones."""


BURST_S = 0.01
"""A governor averages over about as long: six runs that end before are not slowed down by the power limit."""

SETTLED_MS = 0.34
"""From here on the power that was read is that of the row, not of the row before."""


def _row(entry: Any, phase: str, op: Op) -> Row:
    seconds, powered = 1e-3 * entry.time_ms, entry.power_w > 0  # then a loop of a second, else six runs
    return Row(
        device=entry.device_name,
        model=f"ops/{phase}",
        phase=phase,
        dtype="bfloat16",
        workload=Workload(ops=(op,), batch_size=1, module_calls=0),
        parameters=None,
        energy_j=seconds * entry.power_w if powered and entry.time_ms > SETTLED_MS else None,
        duration_s=seconds,
        clock_hz=None,
        floor_s=0.0,
        multi_tensor=True,
        graphed=True,
        burst=not powered and 6 * seconds < BURST_S,
    )


def _op(name: str, kind: Kind, flops: int, inputs: tuple[Shape, ...], out: Shape, moved: tuple[int, int]) -> Op:
    return Op(
        phase="forward",
        name=name,
        kind=kind,
        flops=flops,
        bytes_read=2 * moved[0],
        bytes_written=2 * moved[1],
        dtype="bfloat16",
        inputs=inputs,
        outputs=(out,),
        layer="",
        layer_type="",
    )


def _product(entry: Any) -> Row:
    """(m, k) x (k, n)."""
    m, n, k = int(entry.m), int(entry.n), int(entry.k)
    op = _op("mm", "matmul", 2 * m * n * k, ((m, k), (k, n)), (m, n), (m * k + k * n, m * n))
    return _row(entry, "products", op)


def _prefill(entry: Any) -> Row:
    """Causal attention of a prompt over itself; grouped heads share keys and values."""
    batch, heads, length, width = (int(entry[name]) for name in ("batch_size", "num_heads", "isl", "head_dim"))
    grouped = int(entry.num_key_value_heads) or heads
    q, kv = (batch, heads, length, width), (batch, grouped, length, width)
    moved = batch * length * width * (heads + 2 * grouped), batch * length * width * heads
    flops = 4 * batch * heads * length * length * width
    op = _op("_scaled_dot_product_flash_attention", "attention", flops, (q, kv, kv), q, moved)
    return _row(entry, "attention", replace(op, causal=True))


def _decode(entry: Any) -> Row:
    """One token's attention over a cache of keys and values; grouped heads share them."""
    batch, heads, width = (int(entry[name]) for name in ("batch_size", "num_heads", "head_dim"))
    grouped, length = int(entry.num_key_value_heads) or heads, int(entry.isl) + int(entry.step)
    q, kv = (batch, heads, 1, width), (batch, grouped, length, width)
    moved = batch * width * (heads + 2 * grouped * length), batch * width * heads
    flops = 4 * batch * heads * length * width
    return _row(entry, "decode", _op("_scaled_dot_product_flash_attention", "attention", flops, (q, kv, kv), q, moved))


def _drawn(frame: Any) -> Iterator[Any]:
    """At most `A_DEVICE` rows of each device."""
    for _, of in frame[frame.time_ms > SHORTEST_MS].groupby("device_name"):
        for _, entry in of.sample(min(A_DEVICE, len(of)), random_state=0).iterrows():
            yield entry


def read(directory: Path) -> Iterator[Row]:
    """Rows of the files that the folder `ops` of `directory` has. Needs pandas and pyarrow (`pip install .[data]`)."""
    import pandas as pd

    names = ("gemm", "context_attention", "generation_attention")
    products, prefill, decode = (directory / "ops" / f"nvidia_{name}.parquet" for name in names)
    if products.exists():
        frame = pd.read_parquet(products)
        yield from map(_product, _drawn(frame[frame.m > 0]))
    if prefill.exists():
        frame = pd.read_parquet(prefill)
        whole = ~(frame.window_size > 0) & (frame.step == 0) & (frame.kv_cache_dtype == "bfloat16") & (frame.isl > 1)
        yield from map(_prefill, _drawn(frame[whole]))
    if decode.exists():
        frame = pd.read_parquet(decode)
        whole = ~(frame.window_size > 0) & (frame.kv_cache_dtype == "bfloat16") & (frame.head_dim <= WIDEST)
        yield from map(_decode, _drawn(frame[whole]))
