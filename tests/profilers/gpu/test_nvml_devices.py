"""Which GPUs are read and what is known of them: bindings, visible devices, MIG instances, activity."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import pytest

from profilers.errors import MeterError
from profilers.gpu.nvml import NvmlMeter
from profilers.gpu.visible import visible_gpus
from tests.profilers.gpu.windows import meter
from tests.profilers.simulation import Clock, SimulatedGpu, SimulatedNvml, window


def test_the_structures_of_the_real_bindings_are_read() -> None:
    pynvml = import_module("pynvml")

    class Bindings(SimulatedNvml):
        def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: Sequence[int]) -> object:
            values = (pynvml.c_nvmlFieldValue_t * len(fields))()
            values[0].fieldId = fields[0]
            values[0].valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            values[0].value.uiVal = 123_456
            return values

    (sensor,) = NvmlMeter(Bindings([SimulatedGpu()], Clock())).sensors
    assert pynvml.NVML_FI_DEV_POWER_INSTANT == 186
    assert (sensor.power_source, sensor.power_w()) == ("instant", pytest.approx(123.456))


GPUS = (
    SimulatedGpu(uuid="GPU-aaaa1111"),
    SimulatedGpu(uuid="GPU-aaaa2222"),
    SimulatedGpu(uuid="GPU-bbbb3333", mig=("MIG-cccc",)),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),
        ("-1", []),
        ("0,2,-1,1", [0, 2]),
        ("nonsense,0", []),
        ("GPU-aaaa2222", [1]),
        ("GPU-b", [2]),
        ("GPU-aaaa", []),
        ("GPU-zzzz,0", []),
        ("MIG-cccc", [2]),
        ("MIG-GPU-bbbb3333/1/0", [2]),
        ("MIG-dddd,0", []),
        ("MIG-cccc,2", [2]),
        ("0,0", [0]),
        (" 1 , 0 ", [1, 0]),
    ],
)
def test_visible_devices_as_cuda_reads_them(value: str | None, expected: Sequence[int]) -> None:
    chosen, _ = visible_gpus(SimulatedNvml(GPUS, Clock()), value)
    assert [gpu.index for gpu in chosen] == expected


def test_a_mig_instance_is_its_parent_and_that_is_said() -> None:
    clock = Clock()
    seen = window(meter(clock, *GPUS, visible="MIG-cccc"), clock, 5.0)
    assert list(seen) == ["gpu-2"]
    assert any("whole of GPU 2" in note for note in seen["gpu-2"].notes)


def test_a_gpu_split_into_instances_says_so_unasked() -> None:
    clock = Clock()
    seen = window(meter(clock, *GPUS), clock, 5.0)
    assert any("MIG" in note for note in seen["gpu-2"].notes)
    assert seen["gpu-0"].notes == ()


def test_an_invalid_entry_is_noted() -> None:
    _, notes = visible_gpus(SimulatedNvml(GPUS, Clock()), "0,7")
    assert any("'7'" in note for note in notes)


def test_hidden_gpus_are_an_error_with_the_remedy() -> None:
    with pytest.raises(MeterError, match="unset it"):
        meter(Clock(), *GPUS, visible="")


def test_activity_tells_processes_and_utilisation() -> None:
    activity = meter(Clock(), SimulatedGpu(pids=(4, 5), utilization=30)).activity()
    assert activity is not None
    assert (activity.pids, activity.utilization) == (frozenset({4, 5}), 0.3)
