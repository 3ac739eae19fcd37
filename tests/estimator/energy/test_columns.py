"""Ops as columns of numbers: their classes by shapes, and what new memory they need."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from estimator.energy.columns import OP_CLASSES, biased_bytes, class_of, columns_of, freed_bytes, fresh_bytes, joined
from estimator.energy.demand import roofline, summed
from estimator.energy.op_features import describe
from estimator.energy.pricing import phases_of, price
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.networks import mlp
from tests.estimator.profiles import model, op, work
from tests.estimator.tracing import meta

MIB = 2**20


def _ops(module, *shape, optimizer=None, dtype="float32"):
    with torch.device("meta"):
        net = module()
    x = torch.empty(shape, device="meta", dtype=getattr(torch, dtype))
    return trace(net, TraceInputs((x,), {}, shape[0]), optimizer=optimizer, dtype=dtype).ops


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: nn.Conv2d(16, 16, 3, padding=1), "winograd"),
        (lambda: nn.Conv2d(16, 16, 3), "winograd"),  # unpadded: a border of one pixel is lost
        (lambda: nn.Conv2d(16, 16, 3, stride=2, padding=1), "conv"),
        (lambda: nn.Conv2d(16, 16, 1), "conv"),
        (lambda: nn.Conv2d(16, 16, 5, padding=2), "conv"),
        (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16), "grouped"),
        (lambda: nn.Conv2d(16, 32, 3, padding=1, groups=4), "grouped"),
        (lambda: nn.Conv2d(16, 16, 1, groups=2), "grouped"),
        (lambda: nn.Conv2d(16, 16, 3, padding=2, dilation=2), "conv"),  # no Winograd transform for holes in a kernel
        (lambda: nn.Conv2d(16, 16, 3, dilation=(1, 2)), "conv"),
        # a transposed convolution's weight is (c_in, c_out / groups, ...): channels that differ are no groups
        (lambda: nn.ConvTranspose2d(16, 8, 2, stride=2), "conv"),
        (lambda: nn.ConvTranspose2d(16, 32, 2, stride=2), "conv"),
        (lambda: nn.ConvTranspose2d(16, 16, 3, padding=1), "conv"),
        (lambda: nn.ConvTranspose2d(16, 8, 2, stride=2, groups=4), "grouped"),
        (lambda: nn.ConvTranspose2d(16, 64, 2, stride=2, groups=2), "grouped"),
    ],
)
def test_class_of_a_convolution_forward_and_backward(layer, expected):
    ops = _ops(layer, 4, 16, 32, 32, optimizer="sgd")
    found = {o.phase: class_of(o) for o in ops if o.kind == "conv"}
    assert found == {"forward": expected, "backward": expected}


def test_class_of_other_ops():
    assert {class_of(o) for o in _ops(lambda: nn.Conv1d(8, 8, 3, padding=1), 2, 8, 50) if o.kind == "conv"} == {"conv"}
    assert [class_of(op(1, kind=kind)) for kind in ("matmul", "attention", "rnn", "conv", "norm", "optimizer")] == [
        "matmul",
        "attention",
        "matmul",
        "conv",
        "other",
        "other",
    ]


def test_new_memory_is_mapped_for_large_results_that_are_not_in_place():
    # by hand: 32 x 64 x 112 x 112 float32 are 98 MiB; in half precision 49; at batch 8, 24.5, which malloc keeps
    size = 32 * 64 * 112 * 112
    for batch, dtype, expected in ((32, "float32", 4 * size), (32, "bfloat16", 2 * size), (8, "float32", 0)):
        relu, in_place = (
            fresh_bytes(_ops(lambda i=i: nn.ReLU(inplace=i), batch, 64, 112, 112, dtype=dtype)[0])
            for i in (False, True)
        )
        assert (relu, in_place) == (expected, 0)


@pytest.mark.parametrize(("optimizer", "temporaries"), [("sgd", 0), ("momentum", 0), ("adam", 2), ("adamw", 2)])
def test_an_optimizer_writes_in_place_but_for_its_temporaries(optimizer, temporaries):
    # torch/optim/adam.py, _single_tensor_adam: the root of the second moment, and its quotient
    weight = 4 * 4000 * 4000  # 61 MiB
    ops = _ops(lambda: nn.Linear(4000, 4000), 2, 4000, optimizer=optimizer)
    mapped = {o.name: fresh_bytes(o) for o in ops if fresh_bytes(o)}
    assert mapped == {"mm": weight} | ({optimizer: temporaries * weight} if temporaries else {})
    assert sum(map(freed_bytes, ops)) == (1 + temporaries) * weight + 4 * 4000  # and the gradient of the bias


class _Half(nn.Module):
    """A convolution on the first half of the channels, which lie strided in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x):
        return self.conv(x[:, :32])


