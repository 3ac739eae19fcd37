"""Laws that hold for any work: parts add up, more work costs more, training is linear in samples and in epochs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.energy.pricing import price
from estimator.footprint import estimate
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.lifecycle.scenario import Scenario
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.networks import mlp
from tests.estimator.profiles import changed, model, op, work
from tests.estimator.tracing import meta

MODELS = {name: from_datasheet(find(name)).model for name in ("rtx-2080-ti", "i9-9900k")}


# ---- laws


_OPS = st.lists(
    st.builds(
        op,
        flops=st.integers(0, 10**12),
        moved=st.integers(1, 10**10),
        kind=st.sampled_from(["conv", "matmul", "attention", "rnn", "elementwise", "norm", "copy", "uncovered"]),
        phase=st.sampled_from(["forward", "backward", "optimizer"]),
        layer=st.sampled_from(["", "a", "a.b"]),
        launches=st.integers(1, 20),
    ),
    min_size=1,
    max_size=12,
)
_MACHINES = st.sampled_from([*MODELS.values(), model(), model(asynchronous=True, kernel_s=1e-6)])


@given(ops=_OPS, machine=_MACHINES, calls=st.integers(0, 50))
@settings(max_examples=150, deadline=None)
def test_parts_add_up_to_the_whole(ops, machine, calls):
    predicted = price(work(*ops, module_calls=calls), machine)
    total_j, total_s = predicted.energy_j.value, predicted.duration_s.value
    assert sum(predicted.phase_energy_j.values()) == pytest.approx(total_j)
    assert sum(predicted.phase_duration_s.values()) == pytest.approx(total_s)
    assert set(predicted.phase_energy_j) == {o.phase for o in ops}
    assert sum(layer.energy_j for layer in predicted.layers) == pytest.approx(total_j)
    assert sum(layer.share for layer in predicted.layers) == pytest.approx(1)
    assert [layer.energy_j for layer in predicted.layers] == sorted(
        (x.energy_j for x in predicted.layers), reverse=True
    )
    assert sum(predicted.bound_shares.values()) == pytest.approx(1)
    assert all(-1e-12 <= share <= 1 + 1e-12 for share in predicted.bound_shares.values())


@given(ops=_OPS, machine=_MACHINES)
@settings(max_examples=100, deadline=None)
def test_intervals_and_limits(ops, machine):
    predicted = price(work(*ops), machine)
    for interval in (predicted.energy_j, predicted.duration_s):
        assert 0 < interval.low <= interval.value <= interval.high < math.inf
    # no faster than the roofline (all of it in cache), no cheaper than doing nothing for as long
    cached_s = machine.memory.cached_share * sum(o.bytes_moved for o in ops) / machine.memory.bandwidth_bytes_per_s
    assert predicted.duration_s.value >= cached_s * (1 - 1e-9)
    assert predicted.energy_j.value >= machine.power.static_w * predicted.duration_s.value * (1 - 1e-9)


@given(ops=_OPS, extra=_OPS, machine=_MACHINES)
@settings(max_examples=100, deadline=None)
def test_more_work_never_costs_less(ops, extra, machine):
    # the optimizer's kernels go by groups of tensors, so that only its own count of launches may differ
    extra = [e for e in extra if e.phase != "optimizer"]
    small, large = price(work(*ops), machine), price(work(*ops, *extra), machine)
    # joules to 1e-5: from the lowest clock on a device waits, and by a little more work it may just not have to
    assert large.energy_j.value >= small.energy_j.value * (1 - 1e-5)
    assert large.duration_s.value >= small.duration_s.value * (1 - 1e-9)


@given(ops=_OPS, machine=_MACHINES, times=st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_repeated_work_costs_its_multiple(ops, machine, times):
    ops = [o for o in ops if o.phase != "optimizer"] or [op(1e9, 1e6)]
    once, often = price(work(*ops), machine), price(work(*(ops * times)), machine)
    assert often.energy_j.value == pytest.approx(times * once.energy_j.value)
    assert often.duration_s.value == pytest.approx(times * once.duration_s.value)


# ---- networks on real devices


def _step_energy(net, hardware, batch=32):
    return price(trace(net, TraceInputs((meta(batch, 100),), {}, batch), optimizer="adam"), MODELS[hardware]).energy_j


@pytest.mark.parametrize("hardware", MODELS)
@given(width=st.integers(1, 3000), more=st.integers(1, 3000), depth=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_wider_costs_more(hardware, width, more, depth):
    narrow = _step_energy(mlp(100, *[width] * depth, 1), hardware)
    wide = _step_energy(mlp(100, *[width + more] * depth, 1), hardware)
    assert wide.value > narrow.value


@pytest.mark.parametrize("hardware", MODELS)
@given(width=st.integers(1, 3000), depth=st.integers(1, 6), more=st.integers(1, 10))
@settings(max_examples=15, deadline=None)
def test_deeper_costs_more(hardware, width, depth, more):
    shallow = _step_energy(mlp(100, *[width] * depth, 1), hardware)
    deep = _step_energy(mlp(100, *[width] * (depth + more), 1), hardware)
    assert deep.value > shallow.value


@pytest.mark.parametrize("hardware", MODELS)
def test_half_precision_never_costs_more(hardware):
    net = mlp(100, *[1000] * 4, 10)
    wide, narrow = (
        price(
            trace(net, TraceInputs((meta(256, 100),), {}, 256), optimizer="adam", dtype=dtype), MODELS[hardware]
        ).energy_j.value
        for dtype in ("float32", "float16")
    )
    assert narrow < wide


# ---- Figures 6 and 7 of Gitzel et al. 2023: energy is linear in the samples and in the epochs


def _training(**scenario):
    return estimate(mlp(100, 30, 30, 1), Scenario(hardware="i9-9900k", region="world", **scenario)).training.stage


@given(samples=st.floats(1, 1e9), times=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_training_energy_is_linear_in_samples(samples, times):
    once, often = _training(samples=samples), _training(samples=samples * times)
    for quantity in ("energy_j", "duration_s"):
        a, b = getattr(once, quantity), getattr(often, quantity)
        assert (b.value, b.low, b.high) == pytest.approx((a.value * times, a.low * times, a.high * times), rel=1e-9)
    assert often.carbon_kg == pytest.approx(once.carbon_kg * times, rel=1e-9)


@given(epochs=st.floats(0.1, 1e4), times=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_training_energy_is_linear_in_epochs(epochs, times):
    once, often = _training(epochs=epochs), _training(epochs=epochs * times)
    assert often.energy_j.value == pytest.approx(once.energy_j.value * times, rel=1e-9)
    assert often.duration_s.value == pytest.approx(once.duration_s.value * times, rel=1e-9)


@given(pue=st.floats(1, 5), more=st.floats(1e-3, 3))
@settings(max_examples=15, deadline=None)
def test_energy_grows_with_the_pue_in_proportion(pue, more):
    low, high = _training(pue=pue), _training(pue=pue + more)
    assert high.energy_j.value > low.energy_j.value
    assert high.energy_j.value / low.energy_j.value == pytest.approx((pue + more) / pue)
    assert high.duration_s == low.duration_s


@given(grams=st.floats(1, 2000), more=st.floats(0.1, 1000))
@settings(max_examples=15, deadline=None)
def test_carbon_grows_with_the_intensity_in_proportion_and_energy_does_not(grams, more):
    # monotone as the issue asks: carbon with the intensity, strictly
    def at(g):
        return estimate(mlp(100, 30, 1), Scenario(hardware="i9-9900k", carbon_intensity=g)).training.stage

    low, high = at(grams), at(grams + more)
    assert high.carbon_kg > low.carbon_kg
    assert high.carbon_kg / low.carbon_kg == pytest.approx((grams + more) / grams)
    assert high.energy_j == low.energy_j


# ---- clocks


@given(ops=_OPS, share=st.floats(0.1, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_lower_clock_is_never_faster_where_power_is_no_limit(ops, share):
    device = find("rtx-2080-ti")
    full, slow = (
        changed(from_datasheet(device, clock_hz=s * device.boost_clock_hz).model, limit_w=1e9) for s in (1.0, share)
    )
    assert price(work(*ops), slow).duration_s.value >= price(work(*ops), full).duration_s.value * (1 - 1e-9)
