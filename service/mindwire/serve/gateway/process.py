"""Start of a worker as a process of this machine, and what any started worker is to the gateway."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address

_MAX_PATH = 100  # of a Unix socket; the system's temporary folder may be anywhere
# In a process group of its own, but not a session, which Linux would give a share of the processor of its own: Ctrl-C
# is for the gateway, which ends its workers in order.
PROGRAM = (
    sys.executable,
    "-P",  # nothing of the current folder
    "-c",
    "import os; os.setpgrp(); from mindwire.serve.gateway.program import main; main()",
)


class WorkerStart(msgspec.Struct, frozen=True):
    """First line on a worker's standard input."""

    settings: str  # of the whole service, with the worker's share of the streams, as JSON
    listen: Address  # port 0 takes any free one
    folder: str = ""  # private to the worker; its successor gets it too; empty for a folder of its own
    instance: str = ""  # distinguishes the LSL outlets of this service from those of another on the same host
    number: int = 1
    restarts: int = 0
    lease_s: float = 0.0  # it ends after this time without the gateway; 0: with its standard input
    learnt: dict[str, bytes] = {}  # files of its folder
    current_folder: str = ""  # that paths of the settings begin from, if they are relative


class WorkerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Report of a worker: its address once it listens, what it refuses, or a stream that has changed."""

    address: Address | None = None
    pid: int = 0
    refused: str = ""
    usage: bool = False
    noted: str = ""  # stream whose description has changed while it runs
    learnt: str = ""  # file of its folder that has changed, where the gateway cannot read it
    content: bytes = b""  # of the file; empty if it was deleted

    @property
    def error(self) -> MindwireError:
        """The refusal as an error."""
        return UsageError(self.refused) if self.usage else ServiceError(self.refused)


class Share(NamedTuple):
    """Part of the streams that a worker runs: what has to be known to place it."""

    streams: tuple[str, ...]
    cost: float  # sum of the streams' predictions per sample
    node: str | None = None  # that sees their sources
    avoid: str = ""  # node on which the worker's predecessor was lost


class NoRoomError(ServiceError):
    """No machine has room for a worker now; one may have later."""


class StartedWorker(Protocol):
    """A worker that was started, from the start to its end."""

    hung_after_s: float  # it is killed if it answers nothing for this time
    ping_s: float  # time between two requests of the gateway
    node: str  # empty for this machine

    async def next_report(self) -> WorkerReport | None:
        """Return the next report; None when the worker has ended."""

    async def wait(self) -> str:
        """Wait for the end; returns the reason, as in "it was ended by SIGKILL"."""

    async def end(self) -> None:
        """Ask the worker to end in order."""

    def kill(self) -> None:
        """End the worker by force."""


class Starter(Protocol):
    """Starts workers."""

    async def start(self, start: WorkerStart, share: Share) -> StartedWorker:
        """Start a worker, which is given ``start`` with an address and a folder; raises ServiceError if there is no room for it."""


class LocalWorker:
    """A worker process of this machine."""

    # The processor may be overloaded, and a bundle that needs PyTorch takes seconds to import.
    hung_after_s = 15.0
    ping_s = 2.0
    node = ""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def next_report(self) -> WorkerReport | None:
        """Return the next report; None when the worker has ended."""
        assert self._process.stdout is not None  # noqa: S101 - asked for at the start
        line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=WorkerReport) if line.endswith(b"\n") else None

    async def wait(self) -> str:
        """Wait for the end; returns the reason."""
        code = await self._process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def end(self) -> None:
        """Ask the worker to end in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker by force."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended
            self._process.send_signal(number)


class LocalStarter:
    """Starts workers as processes of this machine.

    Parameters
    ----------
    folder : Path
        Of the workers' sockets, and of what they have learnt.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def start(self, start: WorkerStart, share: Share) -> LocalWorker:  # noqa: ARG002
        """Start the process of a worker; raises ServiceError where the system has no room for it."""
        path = str(self._folder / f"{start.number}.socket")
        address = Address(path) if len(path.encode()) <= _MAX_PATH else Address(token=secrets.token_urlsafe(24))
        return await start_process(msgspec.structs.replace(start, listen=address, folder=str(self._folder)))


async def start_process(start: WorkerStart) -> LocalWorker:
    """Start the process of a worker; raises ServiceError where the system has no room for it."""
    try:
        process = await asyncio.create_subprocess_exec(*PROGRAM, stdin=PIPE, stdout=PIPE)
    except OSError as error:
        msg = f"A worker process cannot be started ({error.strerror}); give fewer --workers."
        raise ServiceError(msg) from error
    assert process.stdin is not None  # noqa: S101 - asked for above
    process.stdin.write(msgspec.json.encode(start) + b"\n")  # and stays open: its end ends the worker
    return LocalWorker(process)
