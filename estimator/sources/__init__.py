"""Model sources: every form in which a model is given, loaded as an architecture without weights.

`load` is the only way in. No code that travels in a model file is run without `trust`; code that the user names
himself (`file.py:Net`, `package.module:callable`) is run, because naming it asks for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from estimator.base import budget
from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.choosing import one_model_alone, split
from estimator.sources.loaded import LoadedModel, no_code_file

if TYPE_CHECKING:
    from estimator.sources.arguments import Given

__all__ = ["LoadedModel", "check", "load", "takes_arguments"]

MAX_MESSAGE = 600
"""Longest error message, in characters."""

_NAMED = re.compile(r"(timm|torchvision|transformers|diffusers|zoo):(\s*\S.*)|(mlp):([\d\[].*)", re.DOTALL)
_UNNAMED = re.compile(r"(timm|torchvision|transformers|diffusers|zoo|mlp):\s*")
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf|file)://")
_EXAMPLES = {
    "timm": "such as `timm:resnet50`",
    "torchvision": "such as `torchvision:resnet50`",
    "transformers": "a directory or a model type, such as `transformers:bert`",
    "diffusers": "the directory of the model",
    "zoo": "such as `zoo:vit-224`, of those that `estimate zoo` lists",
    "mlp": "INPUTxDEPTHxWIDTH, such as `mlp:100x30x300`",
}
_FACTORY = re.compile(r"(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.DOTALL)
_FORMS = (
    "give a model file (.pt, .pth, .pt2), a directory with the config.json of transformers or diffusers, "
    "`file.py:Net`, `package.module:callable`, `timm:NAME`, `torchvision:NAME`, `transformers:DIR_OR_TYPE`, "
    "`zoo:NAME` or `mlp:INPUTxDEPTHxWIDTH`"
)


def load(spec: str, *, trust: bool = False, given: Given | None = None) -> LoadedModel:
    """The model that `spec` names, on the meta device.

    `spec` is a file (`model.pt`, `.pth`, `.pt2`), a directory with a `config.json`, code of the user's own
    (`file.py:Net`, `package.module:callable`), a library's model (`timm:NAME`, `torchvision:NAME`,
    `transformers:DIR_OR_TYPE`), one of the zoo (`zoo:NAME`) or a network by its shape (`mlp:INPUTxDEPTHxWIDTH`).
    Where a pickle or code gives several models, `::` names one (`gan.pt::generator`, `list.pt::0`). `trust` allows the
    code inside TorchScript archives and Hugging Face directories to run; `given` are the arguments for code of the
    user's own. Raises `ModelFileError`, one sentence with the remedy, also where reading takes more than
    `estimator.base.budget` allows.
    """
    with _told_briefly(), budget.spending():
        loaded = _load(spec, trust=trust, given=given)
        budget.check("layers", sum(1 for _ in loaded.module.modules()))
        budget.check("parameters", sum(parameter.numel() for parameter in loaded.module.parameters()))
    return loaded


def takes_arguments(spec: str) -> bool:
    """Whether `spec` names code of the user's own, which arguments go with; `ModelFileError` where it is no name."""
    with _told_briefly():
        return _is_code(_without_part(spec)[0])


def check(spec: str) -> None:
    """Raises `ModelFileError` where `spec` names nothing, or a file that is none of PyTorch; imports no torch."""
    with _told_briefly():
        spec = _without_part(spec)[0]
        if _exists(spec):
            path = Path(spec)
            if not path.is_dir() and path.name != "config.json" and path.suffix != ".py":
                from estimator.sources.model_file import form_of

                form_of(path)
        elif _is_code(spec):
            where = spec.rpartition(":")[0]
            if where.endswith(".py") and not Path(where).is_file():
                raise no_code_file(where)
        elif not (named := _NAMED.fullmatch(spec)):
            raise _nothing_there(spec)
        elif named[1] == "zoo":
            from estimator.sources.zoo.table import find

            find(named[2])


@contextmanager
def _told_briefly() -> Iterator[None]:
    """Names of files, and what files say, are shown on one line and not at any length."""
    try:
        yield
    except ModelFileError as error:
        message = one_line(error, MAX_MESSAGE)
        if message == str(error):
            raise
        raise ModelFileError(message) from error


