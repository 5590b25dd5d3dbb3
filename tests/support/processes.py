"""Processes of the command, started and ended by a test."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]


LISTENERS = ROOT / "tests" / "support" / "listeners.py"


class Processes:
    """Starts processes, reads their lines, and ends those still running."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, *command: object) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._stack.callback(self._end, process)
        return process

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def line(process: subprocess.Popen, pattern: str) -> re.Match[str]:
    for text in process.stdout:
        if match := re.search(pattern, text):
            return match
    raise AssertionError(f"the process ended with {process.wait()} and never said {pattern!r}")
