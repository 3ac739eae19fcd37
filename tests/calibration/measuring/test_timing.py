"""Timed ops stand beside traced ones, one for one; the stopwatch of a GPU never lets it wait for the host."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from calibration.measuring.running import draw, measured, workload_of
from calibration.measuring.stopwatch import CudaEvents, HostClock
from calibration.measuring.timing import FUSED, Run, beside, by_parameter
from calibration.networks.random_networks import Network, with_data
from tests.calibration.learning.simulated_machine import drawn


def _run(network: Network) -> Run:
    return Run(with_data(network, "cpu"), HostClock())


@pytest.mark.parametrize("seed", [s for s, _, w in drawn(25) if w.flops < 2e9])
def test_nearly_every_traced_op_is_timed(seed):
    network, workload = draw(seed, "cpu", ("float32",))
    sample = measured(seed, network, workload, "cpu", ())
    assert len(sample.op_s) == len(workload.ops)
    assert sum(s is not None for s in sample.op_s) >= 0.8 * len(workload.ops)
    assert all(s > 0 for s in sample.op_s if s is not None)
    assert set(sample.phases) == {op.phase for op in workload.ops} | {"forward"}
    assert sample.total_s > 0 and sample.energy_j is None and sample.energy_status == "absent"


class _Doubled(nn.Module):
    def forward(self, x):
        return x + x


@pytest.mark.parametrize(("mib", "touched"), [(64, 64), (1, 0)])
def test_memory_that_is_touched_for_the_first_time_is_counted(mib, touched):
    # glibc maps every block above 32 MiB anew (mallopt(3), M_MMAP_THRESHOLD), and keeps one of 1 MiB for the next pass
    with torch.device("meta"):
        run = _run(Network("add", None, "float32", _Doubled(), (torch.empty(1, mib << 18),)))
    run.warm_up()
    (mapped,) = run.ops_in_context(3).mapped
    assert mapped == pytest.approx(touched << 20, rel=0.02, abs=1e5)


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(8, 16, 2), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][-1])


def test_a_recurrent_layer_counts_as_one_op_forward_and_one_backward():
    with torch.device("meta"):
        network = Network("lstm", "sgd", "float32", _Lstm(), (torch.empty(12, 4, 8),))
    names = _run(network).ops_in_context(1).names
    assert sum(name in FUSED for name in names) == 2
    assert sum(op.kind == "rnn" for op in workload_of(network).ops) == 2


class _Dropping(nn.Module):
    """Dropout before and after attention, in place, of nothing, and of whole features."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)
        self.drop, self.in_place, self.nothing = nn.Dropout(0.1), nn.Dropout(0.1, inplace=True), nn.Dropout(0.0)

    def forward(self, x):
        q, k, v = self.drop(self.qkv(x)).chunk(3, -1)
        x = self.out(functional.scaled_dot_product_attention(q, k, v))
        x = x + self.drop(x)  # two gradients of one tensor meet
        x = self.in_place(functional.gelu(self.nothing(x)))
        return self.head(functional.dropout1d(x.flatten(0, 1), 0.1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_dropout_dispatches_counts_as_the_one_op_that_is_traced(dtype):
    with torch.device("meta"):
        network = Network("dropout", "sgd", dtype, _Dropping(), (torch.empty(2, 4, 6, 8),))
    names = _run(network).ops_in_context(1).names
    ops = [op for op in workload_of(network).ops if op.phase != "optimizer" and op.name != "_to_copy"]
    found = beside(ops, names)
    assert None not in found
    timed = [names[at] for op, at in zip(ops, found, strict=True) if op.name.startswith("native_dropout")]
    assert timed == ["native_dropout"] * 2 + ["native_dropout_backward"] * 2  # by hand: two of the five drop so
    assert names.count("scaled_dot_product_attention_backward") == 1


def test_a_dropout_that_was_not_timed_is_not_taken_for_attention():
    ops = [SimpleNamespace(name="native_dropout", kind="elementwise"), SimpleNamespace(name="sdpa", kind="attention")]
    assert beside(ops, ["bernoulli_", "div_", "mul", "scaled_dot_product_attention"]) == [None, 3]
    assert beside(ops, ["native_dropout", "lstm", "native_dropout_backward"]) == [0, 1]


def test_ops_that_ran_otherwise_are_left_out():
    ops = [SimpleNamespace(name=name, kind="matmul") for name in ("mm", "add", "relu", "bmm")]
    assert beside(ops, ["mm", "clone", "add", "relu", "mm"]) == [0, 2, 3, None]


def test_an_optimizers_ops_go_to_their_parameters():
    assert by_parameter([1.0, 2.0, 3.0, 4.0], [8, 8]) == [3.0, 7.0]
    assert by_parameter([1.0, 2.0], [30, 10, 20]) == [1.5, 0.5, 1.0]  # shared out by bytes
    assert by_parameter([], []) == []
    assert by_parameter([1.0, 3.0], [30, 10], at_once=True) == [3.0, 1.0]  # two ops on two parameters at once


def test_an_op_that_has_another_name_on_a_gpu_is_found():
    ops = [SimpleNamespace(name=name, kind="norm") for name in ("native_batch_norm", "native_batch_norm_backward")]
    assert beside(ops, ["cudnn_batch_norm", "relu", "cudnn_batch_norm_backward"]) == [0, 2]


class _Asked(HostClock):
    """A clock that writes down how long it was told that the host takes."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def ready(self, host_s: float = 0.0) -> None:
        self.told.append(host_s)


def test_the_wait_before_an_op_is_told_what_its_host_took_the_last_time():
    network, watch = drawn(1)[0][1], _Asked()
    run = Run(with_data(network, "cpu"), watch)
    run.warm_up()
    run.ops_in_context(2)
    half = len(watch.told) // 2
    assert half > 0 and set(watch.told[:half]) == {0.0} and all(s > 0 for s in watch.told[half:])


class _Cuda:
    """Time passes only where the test says: 7 us for a kernel, as long as asked for a wait."""

    def __init__(self) -> None:
        self.now_s, self.log = 0.0, []
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at_s = cuda.now_s
                cuda.log.append("mark")

            def elapsed_time(self, other) -> float:
                return (other.at_s - self.at_s) * 1e3

        self.Event = Event

    def set_device(self, device) -> None:
        self.log.append(str(device))

    def get_device_properties(self, device):
        return SimpleNamespace(clock_rate=1_000_000)  # kHz

    def _sleep(self, cycles: int) -> None:
        self.log.append("wait")
        self.now_s += cycles / 1e9

    def synchronize(self, device) -> None:
        self.log.append("synchronize")


def test_a_gpu_is_kept_busy_until_the_op_and_its_marks_are_queued():
    cuda = _Cuda()
    watch = CudaEvents(torch.device("cuda:1"), cuda)
    watch.ready()
    start = watch.mark()
    cuda.now_s += 7e-6
    end = watch.mark()
    assert watch.seconds([(start, end)]) == [pytest.approx(7e-6)]
    assert cuda.log == ["cuda:1", "wait", "mark", "mark", "synchronize"]
    assert cuda.now_s == pytest.approx(1.2e-4 + 7e-6)


@pytest.mark.parametrize(("host_s", "wait_s"), [(0.0, 1.2e-4), (2e-5, 1.2e-4), (1e-3, 1.5e-3), (1.0, 1e-2)])
def test_a_gpu_waits_half_as_long_again_as_the_host_takes_within_bounds(host_s, wait_s):
    cuda = _Cuda()
    CudaEvents(torch.device("cuda:0"), cuda).ready(host_s)
    assert cuda.now_s == pytest.approx(wait_s)
