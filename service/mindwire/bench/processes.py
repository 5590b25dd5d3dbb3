"""The processes of a measurement: started, isolated on the network, watched and ended."""

from __future__ import annotations

import compileall
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import mindwire
import mindwire_models
from mindwire.errors import ServiceError
from mindwire.sources.loopback import lsl_on_loopback


class Processes:
    """Starts processes that end with the context.

    Parameters
    ----------
    folder : Path
        Where the processes leave what they measured.
    network : {"own", "real"}
        Whether they speak LSL with each other only, or on the network as it is configured.
    """

    def __init__(self, folder: Path, network: Literal["own", "real"] = "own") -> None:
        self.folder = folder
        self._network = network
        self._stack = ExitStack()

    def __enter__(self) -> Processes:
        if self._network == "own":
            self._stack.enter_context(lsl_on_loopback(f"bench-{uuid.uuid4().hex[:8]}", ports=1024))
        return self

    def __exit__(self, *details: Any) -> None:
        self._stack.close()

    @classmethod
    @contextmanager
    def temporary(cls, network: Literal["own", "real"] = "own") -> Iterator[Processes]:
        """In a folder that ends with the context too."""
        with tempfile.TemporaryDirectory() as folder, cls(Path(folder), network) as processes:
            yield processes

    def python(self, *command: object) -> subprocess.Popen[str]:
        """Start this interpreter with arguments."""
        words = [sys.executable, "-P", *map(str, command)]  # -P: nothing of the current folder
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
        self._stack.callback(_end, process)
        return process

    def role(self, name: str, *values: object) -> subprocess.Popen[str]:
        """Start a role of :mod:`mindwire.bench.roles`."""
        return self.python("-m", "mindwire.bench.roles", name, *values)

    def serve(self, *arguments: object) -> tuple[subprocess.Popen[str], str]:
        """Start the service on a free port; returns it and its address."""
        process = self.python("-m", "mindwire", "serve", "--port", 0, "--log-level", "error", *arguments)
        return process, address_of(process)


def compile_packages() -> None:
    """Compile our modules, as an installer does with those of every package; a checkout may have none compiled."""
    for package in (mindwire_models, mindwire):
        for folder in package.__path__:
            compileall.compile_dir(folder, quiet=2)


def address_of(process: subprocess.Popen[str]) -> str:
    """The address that a server's first line tells."""
    found = re.search(r"http://([^\s/]+)", said(process))
    if found is None:
        msg = "A server did not say where it listens; run `mindwire serve` to see why."
        raise ServiceError(msg)
    return found[1]


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a process writes.

    Raises
    ------
    ServiceError
        It ended instead.
    """
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        msg = f"A process of the measurement ended early: {' '.join(map(str, process.args[2:5]))}."  # type: ignore[index]
        raise ServiceError(msg)
    return line


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


def ask(url: str) -> Any:
    """What a service of ours answers, read as JSON."""
    if not url.startswith("http://"):
        msg = f"A service is asked over http, found {url!r}."
        raise ServiceError(msg)
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - checked above
        return json.load(answer)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, its children that still run not included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def cpu_percent(pid: int, seconds: float) -> float:
    """Percent of one core that a process uses during the next seconds."""
    before, begin = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return round(100 * (cpu_seconds(pid) - before) / (time.monotonic() - begin), 2)


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else float("nan")


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def eventually(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait until something holds.

    Raises
    ------
    ServiceError
        It did not within the time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            msg = f"Waited {timeout:g} s in vain for {what}."
            raise ServiceError(msg)
        time.sleep(0.1)


def summarise(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """p50, p99, p99.9 and the worst of a distribution in milliseconds, and how many it has."""
    p50, p99, p999 = np.percentile(milliseconds, [50, 99, 99.9])
    worst, n = float(milliseconds.max()), len(milliseconds)
    return {"p50": float(p50), "p99": float(p99), "p99.9": float(p999), "max": worst, "n": n}
