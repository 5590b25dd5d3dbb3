"""Reading of untrusted files in bounded time and memory: regular files only, and at most a limit."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mindwire_models.errors import MindwireError
from mindwire_models.text import printable

MIB = 1 << 20


def read_regular(path: Path, limit: int, refuse: Callable[[str], MindwireError]) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes; ``refuse`` makes the error to raise from a sentence."""
    try:
        # Opening a pipe without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                msg = f"{path}: expected a regular file, found a folder, device or pipe; check the path."
                raise refuse(msg)
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        msg = f"{path}: no such file; check the path."
        raise refuse(msg) from error
    except OSError as error:
        msg = f"{path}: expected a file, but it cannot be read ({error.strerror or error}); check the path."
        raise refuse(msg) from error
    if len(data) > limit:
        msg = f"{path}: expected at most {limit / MIB:g} MiB, found more, which is refused."
        raise refuse(msg)
    return data


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return place and reason of the first fault that pydantic found, for a sentence; the place of the whole is empty."""
    first = error.errors(include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return ascii(place)[1:-1][:80], printable(first["msg"].removeprefix("Value error, ").rstrip("."), 300)


def parse_json_object(
    data: str | bytes, where: object, what: str, refuse: Callable[[str], MindwireError]
) -> dict[str, Any]:
    """Parse a JSON object; ``refuse`` makes the error to raise from a sentence on ``what`` was expected and ``where``."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "that does not parse"
        msg = f"{where}: expected {what} as JSON, found text {reason}; check the file."
        raise refuse(msg) from error
    if not isinstance(document, dict):
        msg = f"{where}: expected {what} as a JSON object, found {type(document).__name__}; check the file."
        raise refuse(msg)
    return document


def read_json_object(path: Path, limit: int, what: str, refuse: Callable[[str], MindwireError]) -> dict[str, Any]:
    """Read a JSON object from a file; see :func:`read_regular` and :func:`parse_json_object`."""
    return parse_json_object(read_regular(path, limit, refuse), path, what, refuse)
