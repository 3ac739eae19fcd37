"""Files made to do harm: each is refused in one sentence, nothing in it runs, and nothing it claims is allocated."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from estimator.base.errors import ModelFileError
from estimator.sources import load, model_file
from tests.security import files
from tests.security.conftest import MEMORY_LIMIT_KIB, attacks
from tests.security.files import layer, name, new, program, text


@pytest.mark.parametrize("attack", ["os.system", "exec", "eval", "open", "popen", "touch"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_calls(tmp_path, canary, refused, attack, protocol):
    pickled = pickle.dumps(attacks(canary)[attack], protocol)
    words = ["cannot be read"] if attack == "touch" else ["nothing of it was run"]
    refused(files.torch_zip(tmp_path / "a.pt", pickled), *words)
    refused(files.legacy(tmp_path / "b.pt", pickled), *words)
    (tmp_path / "c.pt").write_bytes(pickled)
    refused(str(tmp_path / "c.pt"), "plain pickle")
    hidden = pickle.dumps({"state_dict": {"weight": [attacks(canary)[attack]]}}, protocol)
    refused(files.torch_zip(tmp_path / "d.pt", hidden), *words)


def test_the_attacks_would_work(tmp_path, canary):
    pickle.loads(pickle.dumps(attacks(canary)["exec"]))
    assert canary.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"(S'touch {canary}'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch {canary}'\no.",
        b"\x80\x02\x82\x01.",
        b"Pid\n.",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        program(b"K\x01K\x02R"),
        program(b"]K\x01s"),
        program(b"}K\x01a"),
        program(name("collections", "OrderedDict"), b")R", b"K\x01", b"b"[:0], b"Q"),
    ],
    ids=["INST", "OBJ", "EXT", "PERSID", "BINBYTES8", "call of a number", "items", "append", "BINPERSID"],
)
def test_instructions_that_no_model_needs(tmp_path, canary, refused, pickled):
    refused(files.torch_zip(tmp_path / "a.pt", pickled.replace(b"{canary}", str(canary).encode())))


ALLOCATIONS = {
    "bytearray": name("builtins", "bytearray") + b"\x8a\x06\x00\x00\x00\x00\x00\x10" + b"\x85R",
    "FloatTensor": name("torch", "FloatTensor") + b"\x8a\x06\x00\x00\x00\x00\x00\x10" + b"\x85R",
    "UntypedStorage": name("torch.storage", "UntypedStorage") + b"\x8a\x06\x00\x00\x00\x00\x00\x10" + b"\x85R",
    "Linear": name("torch.nn.modules.linear", "Linear") + b"J\x00\x00\x00\x7fJ\x00\x00\x00\x7f\x86R",
    "range": name("builtins", "range") + b"\x8a\x06\x00\x00\x00\x00\x00\x10" + b"\x85R",
}


@pytest.mark.parametrize("kind", ALLOCATIONS)
def test_calls_that_would_allocate(tmp_path, refused, kind):
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(a=ALLOCATIONS[kind]))))


LIBRARY_CALLS = [
    ("timm.models.vision_transformer", "VisionTransformer", b")"),
    ("timm.models._hub", "load_model_config_from_hf", text("evil/model") + b"\x85"),
    ("timm.models.resnet", "load_pretrained", b")"),
    ("torchvision.models._api", "get_model", text("resnet50") + b"\x85"),
    ("torchvision.models.resnet", "ResNet", b")"),
    ("transformers.models.bert.modeling_bert", "BertModel", b")"),
    ("transformers.models.bert.configuration_bert", "BertConfig", b")"),
    ("transformers.pipelines", "pipeline", text("text-generation") + b"\x85"),
    ("transformers.modeling_utils", "load_state_dict", text("evil.bin") + b"\x85"),
    ("torch.hub", "load", text("evil/model") + b"\x85"),
    ("torch", "load", text("evil.pt") + b"\x85"),
    ("torch.serialization", "load", text("evil.pt") + b"\x85"),
    ("torch.nn.modules.linear", "math", b")"),
    ("torch.nn.modules.module", "torch.load", text("evil.pt") + b"\x85"),
    ("torch.fx.graph_module", "reduce_graph_module", b"}" + text("import os") + b"\x86"),
    ("torch.jit._script", "ScriptModule", b")"),
    ("copyreg", "_reconstructor", b")"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", b")"),
    ("functools", "reduce", b")"),
    ("builtins", "getattr", name("torch", "Tensor") + text("__class__") + b"\x86"),
    ("builtins", "getattr", name("torch._C", "_VariableFunctionsClass") + text("from_file") + b"\x86"),
]


@pytest.mark.parametrize(("module", "attribute", "args"), LIBRARY_CALLS)
def test_calls_into_libraries(tmp_path, refused, module, attribute, args):
    call = name(module, attribute) + args + b"R"
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(a=call))))


def test_hooks_and_methods_in_a_layer(tmp_path, refused):
    relu = name("torch.nn.functional", "relu")
    hooks = name("collections", "OrderedDict") + b")R" + b"K\x01" + relu + b"s"
    for attribute in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
        refused(files.torch_zip(tmp_path / "a.pt", program(layer(**{attribute: hooks}))), "hooks")
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(forward=relu))), "forward")
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(__call__=relu))), "__call__")


def test_layers_of_the_wrong_kind(tmp_path, refused):
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(_modules=files.mapping(a=b"K\x01")))), "no layer")
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(_parameters=files.mapping(a=b"K\x01")))), "no tensor")
    refused(files.torch_zip(tmp_path / "a.pt", program(new(name("torch.nn.modules.module", "Module"), b"K\x01"))))
    rnn = name("torch.nn.modules.rnn", "LSTM")
    endless = layer(
        rnn, num_layers=b"\x8a\x06\x00\x00\x00\x00\x00\x10", _all_weights=b"]]K\x01aa", bidirectional=b"\x89"
    )
    refused(files.torch_zip(tmp_path / "a.pt", program(endless)), "layers")


def test_nesting(tmp_path, refused):
    deep = b"K\x01" + b"\x85" * 500_000
    refused(files.torch_zip(tmp_path / "a.pt", program(deep)))
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(a=deep))), "nests")
    refused(files.torch_zip(tmp_path / "a.pt", program(b"}" + deep + b"K\x01s")))
    doubling = b"]q\x00" + b"".join(
        b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
    )
    assert load(files.torch_zip(tmp_path / "a.pt", program(layer(a=doubling)))).form == "pickled module"
    module = layer() + b"q\x00"
    for i in range(60):
        module += layer(_modules=files.mapping(a=b"h" + bytes([i]), b=b"h" + bytes([i]))) + b"q" + bytes([i + 1])
    refused(files.torch_zip(tmp_path / "a.pt", program(module)), "more than 100k layers")


def test_a_memo_and_a_program_of_any_size(tmp_path, refused):
    assert load(files.torch_zip(tmp_path / "a.pt", program(layer() + b"r\xff\xff\xff\xff"))).name == "a"
    refused(files.torch_zip(tmp_path / "a.pt", program(b"K\x01" * 4_000_000)), "instructions")


def test_sixteen_terabytes_take_no_memory(tmp_path):
    with torch.device("meta"):
        huge = torch.nn.Linear(2**21, 2**21)
    torch.save(huge, tmp_path / "huge.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    weight = load(str(tmp_path / "huge.pt")).module.weight
    assert weight.is_meta and weight.nbytes == 2**44
    storage = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"J\x00\x00\x00\x7ftQ"
    size = b"J\x00\x00\x00\x7fJ\x00\x00\x00\x7f\x86"
    raw = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K\x00" + size + b"K\x00K\x01\x86\x89}tR"
    parameter = name("torch._utils", "_rebuild_parameter") + raw + b"\x88}\x87R"
    linear = layer(name("torch.nn.modules.linear", "Linear"), _parameters=files.mapping(weight=parameter))
    with pytest.raises(ModelFileError, match="more than 100T parameters"):  # it claims 4.5e18
        load(files.torch_zip(tmp_path / "b.pt", program(linear)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_LIMIT_KIB


def test_impossible_tensors(tmp_path, refused):
    for size in (
        b"J\xff\xff\xff\xff\x85",
        text("a") + b"\x85",
        b"\x8a\x0a" + b"\x01" * 10 + b"\x85",
        b"K\x01K\x02\x86",
    ):
        raw = (
            name("torch._utils", "_rebuild_meta_tensor_no_storage")
            + b"("
            + name("torch", "float32")
            + size
            + b"K\x01\x85\x89tR"
        )
        refused(files.torch_zip(tmp_path / "a.pt", program(layer(a=raw))))


def test_torchscript_does_not_run(tmp_path, refused):
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 4)), str(tmp_path / "a.pt"))
    refused(str(tmp_path / "a.pt"), "TorchScript", "--trust")
    members = {"x/data.pkl": program(b"N"), "y/constants.pkl": b""}
    (tmp_path / "b.pt").write_bytes(files.zip_bytes(members))
    refused(str(tmp_path / "b.pt"), "TorchScript", "--trust")


def test_zip_bombs(tmp_path, refused, monkeypatch):
    bomb = files.torch_zip(tmp_path / "a.pt", b"\0" * 2**28, zipfile.ZIP_DEFLATED)
    assert Path(bomb).stat().st_size < 2**20
    refused(bomb, "compressed")
    monkeypatch.setattr(model_file, "MAX_PICKLE_BYTES", 1000)
    refused(files.torch_zip(tmp_path / "b.pt", program(layer(a=text("x" * 2000)))), "more than the limit")


def test_a_table_of_contents_that_lies(tmp_path, refused):
    path = Path(files.torch_zip(tmp_path / "a.pt", program(layer())))
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 2**31)
    path.write_bytes(content)
    refused(str(path), "more members")
    content[end + 12 : end + 16] = struct.pack("<L", 0xFFFFFFFF)
    path.write_bytes(content)
    refused(str(path))


@pytest.mark.parametrize("member", ["../../data.pkl", "/etc/data.pkl", "..\\data.pkl", "archive/../../data.pkl"])
def test_names_that_leave_the_archive(tmp_path, refused, member):
    (tmp_path / "a.pt").write_bytes(files.zip_bytes({member: program(layer()), "archive/version": b"3"}))
    refused(str(tmp_path / "a.pt"))


@pytest.mark.parametrize("content", [b"", b"\x00", b"PK", b"PK\x03\x04", os.urandom(4096), files.MAGIC, b"\x80\x02"])
def test_broken_files(tmp_path, refused, content):
    (tmp_path / "a.pt").write_bytes(content)
    refused(str(tmp_path / "a.pt"))


def test_truncated_files(tmp_path, refused):
    torch.save(torch.nn.Linear(30, 40), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for length in range(1, len(whole) - 1, 97):
        (tmp_path / "a.pt").write_bytes(whole[:length])
        refused(str(tmp_path / "a.pt"))


def test_a_directory_with_its_own_code(tmp_path, canary, refused):
    (tmp_path / "model").mkdir()
    config = '{"model_type": "evil", "auto_map": {"AutoConfig": "net.Config", "AutoModel": "net.Net"}}'
    (tmp_path / "model" / "config.json").write_text(config)
    (tmp_path / "model" / "net.py").write_text(f"open({str(canary)!r}, 'w').close()")
    refused(str(tmp_path / "model"), "auto_map", "--trust")


def test_python_beside_a_file_is_not_imported(tmp_path, canary, refused, monkeypatch):
    for library in ("timm", "own_nets"):
        (tmp_path / f"{library}.py").write_text(f"open({str(canary)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    refused(files.torch_zip(tmp_path / "a.pt", program(layer(name("own_nets", "Net")))), "`estimate own_nets.py:Net`")
    assert sys.path == before and "own_nets" not in sys.modules


def test_a_message_is_one_line_whatever_the_file_says(tmp_path, refused):
    evil = "Net\\u001b[31m" + "x" * 10_000
    refused(
        files.torch_zip(tmp_path / "a.pt", b"\x80\x04" + layer(text("a b") + text(evil + "\n\r\x1b") + b"\x93") + b".")
    )
