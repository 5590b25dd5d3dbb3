"""Untrusted text, of the network and of files, made safe to show in messages, logs and terminals."""

from __future__ import annotations

import unicodedata


def printable(text: str, limit: int | None = None) -> str:
    r"""Return text in one line, with invisible characters as escapes, such as ``\x1b``, ``\u202e`` or ``\n``.

    Control characters, directional marks, lone surrogates, line separators and unassigned characters become escapes;
    letters of all scripts and spaces stay. Text longer than ``limit`` characters is cut, with an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)
    return "".join(shown)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one: ``1 channel``, ``22 channels``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
