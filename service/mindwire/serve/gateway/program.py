"""Program of a worker process: a whole service with its share of the streams, which listens for the gateway alone.

When its standard input ends, for whatever reason, the streams end and the process with them: nothing is left running
unseen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.api.limits import BACKLOG
from mindwire.api.server import bind_socket
from mindwire.config import Settings
from mindwire.errors import MindwireError, UsageError
from mindwire.logs import log_handler
from mindwire.serve.gateway.address import Address
from mindwire.serve.gateway.process import WorkerReport, WorkerStart
from mindwire.serve.listening import event_loop
from mindwire.serve.streams import build_streams, run_streams

Report = Callable[[WorkerReport], None]


def main() -> None:
    """Run until the end, and end even if a thread is stuck in a driver."""
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get among the reports

    def report(one: WorkerReport) -> None:
        reports.write(msgspec.json.encode(one) + b"\n")

    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerStart)
    settings = Settings.model_validate_json(start.settings)
    form = f"%(asctime)s %(levelname)s worker {start.number}: %(message)s"
    logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler(form)])
    try:
        with event_loop() as runner:
            runner.run(_run(settings, start, report))
    except MindwireError as error:
        report(_refusal(error))
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


async def _run(settings: Settings, start: WorkerStart, report: Report) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing comes but the end
    streams = build_streams(settings, instance=start.instance, only=start.streams, checkpoints=Path(start.folder))
    for stream in streams.values():
        stream.counters.restarts = start.restarts
    sock = _bind(start.listen)
    address = start.listen
    if not address.path:
        address = msgspec.structs.replace(address, port=sock.getsockname()[1])
    app = create_app(streams, access=Access(address.token))
    await run_streams(
        settings,
        app,
        sock,
        streams,
        stop,
        begun=lambda: report(WorkerReport(address)),
        on_refused=lambda error: report(_refusal(error)),
    )


def _bind(address: Address) -> socket.socket:
    """Open the socket that only this user, or only who has the token, can connect to."""
    if not address.path:
        return bind_socket(address.host, address.port)
    Path(address.path).unlink(missing_ok=True)  # of the worker before
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(address.path)
    Path(address.path).chmod(0o600)
    sock.listen(BACKLOG)
    sock.settimeout(0.0)
    return sock


def _refusal(error: MindwireError) -> WorkerReport:
    return WorkerReport(refused=str(error), usage=isinstance(error, UsageError))
