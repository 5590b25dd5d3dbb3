"""Start of a worker as a process of this machine; afterwards the gateway needs only its address."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import msgspec

from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address

# In a process group of its own, but not a session, which Linux would give a share of the processor of its own: Ctrl-C
# is for the gateway, which ends its workers in order.
_RUN = "import os; os.setpgrp(); from mindwire.serve.gateway.program import main; main()"
_END_S = 2.0


class WorkerStart(msgspec.Struct, frozen=True):
    """First line on a worker's standard input.

    Parameters
    ----------
    settings : str
        Settings of the whole service as JSON.
    streams : list of str
        The worker's share of the streams.
    instance : str
        Distinguishes the LSL outlets of this service from those of another on the same host.
    number, workers : int
        Number of this worker, from 1, and of all workers.
    restarts : int
        Number of times this worker was started again.
    listen : Address
        Where to listen; port 0 takes any free port.
    folder : str
        Private folder of the worker, which its successor gets too.
    """

    settings: str
    streams: list[str]
    instance: str
    number: int
    workers: int
    restarts: int
    listen: Address
    folder: str


class WorkerReport(msgspec.Struct, frozen=True):
    """Line on a worker's standard output: its address once it listens, or what it refuses."""

    address: Address | None = None
    refused: str = ""
    usage: bool = False

    @property
    def error(self) -> MindwireError:
        """The refusal as an error."""
        return UsageError(self.refused) if self.usage else ServiceError(self.refused)


class WorkerProcess:
    """Process of one worker.

    Parameters
    ----------
    process : asyncio.subprocess.Process
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, start: WorkerStart) -> WorkerProcess:
        """Start the process.

        Raises
        ------
        ServiceError
            The system has no room for it.
        """
        pipe = asyncio.subprocess.PIPE
        try:  # -P: nothing of the current folder
            process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", _RUN, stdin=pipe, stdout=pipe)
        except OSError as error:
            msg = f"A worker process cannot be started ({error.strerror}); give fewer --workers."
            raise ServiceError(msg) from error
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.write(msgspec.json.encode(start) + b"\n")  # and stays open: its end ends the worker
        return cls(process)

    async def report(self) -> WorkerReport | None:
        """Return the next report; None when the worker has ended."""
        assert self._process.stdout is not None  # noqa: S101
        line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=WorkerReport) if line.endswith(b"\n") else None

    async def exit_reason(self) -> str:
        """Wait for the end of the process, by force if need be; returns what ended it."""
        try:
            code = await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def ended(self) -> None:
        """Wait for the end of the process."""
        await self._process.wait()

    def terminate(self) -> None:
        """Ask the process to end its streams and itself."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
