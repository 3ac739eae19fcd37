"""Which names of a pickle may become real objects: layers and settings of installed libraries, and pure functions.

An object of these classes is created without calling its constructor, and a function is only ever stored as an
attribute of a layer. What is listed neither executes text, nor reads files, nor goes to the network.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import re
import sys
from collections.abc import Set
from types import ModuleType
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line, told
from estimator.sources.loaded import EXPORT_LINE, NAME_THE_CODE
from estimator.sources.pickles.pickle_data import Global

_ACTIVATIONS = frozenset(
    {
        *("adaptive_avg_pool2d", "avg_pool2d", "celu", "cross_entropy", "dropout", "elu", "gelu"),
        *("glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax", "logsigmoid"),
        *("max_pool2d", "mish", "mse_loss", "normalize", "pairwise_distance", "relu", "relu6", "rrelu"),
        *("scaled_dot_product_attention", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign"),
        *("tanh", "tanhshrink"),
    }
)
_FUNCTION_MODULES = ("torch", "torch.nn.functional", "torch._C._nn")
_LIBRARY_FUNCTIONS = {
    Global("torchvision.models.optical_flow.raft", "_pass_through_h"),
    Global("torchvision.ops.boxes", "box_iou"),
}
_LIBRARY_CLASSES = {
    Global("timm.models._features", "FeatureInfo"),
    Global("torchvision.models.detection._utils", "BalancedPositiveNegativeSampler"),
    Global("torchvision.models.detection._utils", "BoxCoder"),
    Global("torchvision.models.detection._utils", "Matcher"),
    Global("torchvision.models.optical_flow.raft", "CorrBlock"),
}
_LIBRARY_MODULES = re.compile(
    r"timm\.(models|layers)(\.\w+)*"
    r"|torchvision\.(models|ops)(\.\w+)*"
    r"|transformers\.models\.\w+\.(modeling|configuration)_\w+"
    r"|transformers\.(activations|pytorch_utils|configuration_utils|generation\.configuration_utils)"
    r"|transformers\.(modeling_layers|modeling_rope_utils|modeling_utils)"
    r"|diffusers\.(models|configuration_utils)(\.\w+)*"
)
_CALLED_AS_DATA = {
    Global("torch", "Size"),
    Global("torch", "device"),
    Global("torch.serialization", "_get_layout"),
    Global("_codecs", "encode"),
    Global("builtins", "bytearray"),
    Global("builtins", "complex"),
    Global("builtins", "getattr"),
    Global("functools", "partial"),
    Global("numpy", "dtype"),
    Global("numpy.core.multiarray", "scalar"),
    Global("numpy._core.multiarray", "scalar"),
    Global("torch._C", "_VariableFunctionsClass"),  # where `torch.relu` lives
    Global("torch.nn.modules.module", "_WrappedHook"),  # around load_state_dict hooks, which are left out
    Global("torch._tensor", "_rebuild_from_type_v2"),
    *(
        Global("torch._utils", name)
        for name in (
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
        )
    ),
}
_CONTAINERS = {Global("collections", name) for name in ("OrderedDict", "defaultdict", "Counter")} | {
    Global("builtins", name) for name in ("set", "frozenset", "dict", "list", "int", "float")
}
_NEVER = frozenset(
    {
        *("os", "posix", "nt", "sys", "subprocess", "builtins", "socket", "shutil", "runpy", "ctypes", "importlib"),
        *("pickle", "marshal", "code", "operator", "io", "_io", "webbrowser", "http", "urllib", "requests", "pty"),
        *("multiprocessing", "asyncio", "timeit", "pdb", "cProfile", "profile", "bdb", "pip", "ensurepip"),
        *("setuptools", "distutils"),
    }
)
_REMEDIES = {
    Global("torch.nn.parameter", "UninitializedParameter"): "the model has lazy layers, whose sizes are not known "
    "before its first batch: call it once on an example, model(example_input), and save it again, or export it with "
    f"`{EXPORT_LINE}`",
}
"""The sentences for classes that are not built from a file, where there is a better remedy than the usual one."""

_LIBRARIES = frozenset({"torch", "timm", "torchvision", "transformers", "diffusers", "numpy"})


def check_names(names: Set[Global]) -> None:
    """Refuse a pickle that names what no model needs; the sentence says what, and what to do instead."""
    for name in sorted(names, key=str):
        root = name.module.partition(".")[0]
        if root in _NEVER and name not in _CALLED_AS_DATA | _CONTAINERS:
            raise ModelFileError(
                f"the file asks to call {one_line(name, 80)}, which no model needs, so it is not safe and nothing of "
                "it was run: get the model from somebody you trust, as a .pt2 file"
            )


def is_data(name: Global) -> bool:
    """Whether `name` is one of the calls that `pickled_module` carries out itself, or a plain container."""
    return name in _CALLED_AS_DATA or name in _CONTAINERS


def torch_function(name: object) -> Any:
    """A pure function of `torch` by its name, such as `torch.relu`."""
    import torch

    if name not in _ACTIVATIONS or not isinstance(name, str):
        raise ModelFileError(_own_class_message(Global("torch", one_line(name, 40))))
    return getattr(torch, name)


def resolve(name: Global) -> Any:
    """The class, function or torch constant called `name`; raises `ModelFileError` with the remedy if not allowed."""
    import torch

    if name.module in _FUNCTION_MODULES and name.name in _ACTIVATIONS:
        return getattr(importlib.import_module(name.module), name.name)
    if name.module in ("torch", "torch.storage"):
        found = getattr(torch, name.name, None)
        if isinstance(found, (torch.dtype, torch.layout, torch.memory_format)) or found is torch.Tensor:
            return found
        if name.name.endswith("Storage"):
            return name
    if name in (Global("torch.nn.parameter", "Parameter"), Global("torch.nn.parameter", "Buffer")):
        return torch.nn.Parameter
    if name.module.startswith("torch.nn.modules."):
        return _checked_class(sys.modules.get(name.module), name)
    if _LIBRARY_MODULES.fullmatch(name.module):
        return _checked_class(_library_module(name.module), name)
    raise ModelFileError(_own_class_message(name))


def _library_module(path: str) -> ModuleType:
    """The module `path` of an installed model library."""
    package = path.partition(".")[0]
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    allow_torchvision_without_its_extension()
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise ModelFileError(
                f"the model is made of {package}'s layers: install it with `pip install {package}`"
            ) from None
        raise ModelFileError(
            f"the model uses {one_line(path, 80)}, which the installed {package} does not have: install the version of "
            f"{package} that saved the model"
        ) from None
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelFileError(f"{package} cannot be imported ({told(error)}): mend its installation") from None


def _checked_class(module: ModuleType | None, name: Global) -> Any:
    """The class or listed function `name`, if it is defined in `module` itself and of a kind that a model needs."""
    import torch

    found = vars(module).get(name.name) if module is not None else None
    if found is None:
        package = name.module.partition(".")[0]
        raise ModelFileError(
            f"the model uses {one_line(name, 80)}, which the installed {package} does not have: install the version of "
            f"{package} that saved the model"
        )
    if getattr(found, "__module__", None) != name.module:
        raise ModelFileError(_own_class_message(name))
    if name in _LIBRARY_FUNCTIONS or name in _LIBRARY_CLASSES:
        return found
    compiled = (torch.jit.ScriptModule, torch.fx.GraphModule)
    if isinstance(found, type) and not issubclass(found, compiled) and _is_layer_or_setting(found):
        return found
    raise ModelFileError(_own_class_message(name))


def _is_layer_or_setting(found: type) -> bool:
    import torch

    bases = {f"{base.__module__}.{base.__name__}" for base in found.__mro__}
    return (
        issubclass(found, (torch.nn.Module, enum.Enum))
        or dataclasses.is_dataclass(found)
        or not bases.isdisjoint(
            {
                "transformers.configuration_utils.PretrainedConfig",
                "transformers.configuration_utils.PreTrainedConfig",
                "transformers.generation.configuration_utils.GenerationConfig",
            }
        )
    )


def _own_class_message(name: Global) -> str:
    """The sentence for a class or function whose code the file does not carry, or that is not built from a file."""
    shown = one_line(name, 80)
    if name in _REMEDIES:
        return _REMEDIES[name]
    if name.module.startswith("torch.optim"):
        return (
            f"the file holds the optimizer {shown} where a model belongs: save the model alone, "
            "`torch.save(model, 'model.pt')`"
        )
    if name.module.partition(".")[0] in _LIBRARIES or name.module.partition(".")[0] in sys.stdlib_module_names:
        return (
            f"the model needs {shown}, which is not built from a file: {NAME_THE_CODE}, or save it with `{EXPORT_LINE}`"
        )
    target = f"{name.module}:{name.name}" if "." in name.module else f"{name.module}.py:{name.name}"
    if name.module == "__main__" or not re.fullmatch(r"[\w.]+:[\w.]+", target):
        target = f"file.py:{name.name}" if name.name.isidentifier() else "file.py:Net"
    return (
        f"the class {shown} lives in code that the file does not carry and that is not run for it: name the code "
        f"instead, `estimate {one_line(target, 80)}`, or save the model beside its code with `{EXPORT_LINE}`"
    )
