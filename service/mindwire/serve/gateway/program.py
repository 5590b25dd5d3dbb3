"""Program of a worker process: a whole service with its share of the streams, which listens for the gateway alone.

When its standard input ends, for whatever reason, the streams end and the process with them: nothing is left running
unseen. On another machine it ends when the gateway no longer asks (:mod:`mindwire.serve.gateway.reports`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.api.limits import BACKLOG
from mindwire.api.server import bind_socket
from mindwire.api.tls import Certificate, first_certificate
from mindwire.config import Settings
from mindwire.errors import MindwireError, UsageError
from mindwire.limits import raise_descriptor_limit
from mindwire.logs import log_handler
from mindwire.serve.gateway.process import WorkerReport, WorkerStart
from mindwire.serve.gateway.reports import WorkerReports
from mindwire.serve.listening import event_loop
from mindwire.serve.registry import StreamRegistry, run_streams
from mindwire.serve.specs import Specs
from mindwire.serve.streams import StreamBuilder

_END_S = 10.0


def main() -> None:
    """Run until the end, and end even if a thread is stuck in a driver."""
    raise_descriptor_limit()
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get among the reports
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerStart)
    settings = Settings.model_validate_json(start.settings)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler(settings.log_format, start.number)])

    def report(one: WorkerReport) -> None:
        reports.write(msgspec.json.encode(one) + b"\n")

    try:
        with _folder(start) as folder, event_loop() as runner:
            runner.run(_run(settings, msgspec.structs.replace(start, folder=folder), report))
    except MindwireError as error:
        report(_refusal(error))
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


def _refusal(error: MindwireError) -> WorkerReport:
    return WorkerReport(refused=str(error), usage=isinstance(error, UsageError))


@contextmanager
def _folder(start: WorkerStart) -> Iterator[str]:
    """Give the folder of a worker, with what its predecessor has learnt elsewhere."""
    if start.folder:
        yield start.folder
        return
    with suppress(OSError):  # where it is absent, a relative path is refused as any other that is not there
        os.chdir(start.current_folder)
    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder:
        for name, content in start.learnt.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        yield folder


async def _run(settings: Settings, start: WorkerStart, report: Callable[[WorkerReport], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(sys.stdin.fileno())  # it stays readable
        stop.set()
        _end_by_force()

    routes, begun, watching = None, report, None
    if start.lease_s:
        reports = WorkerReports(Path(start.folder), start.lease_s, end)
        routes, report = reports.routes(), reports.report
        watching = asyncio.create_task(reports.watch())
    else:
        loop.add_reader(sys.stdin.fileno(), end)  # nothing comes but the end
    builder = StreamBuilder(settings, instance=start.instance, checkpoints=Path(start.folder))
    specs = Specs(settings)
    streams = StreamRegistry(specs, builder, trusted=True, on_note=lambda name: report(WorkerReport(noted=name)))
    for stream in streams.values():
        stream.counters.restarts = start.restarts
    address = start.listen
    if address.path:
        sock = _bind(Path(address.path))
    else:
        sock = bind_socket(address.host, address.port)
        address = msgspec.structs.replace(address, port=sock.getsockname()[1])
    certificate = None
    if start.lease_s and settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
        address = msgspec.structs.replace(address, certificate=first_certificate(settings.tls_cert))
    access = Access(address.token, certificate=certificate, behind_gateway=True)
    app = create_app(streams, access, instead=routes, models=specs.models, registry=streams)
    await run_streams(
        streams,
        app,
        sock,
        stop,
        begun=lambda: begun(WorkerReport(address, os.getpid())),
        on_refused=lambda error: report(_refusal(error)),
    )
    if watching is not None:
        watching.cancel()


def _end_by_force() -> None:
    """End the process soon, should threads that hang keep it from ending in order."""
    timer = threading.Timer(_END_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _bind(path: Path) -> socket.socket:
    """Open a socket in the folder that only this user can enter."""
    path.unlink(missing_ok=True)  # of the worker before
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(BACKLOG)
    return sock
