"""Traces under autocast, against what torch itself does on CPU tensors, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from estimator.base.errors import InputError
from estimator.sources import load
from estimator.workload.execution.settings import EAGER, Autocast, Execution
from estimator.workload.formulas import OpFacts
from estimator.workload.loss import training_loss
from tests.estimator.tracing import Calls, forward, meta, named, on_meta, step

HALF = Execution(Autocast("float16", scaler=True))
BRAIN = Execution(Autocast("bfloat16"))
_UNSCALE = "_amp_foreach_non_finite_check_and_unscale_"


class _Written(TorchDispatchMode):
    """The ops of a real run, with the dtype of their first result; what moves no data is left out."""

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        first = out if isinstance(out, torch.Tensor) else next(t for t in out if t is not None)
        if not OpFacts.of(func).free:
            self.ops.append((func.overloadpacket.__name__, str(first.dtype)[6:]))
        return out


_NETS = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 5), nn.GELU()
    ),
    "norms": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(192, 12), nn.LayerNorm(12), nn.PReLU(), nn.Linear(12, 4), nn.Softmax(1), nn.Softplus()
    ),
    "lists": lambda: Calls(lambda m, x: torch.cat([m.a(x.flatten(1)), x.flatten(1)[:, :5]], 1), a=nn.Linear(192, 5)),
    "float32": lambda: Calls(lambda m, x: torch.fft.rfft(m.a(x.flatten(1))).abs(), a=nn.Linear(192, 5)),
    "tied": lambda: Calls(lambda m, x: m.a(m.a(x.flatten(1))), a=nn.Linear(192, 192)),
}


@pytest.mark.parametrize("net", _NETS)
def test_a_step_is_that_of_real_autocast_on_a_cpu(net):
    real, x = _NETS[net](), torch.ones(2, 3, 8, 8)
    with _Written() as written:
        with torch.autocast("cpu", torch.bfloat16):
            loss = training_loss(real(x))
        loss.backward(torch.ones_like(loss))
    traced = step(_NETS[net](), meta(2, 3, 8, 8), execution=Execution(Autocast("bfloat16", "cpu")))
    passes = [(op.name, op.dtype) for op in traced.ops if op.phase != "optimizer"]
    assert passes == written.ops


def test_a_gpus_lists_run_norms_in_float32_where_the_cpus_do_not():
    net = on_meta(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)))
    on_gpu, on_cpu = (
        forward(net, meta(2, 4), execution=Execution(Autocast("bfloat16", lists))) for lists in ("cuda", "cpu")
    )
    assert [(op.name, op.dtype) for op in on_gpu.ops[-3:]] == [
        ("addmm", "bfloat16"),
        ("_to_copy", "float32"),
        ("native_layer_norm", "float32"),
    ]
    assert (on_cpu.ops[-1].name, on_cpu.ops[-1].dtype) == ("native_layer_norm", "bfloat16")


def _uncast(workload):
    """What a forward pass writes, op by op, but for casts."""
    return [(op.name, op.bytes_written) for op in workload.of_phase("forward") if op.name != "_to_copy"]


@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "timm:test_vit", "timm:test_convnext"])
@pytest.mark.parametrize("execution", [HALF, BRAIN])
def test_activations_are_never_larger_than_in_float32_and_flops_the_same(name, execution):
    module = load(name).module
    plain, cast = (step(module, meta(2, 3, 64, 64), execution=e) for e in (EAGER, execution))
    assert cast.flops == plain.flops
    assert [name for name, _ in _uncast(cast)] == [name for name, _ in _uncast(plain)]
    pairs = list(zip(_uncast(cast), _uncast(plain), strict=True))
    assert all(narrow <= wide for (_, narrow), (_, wide) in pairs)
    assert sum(narrow for (_, narrow), _ in pairs) < sum(wide for _, (_, wide) in pairs)


def test_parameters_are_cast_once_a_pass_where_they_are_trained():
    # torch keeps the casts of leaves that ask for a gradient (ATen's cached_cast)
    net = on_meta(lambda: Calls(lambda m, x: m.a(m.a(x)), a=nn.Linear(4, 4, bias=False)))
    weights = [op for op in named(forward(net, meta(2, 4), execution=BRAIN), "_to_copy") if op.inputs == ((4, 4),)]
    assert len(weights) == 1
    assert (weights[0].bytes_read, weights[0].bytes_written) == (4 * 16, 2 * 16)
    net.requires_grad_(False)
    weights = [op for op in named(forward(net, meta(2, 4), execution=BRAIN), "_to_copy") if op.inputs == ((4, 4),)]
    assert len(weights) == 2


def test_gradients_and_the_optimizer_are_float32_and_float16_scales():
    net = on_meta(lambda: nn.Linear(4, 8))
    half, brain = (step(net, meta(2, 4), optimizer="adam", execution=e) for e in (HALF, BRAIN))
    assert {op.dtype for op in half.of_phase("optimizer")} == {"float32"}
    (unscaled,) = named(half, _UNSCALE)
    assert (unscaled.bytes_read, unscaled.bytes_written) == (4 * 40, 4 * 40)  # each of 32 + 8 gradients, once
    assert not named(brain, _UNSCALE)
    to_float32 = [op.inputs for op in half.of_phase("backward") if op.name == "_to_copy" and op.dtype == "float32"]
    assert sorted(to_float32) == [((8,),), ((8, 4),)]


def test_attention_and_recurrent_layers_run_in_the_lower_dtype():
    def run(m, x):
        return functional.scaled_dot_product_attention(x, x, x) + m.a(x)[0]

    net = on_meta(lambda: Calls(run, a=nn.LSTM(8, 8, batch_first=True)))
    workload = forward(net, meta(2, 4, 8), execution=BRAIN)
    assert {op.dtype for op in workload.ops if op.kind in ("attention", "rnn")} == {"bfloat16"}


def test_a_softmax_is_asked_for_float32():
    workload = forward(Calls(lambda m, x: (x @ x).softmax(-1)), meta(2, 4, 4), execution=BRAIN)
    assert [op.dtype for op in named(workload, "_softmax")] == ["float32"]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_models_own_exception_holds(device):
    def run(m, x):
        with torch.autocast(device, enabled=False):
            return m.a(x)

    net = on_meta(lambda: Calls(run, a=nn.Linear(4, 4)))
    assert {op.dtype for op in forward(net, meta(2, 4), execution=BRAIN).ops} == {"float32"}


def test_a_model_that_asks_is_told():
    # as timm's fast norms and transformers' attention do, on whatever device their tensors are
    def run(m, x):
        asked = torch.is_autocast_enabled(x.device.type) and torch.is_autocast_enabled()
        return m.a(x).to(torch.get_autocast_dtype(x.device.type)) if asked else x

    net = on_meta(lambda: Calls(run, a=nn.LayerNorm(4)))
    assert [op.dtype for op in forward(net, meta(2, 4), execution=BRAIN).ops] == ["float32", "bfloat16"]


def test_what_a_model_runs_again_is_cast_again():
    net = on_meta(lambda: Calls(lambda m, x: checkpoint(m.a, x, use_reentrant=False), a=nn.Linear(4, 4)))
    workload = step(net, meta(2, 4), execution=BRAIN)
    again = [op for op in workload.of_phase("backward") if op.name == "_to_copy" and op.dtype == "bfloat16"]
    assert ((4, 4),) in [op.inputs for op in again]


def test_values_that_are_read_are_cast_alike():
    # a value that decides is known on fake tensors of the CPU alone, whose own lists must not be taken
    def run(m, x):
        return m.a(x) if (torch.ones(1) > 0).item() else x

    net = on_meta(lambda: Calls(run, a=nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))))
    assert [op.dtype for op in named(forward(net, meta(2, 4), execution=BRAIN), "native_layer_norm")] == ["float32"]


def test_what_torch_refuses_is_refused():
    net = on_meta(lambda: Calls(lambda m, x: functional.binary_cross_entropy(m.a(x), x), a=nn.Linear(4, 4)))
    with pytest.raises(InputError, match="unsafe to autocast"):
        forward(net, meta(2, 4), execution=HALF)
    assert {op.dtype for op in forward(net, meta(2, 4)).ops} == {"float32"}  # and nothing of it is left


def test_nothing_of_it_is_left():
    before = torch.autocast.__init__
    forward(on_meta(lambda: nn.Linear(4, 4)), meta(2, 4), execution=HALF)
    assert not torch.is_autocast_enabled("cpu")
    assert torch.autocast.__init__ is before
    assert {op.dtype for op in forward(on_meta(lambda: nn.Linear(4, 4)), meta(2, 4)).ops} == {"float32"}
