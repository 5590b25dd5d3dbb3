"""Start of a worker as a process of this machine; afterwards the gateway needs only its address."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import msgspec

from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address

# In a process group of its own, but not a session, which Linux would give a share of the processor of its own: Ctrl-C
# is for the gateway, which ends its workers in order.
_RUN = "import os; os.setpgrp(); from mindwire.serve.gateway.program import main; main()"


class WorkerStart(msgspec.Struct, frozen=True):
    """First line on a worker's standard input."""

    settings: str  # of the whole service, with the worker's share of the streams, as JSON
    listen: Address  # port 0 takes any free port
    folder: str  # private to the worker; its successor gets it too
    instance: str = ""  # distinguishes the LSL outlets of this service from those of another on the same host
    number: int = 1
    restarts: int = 0


class WorkerReport(msgspec.Struct, frozen=True):
    """Line on a worker's standard output: its address once it listens, what it refuses, or a stream that has changed."""

    address: Address | None = None
    refused: str = ""
    usage: bool = False
    noted: str = ""  # stream whose description has changed while it runs

    @property
    def error(self) -> MindwireError:
        """The refusal as an error."""
        return UsageError(self.refused) if self.usage else ServiceError(self.refused)


async def start_process(start: WorkerStart) -> Process:
    """Start the process of a worker; raises ServiceError where the system has no room for it."""
    try:  # -P: nothing of the current folder
        process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", _RUN, stdin=PIPE, stdout=PIPE)
    except OSError as error:
        msg = f"A worker process cannot be started ({error.strerror}); give fewer --workers."
        raise ServiceError(msg) from error
    assert process.stdin is not None  # noqa: S101 - asked for above
    process.stdin.write(msgspec.json.encode(start) + b"\n")  # and stays open: its end ends the worker
    return process


async def next_report(process: Process) -> WorkerReport | None:
    """Return the next report of a worker; None when it has ended."""
    assert process.stdout is not None  # noqa: S101 - asked for at the start
    line = await process.stdout.readline()
    return msgspec.json.decode(line, type=WorkerReport) if line.endswith(b"\n") else None
