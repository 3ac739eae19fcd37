"""Steps composed of remembered parts do the ops of the full trace, op by op.

The reference is `estimator.workload.trace.trace`, which runs the whole model.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from estimator.energy.pricing import price
from estimator.search.parts import Parts
from estimator.search.recent import Recent
from estimator.search.signature import Signatures, Structure
from estimator.search.told import added, counted, merged
from estimator.sources import load
from estimator.workload.modes import module_mode
from estimator.workload.ops import Workload
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.profiles import model
from tests.estimator.search.small_networks import FRUGAL, Net, Recurrent, Residual, tied
from tests.estimator.tracing import meta, on_meta

GPU = model(asynchronous=True, kernel_s=1e-6, module_call_s=1e-6, tensors_per_optimizer_launch=3, launch_s=2e-6)


def _parts(optimizer="adam"):
    """Parts that keep the ops themselves."""
    return Parts("float32", optimizer, lambda ops: ops, merged)


def _composed(net, *args, parts=None, signatures=None, optimizer="adam"):
    """The composed step, twice: the second time everything is known."""
    parts, signatures = parts or _parts(optimizer), signatures or Signatures()
    with module_mode(net, training=True):
        inputs = TraceInputs(args, {}, args[0].shape[0])
        first = parts.step(net, Structure(net, signatures), inputs)
        second = parts.step(net, Structure(net, signatures), inputs)
    assert (first is None) == (second is None)
    if isinstance(first, Workload):
        assert _counted(first) == _counted(second)
    return second


def _full(net, *args, optimizer="adam"):
    return trace(net, TraceInputs(args, {}, args[0].shape[0]), optimizer=optimizer)


def _counted(workload):
    """The ops without their places, which a part does not know."""
    return Counter(
        (o.phase, o.name, o.kind, o.flops, o.bytes_read, o.bytes_written, o.dtype, o.inputs, o.outputs, o.launches)
        for o in workload.ops
    )


@pytest.mark.parametrize("name", FRUGAL)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_composed_ops_are_those_of_the_full_trace(name, optimizer):
    build, shape = FRUGAL[name]
    net, x = on_meta(build), meta(4, *shape)
    composed, full = _composed(net, x, optimizer=optimizer), _full(net, x, optimizer=optimizer)
    assert _counted(composed) == _counted(full)
    assert composed.module_calls == full.module_calls
    for machine in (model(), GPU):
        parts = Parts("float32", optimizer, partial(counted, model=machine), added)
        ours, theirs = _composed(net, x, parts=parts), counted(full, machine)
        assert ours.sums.table == pytest.approx(theirs.sums.table)
        assert (ours.uncovered, set(ours.guesses)) == (theirs.uncovered, set(theirs.guesses))


def test_tokens_and_a_recurrent_layer():
    net, tokens = on_meta(Recurrent), meta(4, 7, dtype=torch.long)
    assert _counted(_composed(net, tokens)) == _counted(_full(net, tokens))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "vit_b_16"])
def test_networks_of_torchvision(name):
    net, x = load(f"torchvision:{name}").module, meta(2, 3, 224, 224)
    composed, full = _composed(net, x), _full(net, x)
    assert len(composed.ops) == len(full.ops)
    for machine in (model(), GPU):
        assert price(composed, machine).energy_j.value == pytest.approx(price(full, machine).energy_j.value, rel=1e-3)


def test_frozen_parameters_get_no_gradient_and_no_step():
    net, x = on_meta(Net), meta(4, 6)
    frozen = frozenset(id(p) for p in net.blocks.parameters())
    with module_mode(net, training=True):
        composed = _parts().step(net, Structure(net, Signatures(), frozen), TraceInputs((x,), {}, 4))
    full = trace(net, TraceInputs((x,), {}, 4), optimizer="adam", freeze=("blocks",))
    assert _counted(composed) == _counted(full)


def test_the_model_is_left_as_it_was():
    net, x = on_meta(Net), meta(4, 6)
    before = {name: dict(vars(module)) for name, module in net.named_modules()}
    _composed(net, x)
    assert {name: dict(vars(module)) for name, module in net.named_modules()} == before


@pytest.mark.parametrize("build", [tied, nn.ReLU], ids=["tied", "nothing to train"])
def test_what_parts_cannot_tell_is_left_to_the_full_trace(build):
    assert _composed(on_meta(build), meta(4, 6)) is None


def test_what_other_networks_have_shown_is_not_run_again(monkeypatch):
    parts, signatures = _parts(), Signatures()
    _composed(on_meta(lambda: Net(8, 2)), meta(4, 6), parts=parts, signatures=signatures)
    ran = []
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: ran.append(self) or forward(self, x))
    monkeypatch.setattr(nn.LayerNorm, "forward", lambda self, x: pytest.fail("a known layer ran"))
    net = on_meta(lambda: Net(8, 5))
    composed = _composed(net, meta(4, 6), parts=parts, signatures=signatures)
    monkeypatch.undo()
    assert ran == []
    assert _counted(composed) == _counted(_full(net, meta(4, 6)))


widths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(widths, st.lists(st.sampled_from(["relu", "relu_", "norm", "residual", "drop", "flatten"]), max_size=4))
def test_any_chain_costs_what_its_full_trace_says(sizes, between):
    def build() -> nn.Module:
        layers: list[nn.Module] = []
        width = 6
        for i, size in enumerate(sizes):
            layers.append(nn.Linear(width, size))
            width = size
            made = {
                "relu": nn.ReLU, "relu_": lambda: nn.ReLU(inplace=True), "norm": lambda w=width: nn.LayerNorm(w),
                "residual": lambda w=width: Residual(w), "drop": nn.Dropout, "flatten": nn.Flatten,
            }  # fmt: skip
            layers += [made[between[i]]()] if i < len(between) else []
        return nn.Sequential(*layers)

    net, x = on_meta(build), meta(3, 6)
    assert _counted(_composed(net, x, parts=SHARED[0], signatures=SHARED[1])) == _counted(_full(net, x))


SHARED = _parts(), Signatures()
"""One memory for all examples of the property: what one net has shown must hold for the next."""


# ---- signatures


def _number(build, signatures):
    return Structure(on_meta(build), signatures).number


def test_equal_structures_have_equal_signatures_and_others_do_not():
    signatures = Signatures()
    same = [
        lambda: nn.Conv2d(3, 8, 3), lambda: nn.Conv2d(3, 8, 3, stride=2), lambda: nn.Conv2d(3, 8, 3, bias=False),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3)), lambda: Residual(4), lambda: Residual(4, functional.relu),
        lambda: Residual(4, lambda x: x * 2), lambda: nn.Dropout(0.1), lambda: nn.Dropout(0.2), lambda: nn.LSTM(3, 4),
    ]  # fmt: skip
    numbers = [_number(build, signatures) for build in same]
    assert None not in numbers
    assert len(set(numbers)) == len(same)
    assert [_number(build, signatures) for build in same] == numbers


def test_an_attribute_that_forward_may_read_is_part_of_the_signature():
    class Scaled(nn.Linear):
        times: object = 1

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.times

    def of(times: object) -> nn.Module:
        net = Scaled(4, 4)
        net.times = times
        return net

    signatures = Signatures()
    found = [_number(lambda t=t: of(t), signatures) for t in (1, 1.0, True, (1, 2), [1, 2], "a", {"a": 1})]
    assert len(set(found)) == len(found)
    assert _number(lambda: of(object()), signatures) is None


def test_hooks_make_a_module_opaque_and_so_its_parents():
    net = on_meta(lambda: nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 4))))
    net[1][0].register_forward_hook(lambda module, args, output: output * 2)
    structure = Structure(net, Signatures())
    assert structure.number is None
    assert structure.numbers[id(net[0])] is not None
    assert _counted(_composed(net, meta(4, 6))) == _counted(_full(net, meta(4, 6)))


def test_the_memory_is_bounded_and_forgets_what_was_not_used_for_longest():
    memory: Recent[int, str] = Recent(2)
    memory.put(1, "a")
    memory.put(2, "b")
    assert memory.get(1) == "a"
    memory.put(3, "c")
    assert (memory.get(1), memory.get(2), memory.get(3), len(memory)) == ("a", None, "c", 2)


def test_forgetting_changes_no_result(monkeypatch):
    monkeypatch.setattr("estimator.search.parts._ROOM", 12)
    monkeypatch.setattr("estimator.search.signature._ROOM", 12)
    parts, signatures = _parts(), Signatures()
    for depth in (1, 2, 3, 1):
        net = on_meta(lambda d=depth: Net(8, d))
        assert _counted(_composed(net, meta(4, 6), parts=parts, signatures=signatures)) == _counted(
            _full(net, meta(4, 6))
        )
