"""The README and the pages that show outputs are true: console blocks print what they show, Python blocks run.

`python -m tests.test_readme` runs the console blocks and writes their outputs into the pages.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from estimator.commands import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "comparing.md", ROOT / "examples" / "wide_against_deep.md")
_CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
_PYTHON = re.compile(r"```python\n(?P<code>.*?)```", re.DOTALL)


def _blocks(page: Path) -> list[tuple[str, str]]:
    return [(m["command"], m["output"]) for m in _CONSOLE.finditer(page.read_text(encoding="utf-8"))]


SHOWN = [block for page in PAGES for block in _blocks(page)]


def _model_file(directory: Path) -> None:
    target = directory / "build" / "model.pt"
    target.parent.mkdir(exist_ok=True)
    script = str(ROOT / "examples" / "write_model.py")
    with patch.object(sys, "argv", [script, str(target)]):
        runpy.run_path(script, run_name="__main__")


def _run(command: str) -> str:
    """What the command prints in the present directory, on a terminal of 80 columns without colours."""
    program, *arguments = shlex.split(command)
    assert program == "estimate"
    done = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "FORCE_COLOR": None}).invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    _model_file(made)
    (made / "examples").symlink_to(ROOT / "examples")
    return made


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_console_blocks_print_what_they_show(
    command: str, output: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    assert _run(command) == output


def test_python_blocks_run() -> None:
    blocks = [m["code"] for page in PAGES for m in _PYTHON.finditer(page.read_text(encoding="utf-8"))]
    assert len(blocks) >= 2
    for code in blocks:
        exec(compile(code, "a block of the README", "exec"), {"__name__": "__main__"})


def test_the_two_commands_are_named_and_exist() -> None:
    text, makefile = README.read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"    make {target} " in text
        assert f"\n{target}:" in makefile


if __name__ == "__main__":
    os.chdir(ROOT)
    _model_file(ROOT)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command, output in _blocks(page):
            text = text.replace(f"$ {command}\n{output}```", f"$ {command}\n{_run(command)}```")
        page.write_text(text, encoding="utf-8")
