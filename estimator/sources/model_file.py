"""One model file: told by its first bytes and its members what it is, and read in the way that is safe for it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from estimator.base.errors import ModelFileError
from estimator.base.reading import check_ordinary
from estimator.base.words import one_line
from estimator.sources.choosing import averaged, one_model_alone
from estimator.sources.loaded import EXPORT_LINE, LoadedModel
from estimator.sources.pickles.allowed import check_names
from estimator.sources.pickles.archive import Archive
from estimator.sources.pickles.pickle_data import PickleError, PickleProgram, read_pickle
from estimator.sources.weight_files import described_beside, is_safetensors, weights_alone

MAX_PICKLE_BYTES = 64 * 2**20
"""Limit of the pickle program in a file. The weights lie outside of it; a model of 80 layers takes 0.2 MB."""

_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_CODE = "name the code that builds the model, `estimate file.py:Net`"
_EXPORT = f"export the PyTorch model itself with `{EXPORT_LINE}`"
_FOREIGN = (
    (
        b"\x89HDF",
        "an HDF5 file (Keras or TensorFlow)",
        "only PyTorch models are read; build the model in PyTorch and " + _CODE,
    ),
    (
        b"GGUF",
        "a GGUF file (llama.cpp), weights without a PyTorch architecture",
        "give the Hugging Face directory it was made from",
    ),
    (b"\x93NUMPY", "a NumPy array", _CODE),
    (b"\x1f\x8b", "a gzip file", "unpack it and give the model file inside"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give the model file inside"),
    (b"BZh", "a bzip2 file", "unpack it and give the model file inside"),
    (b"\xfd7zXZ", "an xz file", "unpack it and give the model file inside"),
)


def load_file(path: Path, part: str = "", *, trust: bool) -> LoadedModel:
    """The model in the file `path`, of several the one that stands at `part`.

    Raises `ModelFileError` with the remedy where it holds none, or several and `part` is "".
    """
    form = form_of(path)
    beside = described_beside(path) if form == "safetensors" or path.suffix == ".bin" else None
    if beside is not None:
        from estimator.sources.libraries.huggingface import load_directory

        if part:
            raise one_model_alone(str(path), part)
        return load_directory(beside, trust=trust)
    if form == "safetensors":
        raise weights_alone(path)
    try:
        if form == "legacy":
            return _module(path, part, _legacy_program(path))
        return _load_archive(path, part, trust=trust)
    except OSError as error:
        raise _unreadable(path, error) from error


def form_of(path: Path) -> Literal["archive", "legacy", "safetensors"]:
    """What the first bytes of a file tell: a zip archive, as torch writes today, its format before 1.6, or weights.

    Raises `ModelFileError` with the remedy where it is none of these.
    """
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            head = file.read(512)
        if not head:
            raise ModelFileError(f"the file {path.name} is empty: copy or save the model again")
        if head.startswith(b"PK"):
            return "archive"
        if head.startswith(_LEGACY_MAGIC):
            return "legacy"
        if is_safetensors(head):
            return "safetensors"
    except OSError as error:
        raise _unreadable(path, error) from error
    raise ModelFileError(_foreign_message(path, head))


def _unreadable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions")


def _load_archive(path: Path, part: str, *, trust: bool) -> LoadedModel:
    archive = Archive(path)
    names = archive.names
    scripted = any(name.rpartition("/")[2] in ("constants.pkl", "bytecode.pkl") for name in names)
    exported = archive.has("archive_format") or archive.has("serialized_exported_program.json")
    if part and (scripted or exported):
        raise one_model_alone(str(path), part)
    if scripted:
        from estimator.sources.torchscript import load_torchscript

        return load_torchscript(path, trust=trust)
    if exported:
        return _load_export(path, archive)
    if archive.has("data.pkl"):
        return _module(path, part, _program_in(archive, path))
    if any(name.endswith((".npy", "model.weights.h5", "keras_metadata.pb")) for name in names):
        raise ModelFileError(f"{path.name} is an archive of NumPy or Keras and no PyTorch model: {_CODE}")
    raise ModelFileError(
        f"{path.name} is a zip archive that torch did not write: give the .pt or .pt2 file itself, or {_CODE}"
    )


def _load_export(path: Path, archive: Archive) -> LoadedModel:
    from estimator.sources.examples import one_sample, shown_shapes
    from estimator.sources.exports import pt2_archive
    from estimator.sources.exports.pt2 import Pt2Module

    program = pt2_archive.read_program(archive)
    module = Pt2Module(program)
    try:
        inputs = pt2_archive.user_inputs(program)
        batch = pt2_archive.batch_of(inputs)
        specs = pt2_archive.input_specs(inputs)
        source = pt2_archive.inputs_source(inputs)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(pt2_archive.DAMAGED) from error
    fixed, why = batch if isinstance(batch, int) else None, ""
    if fixed and one_sample(shapes := [item.hints for item in inputs]):
        why = f"the export's inputs ({shown_shapes(shapes)}) share no batch dimension, and are taken as one sample"
        fixed, specs = 1, tuple(spec.without_batch() for spec in specs)
    return LoadedModel(module, path.stem, "torch.export program", specs or None, source, fixed, no_batch=why)


def program_of(path: Path) -> PickleProgram:
    """What `torch.save` wrote into the file `path`, as records; `ModelFileError` for a file of another form."""
    form = form_of(path)
    try:
        if form == "legacy":
            return _legacy_program(path)
        archive = Archive(path) if form == "archive" else None
        if archive is not None and archive.has("data.pkl"):
            return _program_in(archive, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    raise ModelFileError(f"{path.name} is no checkpoint that torch.save wrote: give one, `--checkpoint last.ckpt`")


def _program_in(archive: Archive, path: Path) -> PickleProgram:
    return _program(io.BytesIO(archive.read("data.pkl", MAX_PICKLE_BYTES)), path)


def _legacy_program(path: Path) -> PickleProgram:
    """torch's format before 1.6: a few pickles one after the other; the fourth is the object."""
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    for _ in range(3):
        _program(stream, path)
    return _program(stream, path)


