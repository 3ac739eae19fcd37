"""Rows of single operations: what they ask for, by hand arithmetic."""

from pathlib import Path

import pandas as pd
import pytest

from calibration.published.coefficients import machines, starting
from calibration.published.op_rows import A_DEVICE, read
from calibration.published.rows import Row
from estimator.energy.columns import class_of, exponentials, results, run_share, units

PRODUCT = {"device_name": "nvidia-l40s", "m": 1024, "n": 512, "k": 2048, "time_ms": 0.2, "power_w": float("nan")}
PREFILL = {
    "device_name": "nvidia-h200",
    "batch_size": 2,
    "isl": 1024,
    "num_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "kv_cache_dtype": "bfloat16",
    "step": 0,
    "window_size": float("nan"),
    "time_ms": 0.5,
    "power_w": 400.0,
}
DECODE = PREFILL | {"isl": 1, "step": 4095, "time_ms": 0.1}


def _read(folder: Path, products: list[dict], prefill: list[dict], decode: list[dict] | None = None) -> list[Row]:
    (folder / "ops").mkdir()
    pd.DataFrame(products, columns=list(PRODUCT)).to_parquet(folder / "ops" / "nvidia_gemm.parquet")
    pd.DataFrame(prefill, columns=list(PREFILL)).to_parquet(folder / "ops" / "nvidia_context_attention.parquet")
    if decode:
        pd.DataFrame(decode, columns=list(PREFILL)).to_parquet(folder / "ops" / "nvidia_generation_attention.parquet")
    return list(read(folder))


def test_a_product_by_hand(tmp_path):
    (row,) = _read(tmp_path, [PRODUCT], [])
    (op,) = row.workload.ops
    assert (row.device, row.phase, row.duration_s, row.energy_j) == ("nvidia-l40s", "products", 2e-4, None)
    assert (op.flops, class_of(op)) == (2 * 1024 * 512 * 2048, "matmul")
    assert op.bytes_moved == 2 * (1024 * 2048 + 2048 * 512 + 1024 * 512)
    assert (row.graphed, row.burst) == (True, True)  # no power reading: six runs


def test_causal_attention_with_grouped_heads_by_hand(tmp_path):
    (row,) = _read(tmp_path, [], [PREFILL])
    (op,) = row.workload.ops
    assert (row.phase, class_of(op), row.burst) == ("attention", "attention", False)
    assert op.flops == 4 * 2 * 16 * 1024 * 1024 * 128
    assert run_share(op) == pytest.approx(1025 / 2048)
    assert exponentials(op) == pytest.approx(2 * 16 * 1024 * 1025 / 2)
    assert op.bytes_moved == 2 * 2 * 1024 * 128 * (16 + 4 + 4 + 16)


def test_a_step_of_decoding_by_hand(tmp_path):
    (row,) = _read(tmp_path, [], [], [DECODE])
    (op,) = row.workload.ops
    assert (row.phase, row.duration_s, class_of(op), run_share(op)) == ("decode", 1e-4, "attention", 1.0)
    assert op.flops == 4 * 2 * 16 * 4096 * 128
    assert op.bytes_moved == 2 * 2 * 128 * (16 + 4 * 4096 + 4 * 4096 + 16)
    # 4 query heads share a head of keys: 4 rows of scores in one block of threads, for 2 samples x 4 heads of keys
    assert units(op) == 8
    # 16 blocks of 256 keys each, spread over the device as tiles of 64 x 64
    assert results(op) == 8 * 16 * 64 * 64


def test_power_is_the_rows_own_only_where_it_ran_long_enough(tmp_path):
    shorter, longer, unread = (
        PRODUCT | changed for changed in ({"power_w": 500.0}, {"power_w": 500.0, "time_ms": 1.0}, {})
    )
    energies = [row.energy_j for row in _read(tmp_path, [shorter, longer, unread], [])]
    assert sorted(energies, key=str) == [pytest.approx(0.5), None, None]  # 500 W x 1 ms


def test_six_runs_that_last_are_slowed_by_the_limit(tmp_path):
    bursts = {row.duration_s: row.burst for row in _read(tmp_path, [PRODUCT, PRODUCT | {"time_ms": 5.0}], [])}
    assert bursts == {2e-4: True, 5e-3: False}


@pytest.mark.parametrize(
    "changed", [{"isl": 1}, {"step": 1}, {"window_size": 128.0}, {"kv_cache_dtype": "fp8"}, {"time_ms": 0.04}]
)
def test_other_attention_is_left_out(tmp_path, changed):
    assert not _read(tmp_path, [], [PREFILL | changed])


def test_as_many_rows_a_device_as_are_read(tmp_path):
    others = [PRODUCT | {"device_name": "nvidia-b200", "k": 64 * k} for k in range(1, A_DEVICE + 50)]
    rows = _read(tmp_path, [PRODUCT, *others], [])
    assert [sum(row.device == name for row in rows) for name in ("nvidia-l40s", "nvidia-b200")] == [1, A_DEVICE]
    assert [len(machine.rows) for machine in machines(rows)] == [A_DEVICE, 1]


def test_no_host_and_in_six_runs_no_limit(tmp_path):
    (burst,) = machines(_read(tmp_path, [PRODUCT | {"m": 16384, "n": 16384, "k": 16384}], []))
    (sustained,) = machines([Row(**{**vars(burst.rows[0]), "burst": False})])
    stated = {**starting("gpu"), "launch_s": 1.0, "matrix_flop_energy_j": 1e-10}  # a second of host would be seen
    (_, fast), (_, slow) = burst.predict(stated), sustained.predict(stated)
    assert fast[0] < slow[0] < 1


def test_a_folder_without_them_has_none(tmp_path):
    assert not list(read(tmp_path))
