"""What others wrote, shown safely: names from model files, messages of libraries."""

from __future__ import annotations


def printable(text: object) -> str:
    """`text` on one line without control characters (escape sequences, line breaks, bidirectional marks)."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def one_line(text: object, limit: int = 160) -> str:
    """`text`, printable and cut after `limit` characters."""
    words = printable(str(text)[: 4 * limit])
    return words if len(words) <= limit else words[: limit - 3] + "..."


def told(error: BaseException) -> str:
    """An exception as "ValueError: message" on one line."""
    message = one_line(error)
    name = printable(type(error).__name__)
    return f"{name}: {message}" if message else name
