"""What holds a model and runs nothing of its own is priced as the model in it, saved or built, in any order."""

from __future__ import annotations

import sys
from itertools import permutations
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from estimator.footprint import as_loaded
from estimator.sources import load
from estimator.sources.wrappers import HELD
from tests.estimator.sources.conftest import refusal


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def told(module: nn.Module) -> dict[str, tuple[tuple[int, ...], str]]:
    """All that the model is made of, by name."""
    layers = {name: ((), type(layer).__name__) for name, layer in module.named_modules()}
    return layers | {name: (tuple(tensor.shape), "") for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def one_process():
    """A process group of one, which DistributedDataParallel asks for."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "compile": torch.compile,
    "data parallel": nn.DataParallel,
    "distributed": DistributedDataParallel,
    "average": AveragedModel,
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("inner", "outer"), permutations(WRAPPERS, 2))
def test_two_wrappers_in_either_order(saved, inner, outer):
    model = WRAPPERS[outer](WRAPPERS[inner](net()))
    for value in (model, {"model": model}):
        assert told(load(saved(value)).module) == told(net())
    assert told(as_loaded(model).module) == told(net())


def test_wrappers_around_parts(saved, written):
    expected = told(nn.Sequential(net(), nn.Linear(2, 2)))
    model = nn.Sequential(nn.DataParallel(torch.compile(net())), nn.Linear(2, 2))
    assert told(load(saved(model)).module) == expected
    code = "\n".join(
        (
            "import torch",
            "from torch import nn",
            "def net(): return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))",
            "def parts(): return nn.Sequential(nn.DataParallel(torch.compile(net())), nn.Linear(2, 2))",
            "def whole(): return torch.optim.swa_utils.AveragedModel(torch.compile(parts())), torch.zeros(1, 3)",
            "instance = nn.DataParallel(parts())",
        )
    )
    file = written("net.py", code)
    for name in ("parts", "whole", "instance"):
        assert told(load(f"{file}:{name}").module) == expected


@pytest.fixture
def library(monkeypatch):
    """Makes the class of a wrapper of a library that need not be installed, under the library's name."""

    def make(full: str, base: type) -> type:
        where, _, name = full.rpartition(".")
        for depth in range(1, where.count(".") + 2):
            package = ".".join(where.split(".")[:depth])
            if package not in sys.modules:
                monkeypatch.setitem(sys.modules, package, ModuleType(package))
        cls = type(name, (base,), {"__module__": where})
        monkeypatch.setattr(sys.modules[where], name, cls, raising=False)
        return cls

    return make


@pytest.mark.parametrize(
    "full", [name for name in HELD if not name.startswith(("torch.nn", "torch._", "timm", "torch.o"))]
)
def test_wrappers_of_libraries(saved, library, full):
    """Modules, and plain objects (YOLO's averaged model), as these classes keep what they hold."""
    plain = full.endswith("torch_utils.ModelEMA")
    wrapper = library(full, object if plain else nn.Module)()
    setattr(wrapper, HELD[full], torch.compile(net()))
    if full.startswith("ema_pytorch"):
        wrapper.online_model = [net()]
    for value in (wrapper, {"epoch": 3, "model": wrapper}):
        assert told(load(saved(value)).module) == told(net())
    assert told(as_loaded(wrapper).module) == told(net())


@pytest.mark.parametrize("name", ["ModelEma", "ModelEmaV2", "ModelEmaV3"])
def test_averaged_models_of_timm(saved, name):
    model_ema = pytest.importorskip("timm.utils.model_ema")
    assert told(load(saved(getattr(model_ema, name)(net()))).module) == told(net())


def test_weights_without_their_shapes_are_told(saved, library):
    full = "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel"
    wrapper, inner = library(full, nn.Module)(), net()
    inner._flat_param = nn.Parameter(torch.zeros(26))
    wrapper._fsdp_wrapped_module = inner
    assert "use_orig_params=True" in refusal(saved(wrapper))


def test_a_wrapper_that_holds_itself_is_refused(saved):
    model = nn.DataParallel(net())
    model._modules["module"] = model
    assert "contains itself" in refusal(saved(model))
