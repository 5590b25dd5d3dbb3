"""Processes for the tests of the API: servers that can be measured, clients that can be stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[2] / "support"
ROOT = PROGRAMS.parents[1]


class Process:
    """A helper program that prints lines and is ended with the test."""

    def __init__(self, script: str, *arguments: str) -> None:
        paths = (ROOT, ROOT / "service", ROOT / "models")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        self.popen = subprocess.Popen(
            [sys.executable, str(PROGRAMS / script), *arguments],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.popen.pid

    def line(self) -> str:
        """The next line it prints; empty when it has ended."""
        return self.popen.stdout.readline().strip()

    def say(self, text: str) -> None:
        self.popen.stdin.write(text + "\n")
        self.popen.stdin.flush()

    def finish(self) -> dict:
        """Ask a client to end and return its report."""
        self.popen.send_signal(signal.SIGTERM)
        report = next(line for line in iter(self.line, "") if line.startswith("{"))
        assert self.popen.wait(10) == 0
        return json.loads(report)

    def end(self) -> None:
        if self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
            self.popen.wait(10)
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def spawn():
    """Start ``standin.py`` or ``client.py`` with arguments."""
    yield from _spawn()


@pytest.fixture(scope="module")
def spawn_for_module():
    """The same for processes that several tests share."""
    yield from _spawn()


def _spawn():
    started = []

    def start(script: str, *arguments: str) -> Process:
        process = Process(script, *arguments)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.end()
