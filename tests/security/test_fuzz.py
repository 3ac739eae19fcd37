"""What `python -m tests.security.fuzz` counts as a fault."""

from __future__ import annotations

from tests.security import fuzz


def test_what_a_worker_does_is_seen(tmp_path, monkeypatch):
    def runs(path: str) -> None:
        (tmp_path / "canary").touch()
        raise KeyError(path)

    monkeypatch.setattr(fuzz, "estimate", runs)
    assert fuzz.attempt(tmp_path / "a.pt", tmp_path) == ["execution", "traceback"]
    assert "KeyError" in (tmp_path / "traceback").read_text()