def _program(stream: io.BytesIO, path: Path) -> PickleProgram:
    try:
        return read_pickle(stream)
    except PickleError as error:
        check_names(error.names)
        raise ModelFileError(f"{path.name} cannot be read, {error}: copy or save it again, or {_CODE}") from error


def _module(path: Path, part: str, program: PickleProgram) -> LoadedModel:
    from estimator.sources.building import offline_and_quiet
    from estimator.sources.pickles.pickled_module import module_of

    with offline_and_quiet():
        module, place, notes = module_of(program, str(path), part)
    name = f"{path.stem}::{part}" if part else path.stem
    if averaged(place) and not any(parameter.requires_grad for parameter in module.parameters()):
        module.requires_grad_()
        notes += (f"{one_line(place, 40)} is an averaged copy whose parameters are frozen: they are taken as trained",)
    return LoadedModel(module, name, "pickled module", notes=notes)


def _foreign_message(path: Path, head: bytes) -> str:
    """What a file is that is no PyTorch file, and the remedy."""
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            return f"{path.name} is {what}: {remedy}"
    if head[4:8] == b"TFL3":
        return f"{path.name} is a TensorFlow Lite model: only PyTorch models are read; {_CODE}"
    if head[257:262] == b"ustar":
        return f"{path.name} is a tar archive: unpack it and give the model file inside"
    if path.suffix.lower() == ".onnx" or (b"pytorch" in head[:64] and head[:1] == b"\x08"):
        return f"{path.name} is an ONNX model: {_EXPORT}"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return (
            f"{path.name} is a plain pickle (joblib, scikit-learn or pickle.dump), which only running would read: save "
            "the model with torch.save(model, 'model.pt')"
        )
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return f"{path.name} is a text file: give a model file, a Hugging Face directory, or {_CODE}"
    return f"{path.name} is no model file that is known here (.pt, .pth, .pt2): copy or save it again, or {_CODE}"
