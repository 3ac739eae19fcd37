"""What was probably meant by the name of a file that is not there. No library is imported: their sources are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path

_NAME = re.compile(r"(?P<model>[A-Za-z]\w*)(\.\w+)?")
"""A model's name, and after a dot which weights of it timm shall take."""


def suggestion(spec: str) -> str:
    """How the model of a library, or the file beside, that `spec` seems to mean would be typed; "" for none."""
    found = [*of_libraries(spec)] or [*_beside(Path(spec))]
    return f"did you mean {' or '.join(f'`{name}`' for name in found)}?" if found else ""


def of_libraries(name: str) -> Iterator[str]:
    """`timm:NAME` and its like, for the installed libraries that have a model `name`."""
    found = _NAME.fullmatch(name)
    if found is None or name.endswith((".pt", ".pth", ".pt2")):
        return
    plain = found["model"].lower()
    function = re.compile(rf"^def {plain}\(", re.MULTILINE)
    for library in ("timm", "torchvision"):
        sources = _models_of(library).glob("**/*.py")
        if any(function.search(path.read_text(encoding="utf-8", errors="replace")) for path in sources):
            yield f"{library}:{name.lower()}"
    if any(_models_of("transformers").glob(f"{plain}/configuration_*.py")):
        yield f"transformers:{plain}"


def _models_of(library: str) -> Path:
    """The folder of a library's models; one that does not exist where the library is not installed."""
    spec = util.find_spec(library)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places or ()), f"no-{library}"), "models")


def _beside(path: Path) -> Iterator[str]:
    """The file of the same folder whose name is most like that of `path`."""
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return
    yield from (str(path.parent / near) for near in difflib.get_close_matches(path.name, names, 1, 0.8))
