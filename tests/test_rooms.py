"""The rooms of docs/architecture.md: an import between rooms goes down only, no modules import each other in a circle,
and no folder is too full to be read at a glance. Read from the source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {  # from the ground up
    "estimator": (
        "base sources workload energy hardware lifecycle inputs footprint comparing search report commands".split()
    ),
    "calibration": "errors networks measuring learning published proof report session __main__".split(),
    "profilers": (
        "errors printing integral reading meter fingerprint load measurement sampling cpu modelled session gpu record "
        "replay discovery report command __main__"
    ).split(),
}
MOST_FILES = 18

Graph = Mapping[str, frozenset[str]]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(tree: ast.AST, known: frozenset[str]) -> Iterator[str]:
    """Modules among `known` that are imported anywhere in a file, in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (name for name in (full, node.module) if name in known)


def graph(package: str) -> Graph:
    """Each module of `package`, and the modules of it that it imports: those named, not the packages that hold them."""
    paths = {_module(path): path for path in (ROOT / package).rglob("*.py")}
    known = frozenset(paths)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    found = {}
    for name, tree in trees.items():
        targets = set(_imported(tree, known)) - {name}
        found[name] = frozenset(t for t in targets if not any(o.startswith(f"{t}.") for o in targets))
    return found


def upward(edges: Graph, rooms: list[str]) -> list[str]:
    """Imports that go up. Modules of no room (a package's `__init__`) may import anything, and nothing imports them."""

    def room(name: str) -> int | None:
        part = name.split(".")[1] if "." in name else ""
        return rooms.index(part) if part in rooms else None

    pairs = [(name, target) for name, targets in edges.items() for target in targets]
    known = [(a, b, room(a), room(b)) for a, b in pairs]
    return [f"{a} -> {b}" for a, b, here, there in known if here is not None and (there is None or there > here)]


def circles(edges: Graph) -> list[str]:
    """Modules that import themselves over others."""

    def reached(start: str) -> set[str]:
        seen, todo = set[str](), list(edges[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += edges.get(name, ())
        return seen

    return sorted(name for name in edges if name in reached(name))


@pytest.mark.parametrize("package", ROOMS)
def test_an_import_between_rooms_goes_down_only(package):
    assert upward(graph(package), ROOMS[package]) == []


@pytest.mark.parametrize("package", ROOMS)
def test_no_modules_import_each_other_in_a_circle(package):
    assert circles(graph(package)) == []


@pytest.mark.parametrize("package", ROOMS)
def test_every_module_is_in_a_room(package):
    names = {name.split(".")[1] for name in graph(package) if "." in name}
    assert names - set(ROOMS[package]) <= {"data"}


def test_the_graph_is_read_and_a_wrong_arrow_is_found():
    found = graph("estimator")
    assert "estimator.energy.demand" in found["estimator.energy.pricing"]
    assert "estimator.hardware.selection" in found["estimator.footprint"]  # from estimator.hardware import selection
    assert "estimator.footprint" in found["estimator.commands.model"]  # inside of a function
    rooms = ["ground", "roof"]
    edges = {"p.ground.a": frozenset({"p.roof.b"}), "p.roof.b": frozenset({"p.ground.c"}), "p.ground.c": frozenset()}
    assert upward(edges, rooms) == ["p.ground.a -> p.roof.b"]
    assert upward({"p.roof.b": frozenset({"p"})}, rooms) == ["p.roof.b -> p"]  # the package itself stands above all
    assert circles(edges) == []
    assert circles({**edges, "p.ground.c": frozenset({"p.ground.a"})}) == ["p.ground.a", "p.ground.c", "p.roof.b"]


def test_no_folder_holds_more_files_than_can_be_read_at_a_glance():
    for package in (*ROOMS, "tests"):
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            files = list(folder.glob("*.py"))
            assert len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)} has {len(files)} files"
