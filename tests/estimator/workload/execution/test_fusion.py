"""What a compiled model runs: kernels and their bytes by hand, and what inductor's rules say of layouts."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn import functional

from estimator.sources import load
from estimator.workload.execution.settings import EAGER, Autocast, Execution
from tests.estimator.tracing import BYTES, Calls, forward, meta, named, on_meta, step

COMPILED = Execution(compiled="default")


def _names(workload):
    return [op.name for op in workload.ops]


def test_a_chain_is_one_kernel_that_reads_and_writes_once():
    def chain(m, x, y):
        return ((x + y).relu() * 2).sigmoid()

    (kernel,) = forward(Calls(chain), meta(10, 10), meta(10, 10), execution=COMPILED).ops
    assert (kernel.bytes_read, kernel.bytes_written, kernel.launches) == (2 * 100 * BYTES, 100 * BYTES, 1)
    assert kernel.flops == 4 * 100


def test_what_others_read_is_written():
    def twice(m, x):
        a = x.relu()
        return a @ a, a.sigmoid()

    kernel = named(forward(Calls(twice), meta(10, 10), execution=COMPILED), "fused")[0]
    assert kernel.bytes_written == 2 * 100 * BYTES  # the product reads the first, the second is the model's own


def test_products_are_calls_of_a_library():
    net = on_meta(lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 8)))
    assert _names(forward(net, meta(4, 8), execution=COMPILED)) == ["addmm", "fused", "addmm"]


def test_a_kernel_does_not_wait_for_itself():
    # the sum reads x.relu() and a product of it: the relu has to run before the product, the sum after
    net = Calls(lambda m, x: x.relu() + x.relu_() @ x)
    found = _names(forward(net, meta(10, 10), execution=COMPILED))
    assert found.index("mm") < len(found) - 1

    def residual(m, x):
        a = x.relu()
        return a + a @ a

    assert _names(forward(Calls(residual), meta(10, 10), execution=COMPILED)) == ["relu", "mm", "add"]


def test_a_write_in_place_is_a_new_value():
    def run(m, x):
        y = x @ x
        y.relu_()
        y.mul_(2)
        return y

    product, kernel = forward(Calls(run), meta(10, 10), execution=COMPILED).ops
    assert (product.name, kernel.bytes_read, kernel.bytes_written) == ("mm", 100 * BYTES, 100 * BYTES)


def test_a_norm_over_pictures_reads_them_twice():
    net = on_meta(lambda: nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 4)))
    (kernel,) = forward(net, meta(2, 4, 8, 8), execution=COMPILED).ops
    eager = forward(net, meta(2, 4, 8, 8))
    assert kernel.bytes_written == 512 * BYTES
    assert kernel.bytes_read == 512 * BYTES + 512 * BYTES + 2 * 4 * BYTES  # and its weight and bias
    assert kernel.bytes_moved < eager.bytes_moved


def test_forward_and_backward_are_kernels_of_their_own():
    net = on_meta(lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)))
    workload = step(net, meta(4, 8), execution=COMPILED)
    plain = step(net, meta(4, 8))
    assert workload.flops == plain.flops
    assert workload.of_phase("optimizer") == plain.of_phase("optimizer")
    assert len(workload.of_phase("forward")) <= len(plain.of_phase("forward"))


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext", "timm:test_resnet"])
@pytest.mark.parametrize("autocast", [None, Autocast("float16")])
def test_fewer_kernels_fewer_bytes_the_same_products(name, autocast):
    module = load(name).module
    for run in (forward, step):
        eager = run(module, meta(2, 3, 64, 64), execution=Execution(autocast))
        compiled = run(module, meta(2, 3, 64, 64), execution=Execution(autocast, compiled="default"))
        assert compiled.flops == eager.flops
        assert compiled.bytes_moved < eager.bytes_moved
        assert len(compiled.ops) < len(eager.ops)


def _layouts(net, *shape, run=forward):
    return {op.layout for op in run(net, meta(*shape), execution=COMPILED).ops if op.kind == "conv"}


def test_layouts_are_decided_as_inductor_decides():
    # torch/_inductor/graph.py, decide_layout_opt: in inference by FLOPs, grouped ones against, all others for it
    plain = on_meta(lambda: nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.Conv2d(128, 128, 3)))
    grouped = on_meta(lambda: nn.Sequential(nn.Conv2d(4, 128, 1), nn.Conv2d(128, 128, 3, groups=2)))
    narrow = on_meta(lambda: nn.Sequential(nn.Conv2d(3, 128, 3), nn.Conv2d(128, 64, 3)))
    assert _layouts(plain, 1, 3, 16, 16) == {"channels_last"}
    assert _layouts(grouped, 1, 4, 16, 16) == {"contiguous"}
    assert _layouts(narrow, 1, 3, 16, 16) == {"channels_last"}
    # in training a single grouped or narrowing one decides
    assert "channels_last" in _layouts(plain, 1, 3, 16, 16, run=step)
    assert "channels_last" not in _layouts(narrow, 1, 3, 16, 16, run=step)
    assert {op.layout for op in forward(plain, meta(1, 3, 16, 16), execution=EAGER).ops} == {"contiguous"}


def test_attention_stays_one_call():
    def run(m, x):
        return functional.scaled_dot_product_attention(x, x, x).relu()

    assert [op.kind for op in forward(Calls(run), meta(1, 2, 4, 8), execution=COMPILED).ops] == [
        "attention",
        "elementwise",
    ]


def test_calls_of_modules_are_compiled_away():
    net = on_meta(lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU()))
    assert forward(net, meta(4, 8), execution=COMPILED).module_calls == 0