def _load(spec: str, *, trust: bool, given: Given | None) -> LoadedModel:
    spec, part = _without_part(spec)
    if _is_code(spec):
        from estimator.sources.arguments import NOTHING
        from estimator.sources.factory import load_factory

        return load_factory(spec, part, given or NOTHING)
    if given:
        raise ModelFileError(
            f"{one_line(spec, 100)} is no code that takes arguments: --arg and --checkpoint go with a class or a "
            "function, `file.py:Net`"
        )
    if _exists(spec):
        return _of_file(Path(spec), part, trust=trust)
    if named := _NAMED.fullmatch(spec):
        if part:
            raise one_model_alone(spec, part)
        return _load_named(named[1] or named[3], named[2] or named[4], trust=trust)
    raise _nothing_there(spec)


def _is_code(spec: str) -> bool:
    """Whether `spec` names code of the user's own, `file.py:Net` or `package.module:callable`."""
    return not _exists(spec) and not _NAMED.fullmatch(spec) and _FACTORY.fullmatch(spec) is not None


def _without_part(spec: str) -> tuple[str, str]:
    """`spec` and the part of it that is named after `::`, "" for none; a path that is there is taken as it is."""
    return (spec, "") if _exists(spec) else split(spec)


def _exists(spec: str) -> bool:
    if not spec.strip() or "\0" in spec:
        raise ModelFileError(f"no model is named: {_FORMS}")
    try:
        return Path(spec).exists()
    except OSError as error:
        raise ModelFileError(f"{one_line(spec, 80)} cannot be a path ({error.strerror or error}): {_FORMS}") from error


def _nothing_there(spec: str) -> ModelFileError:
    """The error for a `spec` that is no file and has none of the forms of a name."""
    if address := _ADDRESS.match(spec):
        return ModelFileError(
            f"{one_line(spec, 120)} is an address ({address[1]}), and nothing is downloaded: download the model and "
            "give its file or directory"
        )
    if unnamed := _UNNAMED.fullmatch(spec):
        return ModelFileError(f"{unnamed[1]}: names no model: write which one, {_EXAMPLES[unnamed[1]]}")
    from estimator.sources.suggestions import suggestion

    missing = f"there is no file or directory {one_line(spec, 120)}"
    return ModelFileError(f"{missing}: {suggestion(spec) or _FORMS}")


def _of_file(path: Path, part: str, *, trust: bool) -> LoadedModel:
    """The model of a file or directory, whose sizes are only believed as far as the limits for files allow."""
    if trust:
        return _load_path(path, part, trust=True)
    budget.read_from_file()
    return replace(_load_path(path, part, trust=False), of_file=True)


def _load_path(path: Path, part: str, *, trust: bool) -> LoadedModel:
    if path.is_dir() or path.name == "config.json":
        from estimator.sources.libraries.huggingface import load_directory

        if part:
            raise one_model_alone(str(path), part)
        return load_directory(path if path.is_dir() else path.parent, trust=trust)
    if path.suffix == ".py":
        from estimator.sources.factory import names_in_file

        names = names_in_file(path)
        hint = ", ".join(f"`{path}:{name}`" for name in names[:4]) or f"`{path}:Net`"
        raise ModelFileError(f"{path} is Python code: name the class or function in it that gives the model, {hint}")
    from estimator.sources.model_file import load_file

    return load_file(path, part, trust=trust)


def _load_named(library: str, name: str, *, trust: bool) -> LoadedModel:
    if library in ("transformers", "diffusers"):
        from estimator.sources.libraries import huggingface

        if library == "diffusers" or Path(name).is_dir():
            return _of_file(Path(name), "", trust=trust)
        return huggingface.load_model_type(name)
    if library == "mlp":
        from estimator.sources.mlp import load_mlp

        return load_mlp(f"mlp:{name}")
    if library == "zoo":
        from estimator.sources.zoo.built import load_zoo

        return load_zoo(name)
    from estimator.sources.libraries import zoo

    return zoo.load_timm(name) if library == "timm" else zoo.load_torchvision(name)
