"""The rules of the house: who imports whom, what is caught, how long a file may be. Read from the source, and run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("estimator", "profilers", "calibration")
FORBIDDEN = {  # ex ante knows no meter, ex post knows no model; calibration alone knows both
    "estimator": {"profilers", "calibration"},
    "profilers": {"estimator", "calibration"},
    "calibration": set(),
}
SHELL = {"estimator/commands/passed_on.py"}  # the outer shell may import all three
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(tree: ast.AST) -> set[str]:
    """Top-level packages imported anywhere in a file, in functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                found.add(str(node.args[0].value).split(".")[0])
    return found


def test_there_is_something_to_check():
    assert len(FILES) > 30
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_one_way(path):
    if _name(path) not in SHELL:
        package = path.relative_to(ROOT).parts[0]
        assert not _imports(ast.parse(path.read_text(encoding="utf-8"))) & FORBIDDEN[package]


def _loaded_by(code: str) -> set[str]:
    report = "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def _import_all(package: str) -> str:
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in FILES if p.parts[len(ROOT.parts)] == package]
    return "\n".join(f"import {name.removesuffix('.__init__')}" for name in names if not name.endswith("__main__"))


@pytest.mark.parametrize(
    "module",
    [
        "estimator",
        "estimator.commands",
        "estimator.lifecycle.scenario",
        "estimator.hardware.catalogue",
        "estimator.lifecycle.carbon",
    ],
)
def test_light_modules_import_no_torch(module):
    loaded = _loaded_by(f"import {module}")
    assert "torch" not in loaded
    assert not loaded & {"sklearn", "codecarbon", "transformers", "timm", "diffusers", "fvcore", "optuna"}


def test_whole_estimator_knows_no_other_package():
    assert not _loaded_by(_import_all("estimator")) & {"profilers", "calibration"}


def test_whole_profilers_knows_no_other_package():
    loaded = _loaded_by(_import_all("profilers"))
    assert not loaded & {"estimator", "calibration"}
    assert "torch" not in loaded


def test_public_names_are_lazy():
    assert "torch" not in _loaded_by("import estimator\nestimator.Scenario(epochs=3)\nestimator.JoulecastError")
    assert "torch" in _loaded_by("import estimator\nestimator.estimate")


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_swallows_every_error(path):
    """A handler for everything is allowed only where it raises again: a user's own code may raise anything."""
    broad = {"Exception", "BaseException"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{_name(path)}:{node.lineno} catches everything"
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            assert not caught & broad or isinstance(node.body[-1], ast.Raise), f"{_name(path)}:{node.lineno}"
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "suppress":
            assert not {getattr(a, "id", "") for a in node.args} & broad, f"{_name(path)}:{node.lineno}"


@pytest.mark.parametrize("path", FILES + TESTS, ids=_name)
def test_files_are_short_and_named_for_what_they_hold(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert not set(re.split("[_.]", path.stem)) & {"utils", "util", "manager", "tracker", "helper", "helpers", "misc"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_take_few_arguments(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            assert len(arguments) < 12, f"{_name(path)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_estimator_reads_no_clock(path):
    if path.relative_to(ROOT).parts[0] == "estimator":
        assert not _imports(ast.parse(path.read_text(encoding="utf-8"))) & {"time", "timeit", "psutil"}


def test_nothing_names_a_place_on_somebodys_machine():
    places = re.compile(r"/work\b|/home/\w|/Users/\w|/opt/venv|C:\\\\")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".toml", ".csv", ".json", ".md", ".txt"}:
                found = places.search(path.read_text(encoding="utf-8"))
                assert found is None, f"{_name(path)}: {found.group()}"
