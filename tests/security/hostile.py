"""Fresh hostile model files of ten kinds, each from a seeded generator of random numbers; `KINDS` names them."""

from __future__ import annotations

import inspect
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.security import files
from tests.security.conftest import attacks
from tests.security.damage import EXPORT_VALUES, VALUES, damage_json, damaged
from tests.security.files import layer, name, program, text

SIZES = [-1, 0, 1, 3, 10**4, 10**6, 10**9, 2**31, 2**62, 10**30]
CONFIG_VALUES = [*VALUES, *SIZES, float("inf"), [10**4] * 10**4, [[2, 3]] * 500, "evil/model", {"a": {"b": 10**9}}]
TYPES = [
    *("albert", "bart", "bert", "bloom", "clip", "convnext", "deberta-v2", "detr", "dinov2", "gpt2", "levit", "llama"),
    *("longformer", "mamba", "mixtral", "mobilevit", "perceiver", "qwen2", "resnet", "segformer", "swin", "t5", "vit"),
    *("wav2vec2", "whisper", "xlnet", "yolos"),
]
ARCHITECTURES = ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224", "mixer_s32_224"]
DIFFUSERS = ["UNet2DModel", "UNet2DConditionModel", "AutoencoderKL", "DiTTransformer2DModel", "VQModel"]
PATHS = ["checkpoint_path", "pretrained_cfg", "_name_or_path", "tokenizer_file", "auto_map", "backbone", "weights"]


@cache
def _saved(how: str) -> bytes:
    """A small network as torch writes it: `zip`, `legacy`, `script` or `export`."""
    stream = io.BytesIO()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)).eval()
    if how == "script":
        torch.jit.save(torch.jit.script(model), stream)
    elif how == "export":
        torch.export.save(torch.export.export(model, (torch.zeros(2, 3, 8, 8),)), stream)
    else:
        torch.save(model, stream, _use_new_zipfile_serialization=how == "zip")
    return stream.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def _rezipped(how: str, suffix: str, change: Callable[[bytes], bytes]) -> bytes:
    members = _members(_saved(how))
    member = next(each for each in members if each.endswith(suffix))
    return files.zip_bytes({**members, member: change(members[member])})


def mutated_pickle(rng: random.Random, folder: Path) -> Path:
    """Bytes changed within the pickle of an archive, or anywhere in a legacy file."""
    content = _rezipped("zip", "data.pkl", lambda pickled: damaged(pickled, rng))
    (folder / "a.pt").write_bytes(rng.choice([content, damaged(_saved("legacy"), rng)]))
    return folder / "a.pt"


def forbidden_global(rng: random.Random, folder: Path) -> Path:
    """A call that would write `folder / "canary"`, in one of several places."""
    attack = rng.choice(list(attacks(folder / "canary").values()))
    call = pickle.dumps(attack, 2)[2:-1]
    shell = text(f"touch {folder / 'canary'}") + b"\x85R"
    module, function = rng.choice([("os", "system"), ("posix", "system"), ("subprocess", "getoutput")])
    call = rng.choice([call, name(module, function) + shell])
    key = rng.choice(["a", "__class__", "forward", "_modules", "_parameters", "_forward_hooks", "__dict__"])
    places = [call, layer(**{key: call}), layer(_modules=files.mapping(**{key: call})), b"]" + call + b"a"]
    pickled = program(rng.choice(places))
    if rng.random() < 0.3:
        files.legacy(folder / "a.pt", pickled)
    else:
        files.torch_zip(folder / "a.pt", pickled)
    return folder / "a.pt"


