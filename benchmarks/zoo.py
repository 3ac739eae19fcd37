"""Models of timm, transformers and diffusers drawn at random: parameters and FLOPs beside their library's own.

nice -n 10 python -m benchmarks.zoo --seed 1 --count 60    # a table, and what is off by more than 1%

Each model is read as `estimate` reads it, and built again by its library on the CPU, where torch's FlopCounterMode
counts one forward pass on random numbers. Models that a test names are left out, and so are large ones, after what a
config can be made smaller by.
"""

from __future__ import annotations

import argparse
import inspect
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from estimator.base.errors import FOREIGN_ERRORS, JoulecastError
from estimator.base.nests import with_each
from estimator.base.words import told
from estimator.sources import LoadedModel, load
from estimator.sources.building import offline_and_quiet
from estimator.sources.guessing import guess_inputs
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.workload.trace import TraceInputs, trace

MAX_PARAMETERS = 80_000_000
MAX_FLOPS = 6e9
SHARES = {"timm": 0.4, "transformers": 0.4, "diffusers": 0.2}
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")
_LAYERS += ("num_encoder_layers", "num_decoder_layers", "num_single_layers", "num_transformer_layers", "depth")
_WIDTHS = ("hidden_size", "intermediate_size", "d_model", "d_ff", "ffn_dim", "n_embd", "moe_intermediate_size")
_FEW, _WIDE, _SMALLER = 2, 1024, 8


@dataclass(frozen=True)
class Row:
    """One model: its counts here and by its library; None where a count failed, and `why` says why."""

    name: str
    inputs: str
    parameters: tuple[int, int | None]
    flops: tuple[int | None, int | None]
    why: str = ""

    @property
    def runs_nowhere(self) -> bool:
        """Whether neither count was made: the inputs are in no setting, or a smaller config does not hold together."""
        return self.flops == (None, None)

    @property
    def off(self) -> bool:
        """Whether a count is missing, parameters differ, or FLOPs by more than 1%."""
        ours, theirs = self.flops
        if ours is None or theirs is None or self.parameters[0] != self.parameters[1]:
            return True
        return abs(ours - theirs) > 0.01 * max(ours, theirs)

    def __str__(self) -> str:
        ours, theirs = self.flops
        ratio = f"{ours / theirs:.4f}" if ours and theirs else "-"
        same = "same" if self.parameters[0] == self.parameters[1] else f"{self.parameters[1]}"
        mark = "-" if self.runs_nowhere else "OFF" if self.off else "ok"
        counts = f"{self.parameters[0]:>12,} {same:8}{ours or 0:>16,} {ratio:8}"
        return f"{mark:4}{self.name:52}{counts}{self.inputs} {self.why}"


@dataclass(frozen=True)
class Drawn:
    """A model by its library's name: how it is read here, and how the library builds it."""

    name: str
    read: Callable[[], LoadedModel]
    build: Callable[[LoadedModel], nn.Module]


def _smaller(settings: Any) -> Any:
    """A config with few layers, and narrow where it was wide."""
    if not isinstance(settings, dict):
        return settings
    made = {key: _smaller(value) for key, value in settings.items()}
    for key, value in settings.items():
        if type(value) is int and key in _LAYERS:
            made[key] = min(value, _FEW)
        elif type(value) is int and key in _WIDTHS and value > _WIDE:
            made[key] = value // _SMALLER
        elif isinstance(value, list) and key in ("layer_types", "mlp_layer_types"):
            made[key] = value[:_FEW]
    return made


def _directory(root: Path, name: str, settings: dict[str, Any]) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _timm(root: Path) -> dict[str, Drawn]:
    import timm

    def drawn(name: str) -> Drawn:
        return Drawn(f"timm:{name}", lambda: load(f"timm:{name}"), lambda _: timm.create_model(name))

    return {name: drawn(name) for name in timm.list_models()}


def _transformers(root: Path) -> dict[str, Drawn]:
    from transformers import CONFIG_MAPPING

    def read(name: str) -> LoadedModel:
        whole = load(f"transformers:{name}")
        settings = _smaller(whole.module.config.to_dict())  # type: ignore[operator]
        settings["architectures"] = [type(whole.module).__name__]
        settings.pop("dtype", None)
        return load(str(_directory(root, name, settings)))

    def build(loaded: LoadedModel) -> nn.Module:
        return type(loaded.module)(loaded.module.config)

    return {name: Drawn(f"transformers:{name}", lambda name=name: read(name), build) for name in CONFIG_MAPPING}  # type: ignore[misc]