def test_what_a_convolution_maps():
    # multiples of 49 MiB as page faults counted them on a CPU (torch 2.13): input, result twice; strided, input again
    size = 4 * 8 * 32 * 224 * 224
    for make, channels, layout, times in (
        (lambda: nn.Conv2d(32, 32, 3, padding=1), 32, torch.contiguous_format, 3),
        (lambda: nn.Conv2d(32, 32, 3, padding=1), 32, torch.channels_last, 1),
        (_Half, 64, torch.contiguous_format, 4),
    ):
        x = torch.empty(8, channels, 224, 224, device="meta", memory_format=layout)
        (op,) = trace(make(), TraceInputs((x,), {}, 8)).ops
        assert fresh_bytes(op) == times * size
    two = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1))
    ops = trace(two, TraceInputs((meta(8, 32, 224, 224),), {}, 8), optimizer="sgd").ops
    backward = [fresh_bytes(op) for op in ops if op.name == "convolution_backward"]
    assert backward == [5 * size, 2 * size]  # the input, its gradient twice, the result's once for each; first: none


def test_a_gpu_adds_the_bias_of_a_convolution_in_a_pass_of_its_own():
    def convolved(layer):
        (op,) = trace(layer.to("meta"), TraceInputs((meta(2, 4, 8, 8),))).ops
        return biased_bytes(op), trace(layer, TraceInputs((meta(2, 4, 8, 8),)))

    assert convolved(nn.Conv2d(4, 4, 1, bias=False))[0] == 0
    assert convolved(nn.Conv2d(4, 4, 1, groups=4))[0] == 0  # a depthwise kernel adds it itself
    added, workload = convolved(nn.Conv2d(4, 4, 1))
    assert added == 2 * 512 * 4  # the result is read and written once more
    on_gpu, on_cpu = (roofline(columns_of(workload), model(asynchronous=gpu)) for gpu in (True, False))
    assert on_gpu.byte_j.sum() - on_cpu.byte_j.sum() == pytest.approx(added * 1e-10)
    assert on_gpu.busy_s.sum() - on_cpu.busy_s.sum() == pytest.approx(added / 1e11)


def test_columns_hold_every_op_in_order_and_are_made_once():
    workload = trace(mlp(100, 50, 10), TraceInputs((meta(8, 100),), {}, 8), optimizer="adam")
    columns = columns_of(workload)
    assert columns is columns_of(workload)
    assert columns.flops.tolist() == [o.flops for o in workload.ops]
    assert columns.bytes_moved.tolist() == [o.bytes_moved for o in workload.ops]
    assert [OP_CLASSES[i] for i in columns.op_class] == [class_of(o) for o in workload.ops]
    assert columns.results[0] == 8 * 50


@pytest.mark.parametrize("asynchronous", [False, True])
def test_workloads_priced_together_cost_what_they_cost_alone(asynchronous):
    machine = model(asynchronous=asynchronous, kernel_s=1e-6, module_call_s=1e-6, tensors_per_optimizer_launch=3)
    workloads = [
        trace(mlp(100, width, 10), TraceInputs((meta(8, 100),), {}, 8), optimizer=optimizer)
        for width, optimizer in ((30, "adam"), (3000, None), (500, "sgd"))
    ]
    workloads.append(work(op(1e9, 1e6), module_calls=3))
    columns = joined(workloads)
    costs = phases_of(summed(roofline(columns, machine), columns), machine)
    alone = [price(workload, machine) for workload in workloads]
    assert costs.energy_j.sum(axis=1).tolist() == pytest.approx([estimate.energy_j.value for estimate in alone])
    assert costs.time_s.sum(axis=1).tolist() == pytest.approx([estimate.duration_s.value for estimate in alone])


def test_transposed_convolutions_of_equal_flops_cost_the_same_rate():
    # by hand: 2 x 512 x 256 x 4 x 28 x 28 FLOPs each; only their traffic differs (x of 512 or 256 channels, y 4 times
    # as large of 256 or 512), so that at equal rates neither is 5 times the other
    machine = from_datasheet(find("a100-pcie-40gb")).model
    times = []
    for channels in ((512, 256), (256, 512)):
        (only,) = _ops(lambda c=channels: nn.ConvTranspose2d(*c, 2, stride=2, bias=False), 32, channels[0], 28, 28)
        assert only.flops == 32 * 2 * 512 * 256 * 4 * 28 * 28
        times.append(price(work(only), machine).duration_s.value)
    assert max(times) / min(times) < 2


def test_depthwise_transposed_convolutions_are_described_by_their_channels_a_group():
    apart, whole = nn.ConvTranspose2d(16, 16, 2, groups=16), nn.ConvTranspose2d(64, 8, 2)
    (plain,) = describe(trace(apart, TraceInputs((meta(2, 16, 8, 8),), {}, 2)))
    assert plain.group == "depthwise convolution float32"
    (wide,) = describe(trace(whole, TraceInputs((meta(2, 64, 8, 8),), {}, 2)))
    # after the eleven features of all groups come log(64 channels in) and log(8 out)
    assert wide.group == "convolution float32"
    assert wide.features[11:13] == pytest.approx((math.log(64), math.log(8)))
