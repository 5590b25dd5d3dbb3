"""Programs in C# with the client of ``clients/csharp``, compiled by Mono; without it their tests are skipped."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"


def compiled(folder: Path, *sources: Path, target: str = "exe") -> Callable[..., subprocess.Popen]:
    """Compile a program with the client, warnings being errors, and return what starts it."""
    compiler = shutil.which("mcs")
    if compiler is None or shutil.which("mono") is None:
        pytest.skip("mcs and mono are not installed (Debian: apt install mono-mcs); the C# client is not compiled")
    program = folder / f"{sources[0].stem}.{target}"
    options = ["-warn:4", "-warnaserror", f"-target:{target}", f"-out:{program}"]
    command = [compiler, *options, *sources, CLIENTS / "csharp" / "MindwireClient.cs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr

    def start(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen(["mono", program, *arguments], stdout=subprocess.PIPE, text=True)

    return start


def until(process: subprocess.Popen, pattern: str) -> list[str]:
    """Return the lines that it prints, up to one that matches."""
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if re.fullmatch(pattern, lines[-1]):
            return lines
    raise AssertionError(lines)