def reduce_bomb(rng: random.Random, folder: Path) -> Path:
    """Few instructions that stand for many objects, deep nests, or long programs."""
    times, ordered = rng.randint(2, 120), name("collections", "OrderedDict")
    twice = b"".join(b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(times))
    many = 10 ** rng.randint(3, 5)
    bombs = [
        layer(a=b"]q\x00" + twice),
        layer(a=b"]q\x00" + twice + b"\x85R"),
        layer(a=ordered + b"]q\x00" + twice + b"\x85R"),
        layer(a=b"](" + (ordered + b")R") * many + b"e"),
        layer(a=(ordered + b"(") * many + b"tR" * many),
        layer(a=b"K\x01" + rng.choice([b"\x85", b"\x86\x85"]) * many),
        layer(a=name("torch", "Size") + b"J\xff\xff\xff\x7f" * 60 + b"\x85R"),
        layer(_modules=files.mapping(a=b"(" + layer() * (many // 50) + b"t")),
    ]
    files.torch_zip(folder / "a.pt", program(rng.choice(bombs)))
    return folder / "a.pt"


def colliding_keys(rng: random.Random, folder: Path) -> Path:
    """Keys of equal hash (multiples of 2**61 - 1) in a dict, a set or an OrderedDict."""
    count, prime = rng.choice([1000, 20_000, 150_000]), 2**61 - 1
    start, kind = rng.randrange(prime), rng.randrange(3)
    if kind == 0:
        keys: list[Any] = [start + i * prime for i in range(1, count)]
    elif kind == 1:
        keys = [(start + i * prime, 1) for i in range(1, count)]
    else:
        keys = [-start - i * prime for i in range(1, count)]
    pushed = [pickle.dumps(key, 2)[2:-1] for key in keys]
    table = rng.choice([b"}(", name("collections", "OrderedDict") + b")R("])
    mapped = table + b"".join(key + b"K\x01" for key in pushed) + b"u"
    as_set = name("builtins", "set") + b"](" + b"".join(pushed) + b"e\x85R"
    files.torch_zip(folder / "a.pt", program(layer(a=rng.choice([mapped, as_set]))))
    return folder / "a.pt"


def mutated_export(rng: random.Random, folder: Path) -> Path:
    """An export with values of its JSON exchanged, or with bytes changed."""

    def change(content: bytes) -> bytes:
        parsed = json.loads(content)
        damage_json(parsed, rng, EXPORT_VALUES)
        return json.dumps(parsed).encode()

    content = damaged(_saved("export"), rng) if rng.random() < 0.2 else _rezipped("export", "models/model.json", change)
    (folder / "a.pt2").write_bytes(content)
    return folder / "a.pt2"


@cache
def _schemas() -> list[Any]:
    found = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
    return sorted(found, key=str)


def _argument(kind: str, rng: random.Random) -> dict[str, Any]:
    size = rng.choice([2, 8, *SIZES])
    if "Tensor" in kind:
        return {"as_tensors": [{"name": "x"}] * rng.randint(1, 3)} if "List" in kind else files.tensor("x")
    if "List" in kind:
        return {"as_ints": [rng.choice([1, *SIZES]) for _ in range(rng.randint(1, 4))]}
    simple = {"bool": {"as_bool": True}, "str": {"as_string": "x" * 10**4}, "float": {"as_float": 1e308}}
    return next((value for word, value in simple.items() if word in kind), {"as_int": size})


def huge_arguments(rng: random.Random, folder: Path) -> Path:
    """Any op of torch, with huge numbers for its arguments and a huge number of results."""
    schema = rng.choice(_schemas())
    target = f"torch.ops.aten.{schema.name[6:]}.{schema.overload_name or 'default'}"
    arguments = [
        {"name": each.name, "arg": _argument(str(each.type), rng), "kind": 1}
        for each in schema.arguments
        if not each.has_default_value() or rng.random() < 0.3
    ]
    node = {**files.node(target), "inputs": arguments}
    size = {"as_int": rng.choice([2, 10**6, 10**9])}
    files.pt2(folder / "a.pt2", files.export_json(node, size=size))
    return folder / "a.pt2"


def malformed_zip(rng: random.Random, folder: Path) -> Path:
    """Archives that inflate, that lie about their members, or that have many of them."""
    content, how = bytearray(_saved(rng.choice(["zip", "export"]))), rng.randrange(5)
    end = content.rfind(b"PK\x05\x06")
    path = folder / rng.choice(["a.pt", "a.pt2"])
    if how == 0:
        struct.pack_into("<L", content, end + rng.choice([8, 12, 16]), rng.choice([0, 1, 2**31, 2**32 - 1]))
    elif how == 1:
        struct.pack_into("<L", content, content.find(b"PK\x01\x02") + rng.choice([16, 20, 24, 42]), rng.getrandbits(32))
    elif how == 2:
        return Path(files.torch_zip(path, b"\0" * rng.choice([2**24, 2**28]), zipfile.ZIP_DEFLATED))
    elif how == 3:
        content = bytearray(
            files.zip_bytes({f"a/{i}" * rng.randint(1, 9): b"" for i in range(rng.choice([9, 30_000]))})
        )
    else:
        content = bytearray(damaged(bytes(content), rng))
    path.write_bytes(content)
    return path


def _directory(folder: Path, config: dict[str, Any], rng: random.Random, values: list[Any]) -> Path:
    """A directory with `config` damaged, and with keys that name a pickle that would write the canary."""
    (folder / "weights.pth").write_bytes(pickle.dumps(attacks(folder / "canary")["exec"]))
    damage_json(config, rng, values, removed=0.1)
    if rng.random() < 0.5:
        inside = rng.choice([config, config.get("model_args")])
        (inside if isinstance(inside, dict) else config)[rng.choice(PATHS)] = str(folder / "weights.pth")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def huggingface_config(rng: random.Random, folder: Path) -> Path:
    """The default config of a type of transformers, damaged."""
    from transformers import CONFIG_MAPPING

    kind = rng.choice(TYPES)
    return _directory(folder, {**CONFIG_MAPPING[kind]().to_dict(), "model_type": kind}, rng, CONFIG_VALUES)


def library_config(rng: random.Random, folder: Path) -> Path:
    """The config of a model of timm or diffusers, damaged."""
    if rng.random() < 0.5:
        args = {rng.choice(["depths", "embed_dim", "img_size", "num_heads", "depth"]): rng.choice(CONFIG_VALUES)}
        config = {"model_type": "timm_wrapper", "architecture": rng.choice(ARCHITECTURES), "model_args": args}
        return _directory(folder, {**config, "num_classes": 10}, rng, CONFIG_VALUES)
    import diffusers

    kind = rng.choice(DIFFUSERS)
    defaults = {key: value.default for key, value in inspect.signature(getattr(diffusers, kind)).parameters.items()}
    plain = {key: value for key, value in defaults.items() if isinstance(value, (int, float, str, tuple, list))}
    return _directory(folder, {"_class_name": kind, **json.loads(json.dumps(plain))}, rng, CONFIG_VALUES)


def torchscript(rng: random.Random, folder: Path) -> Path:
    """A TorchScript archive, cut or with bytes changed."""
    whole = _saved("script")
    (folder / "a.pt").write_bytes(rng.choice([whole[: rng.randrange(len(whole))], damaged(whole, rng)]))
    return folder / "a.pt"


KINDS = (
    *(mutated_pickle, forbidden_global, reduce_bomb, colliding_keys, mutated_export, huge_arguments, malformed_zip),
    *(huggingface_config, library_config, torchscript),
)
