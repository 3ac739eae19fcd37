"""The roofline of time and the sum of energies, by hand on round numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from estimator.energy.columns import columns_of
from estimator.energy.demand import roofline, summed
from estimator.energy.model import Spreads
from estimator.energy.pricing import optimizer_launches, price
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.workload.ops import Convolution
from tests.estimator.profiles import model, op, work

MODELS = {name: from_datasheet(find(name)).model for name in ("rtx-2080-ti", "i9-9900k")}


# ---- by hand


@pytest.mark.parametrize(
    ("flops", "moved", "seconds", "bound"),
    [
        (1e12, 1e9, 1.0, "compute"),  # 1 s of arithmetic, 0.01 s of memory
        (1e9, 1e11, 1.0, "memory"),  # 0.001 s of arithmetic, 1 s of memory
        (1e3, 1e2, 0.0, "launch"),  # next to nothing of either
    ],
)
def test_one_matrix_product_on_a_cpu_by_hand(flops, moved, seconds, bound):
    predicted = price(work(op(flops, moved)), model())
    time = seconds + 1e-6
    assert predicted.duration_s.value == pytest.approx(time, rel=1e-2 if bound == "launch" else 1e-9)
    time = predicted.duration_s.value
    assert predicted.energy_j.value == pytest.approx(50 * time + 1e-12 * flops + 1e-10 * moved, rel=1e-12)
    assert max(predicted.bound_shares, key=predicted.bound_shares.__getitem__) == bound
    assert predicted.bound_shares[bound] > 0.99


@pytest.mark.parametrize(
    ("flops", "moved", "kernel_s", "launch_s", "seconds", "bound"),
    [
        (1e10, 0, 0.0, 1e-3, 4 * 1e-2, "compute"),  # the device works longer than the host needs to launch
        (0, 1e9, 0.0, 1e-3, 4 * 1e-2, "memory"),
        (1e10, 0, 5e-3, 1e-3, 4 * (5e-3 + 1e-2), "compute"),  # each kernel's own start is on the device
        (1e6, 0, 0.0, 1e-3, 4 * 1e-3, "launch"),  # the device waits for the host
    ],
)
def test_asynchronous_device_waits_or_makes_wait_by_hand(flops, moved, kernel_s, launch_s, seconds, bound):
    gpu = model(asynchronous=True, kernel_s=kernel_s, launch_s=launch_s)
    predicted = price(work(*[op(flops, moved)] * 4), gpu)
    assert predicted.duration_s.value == pytest.approx(seconds, rel=1e-9)
    assert predicted.energy_j.value == pytest.approx(50 * seconds + 4 * (1e-12 * flops + 1e-10 * moved), rel=1e-9)
    assert max(predicted.bound_shares, key=predicted.bound_shares.__getitem__) == bound


def test_synchronous_device_adds_what_an_asynchronous_one_overlaps():
    ops = work(*[op(1e10)] * 4)
    assert price(ops, model(launch_s=1e-3)).duration_s.value == pytest.approx(4 * (1e-2 + 1e-3))
    assert price(ops, model(launch_s=1e-3, asynchronous=True)).duration_s.value == pytest.approx(4 * 1e-2)


def test_pointwise_ops_wait_for_memory_and_pay_the_vector_rate():
    predicted = price(work(op(1e9, 8e9, kind="elementwise")), model(launch_s=0.0))
    assert predicted.duration_s.value == pytest.approx(8e9 / 1e11)
    assert predicted.energy_j.value == pytest.approx(50 * 0.08 + 2e-12 * 1e9 + 1e-10 * 8e9)


def test_module_calls_cost_time_in_the_forward_pass_only():
    ops = (op(1e9), op(1e9, phase="backward"))
    quiet, called = (price(work(*ops, module_calls=n), model(module_call_s=1e-3)) for n in (0, 10))
    assert called.phase_duration_s["forward"] - quiet.phase_duration_s["forward"] == pytest.approx(10e-3)
    assert called.phase_duration_s["backward"] == quiet.phase_duration_s["backward"]


@pytest.mark.parametrize(
    ("tensors", "at_once", "kernels"),
    [(10, 1, 70), (10, 4, 21), (10, 1000, 7), (0, 4, 0)],  # seven passes of Adam over groups of tensors
)
def test_optimizer_takes_many_tensors_at_once_by_hand(tensors, at_once, kernels):
    ops = [op(phase="optimizer", kind="optimizer", launches=7)] * tensors
    machine = model(tensors_per_optimizer_launch=at_once)
    columns = columns_of(work(*ops))
    assert optimizer_launches(summed(roofline(columns, machine), columns), machine).tolist() == [kernels]
    assert price(work(*ops), machine).duration_s.value == pytest.approx(kernels * 1e-6)


def test_no_ops_cost_nothing():
    predicted = price(work(), model())
    assert predicted.energy_j.value == predicted.duration_s.value == 0
    assert predicted.layers == ()


def test_a_device_slows_down_where_it_would_draw_more_than_its_limit():
    # by hand: 1e12 FLOPs and 1e11 B take 1 s; they need 1 J + 10 J dynamic; 5.5 W are left above the static 50 W
    limited = model(launch_s=0.0, limit_w=55.5)
    estimate = price(work(op(1e12, 1e11)), limited)
    assert estimate.duration_s.value == pytest.approx(2.0)
    assert estimate.energy_j.value == pytest.approx(50 * 2 + 11)


@pytest.mark.parametrize("name", ["rtx-4090", "t4", "a100", "h100", "i9-9900k", "mi300x", "graviton3"])
@pytest.mark.parametrize(("flops", "moved"), [(1e13, 1e8), (1e8, 1e11), (1e13, 1e11)])
def test_mean_power_stays_under_the_tdp(name, flops, moved):
    device = find(name)
    estimate = price(work(op(flops, moved, kind="conv")), from_datasheet(device).model)
    assert estimate.energy_j.value / estimate.duration_s.value <= device.tdp_w * (1 + 1e-9)


def test_the_host_calls_a_recurrent_layer_once_and_the_device_runs_its_kernels():
    gpu = model(asynchronous=True, launch_s=1e-3, kernel_s=1e-6)
    # by hand: one call of 1 ms against 100 kernels of 1 us
    assert price(work(op(1, 1, kind="rnn", launches=100)), gpu).duration_s.value == pytest.approx(1e-3)
    # and 5,000 kernels of 1 us are longer than the call
    assert price(work(op(1, 1, kind="rnn", launches=5000)), gpu).duration_s.value == pytest.approx(5e-3, rel=1e-4)


def test_a_workload_that_waits_for_launches_is_less_sure():
    gpu = model(asynchronous=True, spreads=Spreads(energy=0.3, duration=0.3, training=0.0, launch=0.5))
    bound = price(work(op(1, 1)), gpu).energy_j
    free = price(work(op(1e12, 1)), gpu).energy_j
    # by hand: all of the time waits, sqrt(0.3^2 + 0.5^2); none of it (1 us of 1 s), 0.3; 1.645 is the 95% quantile
    assert math.log(bound.high / bound.value) == pytest.approx(1.645 * math.hypot(0.3, 0.5), rel=1e-3)
    assert math.log(free.high / free.value) == pytest.approx(1.645 * 0.3, rel=1e-3)


# ---- what a device's own features cost, by hand


def _op(flops=0.0, moved=0.0, *, outputs=((),), name="op", **kwargs):
    return replace(op(flops, moved, **kwargs), outputs=outputs, name=name)


def test_a_small_product_leaves_multiprocessors_idle():
    # 10 multiprocessors, tiles of 64 x 64: half a wave is 5 tiles. 20 tiles of results take 1 + 5 / 20 times as long;
    # less than half a tile runs on one of the ten: 1 + 10 times
    gpu = model(asynchronous=True, launch_s=0.0, half_wave=5 * 64 * 64)
    for results, factor in (((20 * 64, 64), 1.25), ((64,), 11.0)):
        estimate = price(work(_op(1e12, outputs=(results,))), gpu)
        assert estimate.duration_s.value == pytest.approx(factor)
    # idle multiprocessors draw static power alone
    busy = model(asynchronous=True, launch_s=0.0, half_wave=5 * 64 * 64, active_w=30.0)
    estimate = price(work(_op(1e12, outputs=((20 * 64, 64),))), busy)
    assert estimate.energy_j.value == pytest.approx(1.25 * 50 + 1.0 * 30 + 1)


def test_what_stays_in_the_cache_moves_faster_and_cheaper():
    gpu = model(asynchronous=True, launch_s=0.0, cache_bytes=1e6, cached_share=0.25)
    inside, outside = (price(work(op(0, moved, kind="copy")), gpu) for moved in (1e6, 1.1e6))
    assert inside.duration_s.value == pytest.approx(0.25 * 1e-5)
    assert inside.energy_j.value == pytest.approx(0.25 * (1e-5 * 50 + 1e-4))
    assert outside.duration_s.value == pytest.approx(1.1e-5)


def test_a_grouped_convolution_waits_for_a_share_of_the_bandwidth():
    x, w = (2, 16, 8, 8), (16, 1, 3, 3)
    machine = model(launch_s=0.0, grouped_bandwidth=0.5)
    depthwise = replace(op(1e3, 1e9, kind="conv"), name="convolution", inputs=(x, w), outputs=(x,))
    depthwise = replace(depthwise, convolution=Convolution(groups=16))
    assert price(work(depthwise), machine).duration_s.value == pytest.approx(2e-2)
    dense = replace(depthwise, inputs=(x, (16, 16, 3, 3)), convolution=Convolution())
    assert price(work(dense), machine).duration_s.value == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("kind", "phase", "seconds"), [("conv", "forward", 1), ("conv", "backward", 2), ("matmul", "backward", 1)]
)
def test_a_convolutions_gradients_reach_less_of_the_rates(kind, phase, seconds):
    machine = model(launch_s=0.0, backward_efficiency=0.5)
    for flops, moved in ((1e12, 1e9), (1, 1e11)):
        assert price(work(op(flops, moved, kind=kind, phase=phase)), machine).duration_s.value == pytest.approx(seconds)


def test_new_memory_costs_time_at_first_touch():
    machine = model(launch_s=0.0, fresh_s_per_byte=1e-9)
    shape = (10**7,)  # 40 MB of float32
    fresh = price(work(_op(0, 1e8, kind="elementwise", outputs=(shape,), name="relu")), machine)
    in_place = price(work(_op(0, 1e8, kind="elementwise", outputs=(shape,), name="relu_")), machine)
    assert in_place.duration_s.value == pytest.approx(1e-3)
    assert fresh.duration_s.value == pytest.approx(1e-3 + 4e-2)


def test_training_is_less_sure():
    machine = model(spreads=Spreads(energy=0.3, duration=0.4, training=0.2, launch=0.0))
    step = price(work(op(1e9), op(1e9, phase="backward")), machine)
    pass_ = price(work(op(1e9)), machine)
    assert math.log(pass_.energy_j.high / pass_.energy_j.value) == pytest.approx(1.645 * 0.3, rel=1e-3)
    assert math.log(step.energy_j.high / step.energy_j.value) == pytest.approx(1.645 * math.hypot(0.3, 0.2), rel=1e-3)
    assert math.log(step.duration_s.high / step.duration_s.value) == pytest.approx(
        1.645 * math.hypot(0.4, 0.2), rel=1e-3
    )
