"""Example inputs: their shapes per sample, read from `--input` or derived from the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from estimator.base.errors import InputError
from estimator.base.words import one_line, printable

if TYPE_CHECKING:
    import torch

FORMS = "3x224x224, tokens:512, int64:3x4, bool:16, name=3x224x224 or 512xBx64"
"""The forms of `--input`, for error messages. A shape is that of one sample; B stands for the batch, if not first."""

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 2**40
DEFAULT_TOKENS = 512
DEFAULT_IMAGE = 224
_DTYPES = ("float", "float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
_TUPLE = re.compile(r"[(\[]?((?:\d+|B)(?:\s*,\s*(?:\d+|B))*)\s*,?\s*[)\]]?$")
_FORM = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[A-Za-z]\w*):)?(?P<shape>(?:\d+|B)(?:[xX×](?:\d+|B))*)")


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: the shape of ONE sample (no batch dimension), its dtype and how it is passed.

    `dtype` is "float" (the scenario's dtype), or a torch dtype name such as "int64". `name` is the keyword of
    `forward`, or None for a positional input. `batch_dim` is where the batch dimension is inserted, None where there is
    none (a graph, one cloud of points): then the shape is that of the whole tensor. `high` bounds
    integer values (a vocabulary size), None where nothing is known. `example_batch` is the size of the batch in the
    example that the shape was read from, None where it was read from none.
    """

    shape: tuple[int, ...]
    dtype: str = "float"
    name: str | None = None
    batch_dim: int | None = 0
    high: int | None = None
    example_batch: int | None = None

    def with_batch_at(self, batch_dim: int) -> InputSpec:
        """The same input with the batch in another dimension; of an example, another of its sizes is the batch."""
        if self.example_batch is None:
            return replace(self, batch_dim=batch_dim)
        sizes = list(self.sizes(self.example_batch))
        batch = sizes.pop(batch_dim)
        return replace(self, shape=tuple(sizes), batch_dim=batch_dim, example_batch=batch)

    def without_batch(self) -> InputSpec:
        """The same input where no dimension is a batch; of an example, all of its sizes are the sample's."""
        shape = self.shape if self.example_batch is None else self.sizes(self.example_batch)
        return replace(self, shape=shape, batch_dim=None, example_batch=None)

    def sizes(self, batch_size: int) -> tuple[int, ...]:
        """The shape of the tensor that holds `batch_size` samples."""
        if self.batch_dim is None:
            return self.shape
        return (*self.shape[: self.batch_dim], batch_size, *self.shape[self.batch_dim :])

    def __str__(self) -> str:
        """As it would be typed after `--input`."""
        name = f"{self.name}=" if self.name else ""
        dtype = {"float": "", "int64": "tokens:"}.get(self.dtype, f"{self.dtype}:")
        sizes = list(map(str, self.shape or (1,)))
        if self.batch_dim:
            sizes.insert(self.batch_dim, "B")
        return name + dtype + "x".join(sizes)


def parse_input(text: str) -> InputSpec:
    """One `--input`, after an optional "name=": "3x224x224", "(3, 224, 224)", "tokens:512", "int64:3x4", "512xBx64"."""
    plain = _TUPLE.sub(lambda found: re.sub(r"[\s,]+", "x", found[1]), text[:201].strip())  # 3,32,32 and (3, 32, 32)
    found = _FORM.fullmatch(plain) if len(text) <= 200 else None
    if found is None:
        raise InputError(f"--input {text[:60]!r} is not read: write the shape of one sample, {FORMS}")
    dtype = found["dtype"] or "float"
    dtype = "int64" if dtype == "tokens" else dtype
    if dtype not in _DTYPES:
        raise InputError(f"--input {text!r} has an unknown type {dtype!r}: use tokens or one of {', '.join(_DTYPES)}")
    parts = re.split("[xX×]", found["shape"])
    if parts.count("B") > 1 or parts == ["B"]:
        raise InputError(f"--input {text!r} has one batch, B, beside at least one size: write it like 512xBx64")
    batch_dim = parts.index("B") if "B" in parts else 0
    parts = [part for part in parts if part != "B"]
    shape = tuple(int(part) for part in parts if len(part) <= 13)
    elements = 1
    for size in shape:
        elements *= size
    if len(shape) != len(parts) or len(shape) > MAX_DIMENSIONS or not 0 < elements <= MAX_ELEMENTS:
        raise InputError(
            f"--input {text!r} is out of range: give up to {MAX_DIMENSIONS} sizes of at least 1, such as {FORMS}"
        )
    return InputSpec(shape, dtype, found["name"], batch_dim)


CHANNELS_LAST = {4: "channels_last", 5: "channels_last_3d"}
"""torch's memory formats of pictures and of volumes, by the number of dimensions."""


