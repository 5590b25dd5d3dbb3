"""Processes of a measurement: isolated on the network, measured and ended."""

from __future__ import annotations

import compileall
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

import mindwire
import mindwire_models
from mindwire.errors import ServiceError
from mindwire.sources.loopback import lsl_on_loopback


class Processes(ExitStack):
    """Processes that end with the context, and ``folder``, a temporary one for their results.

    Parameters
    ----------
    network : {"own", "real"}
        LSL among these processes only, or as the machine is configured.
    ports : int
        For all outlets of an own network, two each. A search sends to every port, so that more cost processor time.
    """

    def __init__(self, network: Literal["own", "real"] = "own", *, ports: int = 256) -> None:
        super().__init__()
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory()))
        if network == "own":
            self.enter_context(lsl_on_loopback(f"bench-{uuid.uuid4().hex[:8]}", ports=ports))

    def python(self, *command: object) -> subprocess.Popen[str]:
        """Start this interpreter with arguments, without the current folder on its path."""
        process = subprocess.Popen(
            [sys.executable, "-P", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.callback(_end, process)
        return process

    def role(self, name: str, *values: object) -> subprocess.Popen[str]:
        """Start a role of :mod:`mindwire.bench.roles`."""
        return self.python("-m", "mindwire.bench.roles", name, *values)

    def serve(self, *arguments: object) -> tuple[subprocess.Popen[str], str]:
        """Start the service on a free port and return it with its address."""
        process = self.python("-m", "mindwire", "serve", "--port", 0, "--log-level", "error", *arguments)
        return process, address_of(process)


def compile_packages() -> None:
    """Compile our modules, as an installer does; a checkout may have none compiled."""
    for package in (mindwire_models, mindwire):
        for folder in package.__path__:
            compileall.compile_dir(folder, quiet=2)


def address_of(server: subprocess.Popen[str]) -> str:
    """Return the address in the first line of a server's output."""
    found = re.search(r"http://([^\s/]+)", read_line(server))
    if found is None:
        msg = "Expected a server to print its address, found none; run `mindwire serve` to see why."
        raise ServiceError(msg)
    return found[1]


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process writes; a ServiceError says that it ended."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        msg = f"A process of the measurement ended early: {' '.join(map(str, process.args[2:5]))}."  # type: ignore[index]
        raise ServiceError(msg)
    return line


def write_line(process: subprocess.Popen[str], line: str) -> None:
    """Write a line to the standard input of a process."""
    assert process.stdin is not None  # noqa: S101 - Processes opens it
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def get_json(address: str, path: str) -> Any:
    """Return the JSON answer of a service of ours to a GET request."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as answer:
        return json.load(answer)


def with_children(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def memory_mib(*pids: int) -> float:
    """Return the resident memory of processes."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20


class CpuMeter:
    """Processor use of processes since the meter was made."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._begin, self._used = time.monotonic(), self._seconds()

    def percent(self) -> float:
        """Return the use in percent of one core."""
        return round(100 * (self._seconds() - self._used) / (time.monotonic() - self._begin), 2)

    def _seconds(self) -> float:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self._pids)


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for a condition; a ServiceError says that it did not hold within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            msg = f"Timed out after {timeout:g} s waiting for {what}."
            raise ServiceError(msg)
        time.sleep(0.1)


def summarise(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Return p50, p99, p99.9, maximum and number of values."""
    p50, p99, p999 = np.percentile(milliseconds, [50, 99, 99.9])
    worst, n = float(milliseconds.max()), len(milliseconds)
    return {"p50": float(p50), "p99": float(p99), "p99.9": float(p999), "max": worst, "n": n}