def _diffusers(root: Path) -> dict[str, Drawn]:
    import diffusers
    from diffusers import models

    def read(cls: Any) -> LoadedModel:
        defaults = {n: p.default for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self"}
        settings = {n: value for n, value in defaults.items() if value is not inspect.Parameter.empty}
        return load(str(_directory(root, cls.__name__, {"_class_name": cls.__name__, **_smaller(settings)})))

    def build(loaded: LoadedModel) -> nn.Module:
        return type(loaded.module).from_config(dict(loaded.module.config))  # type: ignore[attr-defined, no-any-return, call-overload]

    found = {}
    for name in sorted(dir(models)):
        cls = getattr(models, name)
        if (
            isinstance(cls, type)
            and issubclass(cls, diffusers.ModelMixin)
            and name != "ModelMixin"
            and hasattr(diffusers, name)
        ):
            found[name] = Drawn(f"diffusers:{name}", lambda cls=cls: read(cls), build)  # type: ignore[misc]
    return found


_MODELS = {"timm": _timm, "transformers": _transformers, "diffusers": _diffusers}


def torchs_count(module: nn.Module, specs: Sequence[InputSpec]) -> int:
    """FLOPs that torch counts in one forward pass on random numbers; attention and recurrent layers taken apart."""

    def real(t: torch.Tensor) -> torch.Tensor:
        return torch.randn(t.shape) if t.is_floating_point() else torch.ones(t.shape, dtype=t.dtype)

    args, kwargs = with_each(build_inputs(specs, 1, torch.float32), torch.Tensor, real)
    counter = FlopCounterMode(display=False)
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in module.modules())  # one op without a formula in oneDNN
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=not recurrent), counter:
        module.eval()(*args, **kwargs)
    return int(counter.get_total_flops())


def row_of(drawn: Drawn) -> Row | None:
    """The counts of one model; None where it is too large, or its own library cannot build it."""
    try:
        loaded = drawn.read()
        parameters = sum(p.numel() for p in loaded.module.parameters())
        if parameters > MAX_PARAMETERS:
            return None
        specs = loaded.inputs or guess_inputs(loaded.module)[0]
    except JoulecastError as error:
        return None if "cannot build" in str(error) else Row(drawn.name, "", (0, None), (None, None), str(error))
    ours, theirs, why = None, None, []
    shown = " ".join(map(str, specs))
    try:
        inputs = TraceInputs(*build_inputs(specs, 1, torch.float32), 1)
        ours = round(trace(loaded.module, inputs).flops)
    except JoulecastError as error:
        why.append(f"here: {error}")
    if ours is not None and ours > MAX_FLOPS:
        return None
    real = None
    try:
        with offline_and_quiet():
            real = drawn.build(loaded)
            theirs = torchs_count(real, specs)
    except FOREIGN_ERRORS as error:
        why.append(f"its library: {told(error)}")
    built = None if real is None else sum(p.numel() for p in real.parameters())
    return Row(drawn.name, shown, (parameters, built), (ours, theirs), "; ".join(why))


def rows(seed: int, count: int, libraries: Sequence[str]) -> Iterator[Row]:
    """Of `count` models the shares of `libraries`, each in an order of its own."""
    allow_torchvision_without_its_extension()
    tests = "".join(path.read_text(encoding="utf-8") for path in Path("tests").rglob("*.py"))
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:
            with offline_and_quiet():
                found = _MODELS[library](Path(folder))
            names = sorted(name for name in found if f'"{name}"' not in tests and f":{name}" not in tests)
            random.Random(seed).shuffle(names)
            wanted = round(count * SHARES[library])
            for name in names:
                row = row_of(found[name]) if wanted else None
                if row is not None:
                    wanted -= not row.runs_nowhere
                    yield row


def main() -> None:
    """Print each row as it is counted, and how many are off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--libraries", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    print(f"{'':4}{'model':52}{'parameters':>12} {'library':8}{'FLOPs':>16} {'/ torch':8}input")
    found = []
    for row in rows(options.seed, options.count, options.libraries):
        found.append(row)
        print(row, flush=True)
    counted = [row for row in found if not row.runs_nowhere]
    print(f"{len(counted)} models, {sum(row.off for row in counted)} off; {len(found) - len(counted)} run nowhere")


if __name__ == "__main__":
    main()