def build_inputs(
    specs: Iterable[InputSpec], batch_size: int, dtype: torch.dtype, *, channels_last: bool = False
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Meta tensors for `forward(*args, **kwargs)`: "float" inputs get `dtype`, the batch goes where the spec says.

    `channels_last`: pictures and volumes lie so in memory, as do then the results of what works on them.
    """
    import torch

    args: list[torch.Tensor] = []
    kwargs: dict[str, torch.Tensor] = {}
    for spec in specs:
        shape = spec.sizes(batch_size)
        element = dtype if spec.dtype == "float" else getattr(torch, spec.dtype)
        try:
            tensor = torch.empty(shape, dtype=element, device="meta")
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"the input shape {shape} is out of range: give one sample's shape with `--input`, {FORMS}"
            ) from error
        if channels_last and tensor.dim() in CHANNELS_LAST:
            tensor = tensor.contiguous(memory_format=getattr(torch, CHANNELS_LAST[tensor.dim()]))
        if spec.name is None:
            args.append(tensor)
        else:
            kwargs[spec.name] = tensor
    return tuple(args), kwargs


def is_assumed(source: str) -> bool:
    """Whether `source`, as `guess_inputs` or a model source words it, says that a dimension was assumed.

    By convention such a sentence ends in the word "assumed", and no other does; names that come from a model stand
    before the end, so they cannot say it.
    """
    return source.endswith(" assumed")


def lazy_layers(module: torch.nn.Module) -> str:
    """The sentence for a model whose lazy layers have no sizes yet, "" where every size is known."""
    import torch

    for path, layer in module.named_modules():
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            if torch.nn.parameter.is_lazy(tensor):
                named = printable(f"{path}.{name}".lstrip("."))
                return (
                    f"the model has lazy layers whose sizes are not known before its first batch ({named}): call it "
                    "once on an example, model(example_input), before you give or save it, or export it as a .pt2 file"
                )
    return ""


def of_first_layer(module: torch.nn.Module) -> tuple[tuple[InputSpec, ...], str]:
    """The input that the first layer with known sizes takes."""
    import torch

    if isinstance(module, torch.nn.Transformer):
        spec = _sequence(module.d_model, module.batch_first)
        source = f"nn.Transformer of width {module.d_model}: source and target of {DEFAULT_TOKENS} steps assumed"
        return (spec, spec), source
    for layer in module.modules():  # a layer before its parts: attention, and a Linear that has parametrizations
        found = _of_layer(layer)
        if found is not None:
            specs, assumed = found
            return specs, f"first layer {_described(layer)}: {assumed}"
    raise InputError(
        f"no input could be derived from {type(module).__name__}: give one sample's shape with `--input`, {FORMS}"
    )


def _of_layer(layer: torch.nn.Module) -> tuple[tuple[InputSpec, ...], str] | None:
    """The inputs for one kind of layer, and what was assumed; None where the layer tells nothing."""
    import torch

    rules: list[tuple[type | tuple[type, ...], Callable[[Any], tuple[tuple[InputSpec, ...], str]]]] = [
        (torch.nn.modules.conv._ConvNd, _convolution),
        (torch.nn.Linear, lambda m: ((InputSpec((m.in_features,)),), f"{m.in_features} features per sample")),
        (
            torch.nn.Bilinear,
            lambda m: ((InputSpec((m.in1_features,)), InputSpec((m.in2_features,))), "two vectors per sample"),
        ),
        ((torch.nn.Embedding, torch.nn.EmbeddingBag), _tokens),
        (torch.nn.RNNBase, _recurrent),
        (torch.nn.RNNCellBase, lambda m: ((InputSpec((m.input_size,)),), f"{m.input_size} features per sample")),
        (torch.nn.MultiheadAttention, _attention),
        (torch.nn.TransformerEncoderLayer, _encoder_layer),
        (torch.nn.TransformerDecoderLayer, _decoder_layer),
        (torch.nn.modules.batchnorm._BatchNorm, _batch_norm),
        (torch.nn.LayerNorm, lambda m: ((InputSpec(tuple(m.normalized_shape)),), "the shape that it normalizes")),
    ]
    return next((rule(layer) for kinds, rule in rules if isinstance(layer, kinds)), None)


def _described(layer: torch.nn.Module) -> str:
    return f"{one_line(type(layer).__name__, 60)}({one_line(layer.extra_repr(), 63)})"


def _sequence(width: int, batch_first: bool, steps: int = DEFAULT_TOKENS) -> InputSpec:
    return InputSpec((steps, width), batch_dim=0 if batch_first else 1)


def _convolution(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    dimensions = len(layer.kernel_size)
    channels = layer.in_channels
    sizes = {1: (16_000,), 2: (DEFAULT_IMAGE, DEFAULT_IMAGE), 3: (16, 112, 112)}[dimensions]
    if dimensions == 2 and channels == 1:
        sizes = (28, 28)
    shown = "x".join(map(str, sizes))
    return (InputSpec((channels, *sizes)),), f"{channels} channel{'s' if channels > 1 else ''}, {shown} assumed"


def _tokens(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    spec = InputSpec((DEFAULT_TOKENS,), "int64", high=layer.num_embeddings)
    return (spec,), f"{DEFAULT_TOKENS} tokens of a vocabulary of {layer.num_embeddings:,} assumed"


def _recurrent(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    return (_sequence(layer.input_size, layer.batch_first, 128),), f"128 steps of {layer.input_size} features assumed"


def _attention(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    width = layer.embed_dim
    query = _sequence(width, layer.batch_first)
    rest = (_sequence(layer.kdim, layer.batch_first), _sequence(layer.vdim, layer.batch_first))
    return (query, *rest), f"query, key and value of {DEFAULT_TOKENS} steps assumed"


def _encoder_layer(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    spec = _sequence(layer.self_attn.embed_dim, layer.self_attn.batch_first)
    return (spec,), f"{DEFAULT_TOKENS} steps assumed"


def _decoder_layer(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    spec = _sequence(layer.self_attn.embed_dim, layer.self_attn.batch_first)
    return (spec, spec), f"target and memory of {DEFAULT_TOKENS} steps assumed"


def _batch_norm(layer: Any) -> tuple[tuple[InputSpec, ...], str]:
    import torch

    kinds = ((torch.nn.BatchNorm2d, (DEFAULT_IMAGE, DEFAULT_IMAGE)), (torch.nn.BatchNorm3d, (16, 112, 112)))
    sizes = next((sizes for kind, sizes in kinds if isinstance(layer, kind)), ())
    channels = layer.num_features
    if not sizes:
        return (InputSpec((channels,)),), f"{channels} features per sample"
    return (InputSpec((channels, *sizes)),), f"{channels} channels, {'x'.join(map(str, sizes))} assumed"
