"""GPUs of other vendors: their rows are read as ops, and how far they are missed is told by hand."""

import gzip
import math
from dataclasses import replace

import pytest

from calibration.published import other_vendors
from calibration.published.coefficients import starting
from calibration.published.left_out import HeldOut
from calibration.published.vendors import spread_of_few, total_error, vendor_facts
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import coefficients, from_datasheet


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "apple_and_v100_ops.csv").write_text(
        "device,op,mps\n"
        "M1 (cores: 4E+4P+8GPU),Linear / dim=100x1024x32 dim=32x1024 dim=1024,20\n"
        "M1 (cores: 4E+4P+8GPU),MatMul / dim=32x4x1000 dim=32x1000x128,5\n"
        "M1 (cores: 4E+4P+8GPU),Sort / dim=64x128 axi=0,5\n"
        "Another,ReLU / dim=64x128,5\n"
    )
    header = '"device","op category","Input Dims","Kernel Time (µs)_mean"\n'
    with gzip.open(tmp_path / "ops" / "mi300x_h100_kernels.csv.gz", "wt") as file:
        file.write(
            header + '"mi300","GEMM","((768,), (64, 32), (32, 768), ())",100\n"h100","GEMM","((1, 1), (1, 1))",99\n'
        )
    return other_vendors.read(tmp_path)


def test_operations_by_hand(rows):
    amd, linear, _ = rows
    assert [row.device for row in rows] == ["amd-mi300x", "apple-m1-gpu", "apple-m1-gpu"]
    assert amd.duration_s == pytest.approx(1e-4) and linear.duration_s == pytest.approx(0.02)
    flops = [row.workload.ops[0].flops for row in rows]
    assert flops == [2 * 64 * 32 * 768, 2 * 100 * 1024 * 32 * 1024, 2 * 32 * 4 * 1000 * 128]
    assert linear.workload.ops[0].bytes_moved == 4 * (102_400 * 32 + 32 * 1024 + 102_400 * 1024)


def test_spreads_by_hand(rows):
    assert total_error([1.0, 3.0], [2.0, 6.0]) == pytest.approx(-math.log(2))
    assert spread_of_few([0.3]) == pytest.approx(6.3138 / 1.6449 * 0.3, rel=1e-4)  # Student's t, one degree of freedom
    model = starting("gpu")
    more = [replace(rows[1], device="apple-m1-max-gpu"), *rows]
    mi100 = replace(rows[0], device="amd-mi100", duration_s=1.0)
    facts = vendor_facts(model, more, [HeldOut(mi100, "amd-mi100", 0.0, 2.0)])
    assert set(facts) == {"apple_share", "amd_spread", "apple_spread", "intel_spread"}
    assert facts["intel_spread"].value == facts["amd_spread"].value
    assert vendor_facts(model, [], []) == {}


def test_a_device_of_another_vendor_is_less_well_known():
    facts = coefficients()["gpu"]
    for name, vendor in (("amd-mi300x", "amd"), ("apple-m1-max-gpu", "apple"), ("intel-arc-a770", "intel")):
        spreads, ours = (from_datasheet(find(of)).model.spreads for of in (name, "nvidia-l4"))
        added = facts[f"{vendor}_spread"].value
        assert added > 0
        assert spreads.duration == pytest.approx(math.hypot(ours.duration, added))
        assert spreads.energy == pytest.approx(math.hypot(ours.energy, added))
