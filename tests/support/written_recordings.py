"""Recordings that a recorder has closed."""

from __future__ import annotations

import time
from pathlib import Path


def finished(path: Path, seconds: float = 25.0) -> bool:
    deadline = time.monotonic() + seconds
    output = path.with_suffix(".log")
    while "Closing the file" not in output.read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
