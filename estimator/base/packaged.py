"""The package's own tables, `estimator/data/*.toml`."""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def own_text(file: str) -> str:
    """The text of `estimator/data/<file>`."""
    return (files("estimator") / "data" / file).read_text(encoding="utf-8")


@cache
def own_table(file: str) -> dict[str, Any]:
    """The table `estimator/data/<file>`, read once."""
    return tomllib.loads(own_text(file))
