"""Event loop, access token, signals and shutdown of the web server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn
import uvloop
from fastapi import FastAPI

from mindwire.api.limits import is_loopback
from mindwire.api.server import server_settings
from mindwire.api.tls import Certificate
from mindwire.config import MIN_TOKEN, SECRETS, Settings
from mindwire.errors import UsageError
from mindwire.interrupts import ending_signals

# A pull that returns while another thread works in Python waits 0.7 ms with this, and 4.9 ms with the default of 5 ms.
SWITCH_INTERVAL_S = 0.0005
CLOSE_CLIENTS_S = 0.5
_MAX_TOKEN = 4096


def event_loop() -> asyncio.Runner:
    """Return a runner of the fastest event loop there is; other threads get the interpreter soon from now on."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def with_tokens(settings: Settings) -> tuple[Settings, str]:
    """Return the settings with the tokens that are needed, and lines for the user about those made for this run.

    Both are needed when listening on other addresses than loopback, and the one for everything when the other is given.

    Raises
    ------
    UsageError
        The file of a token cannot be used, or both tokens are the same.
    """
    given = {name: getattr(settings, name) for name in SECRETS}
    for name in SECRETS:
        if (file := getattr(settings, f"{name}_file")) is not None:
            given[name] = _token_of(file, f"--{name.replace('_', '-')}-file")
    if given["token"] is not None and given["token"] == given["read_token"]:
        msg = "The token for everything and the one for reading are the same; give two, or leave the second out."
        raise UsageError(msg)
    notices = []
    elsewhere = not is_loopback(settings.host)
    if given["token"] is None and (elsewhere or given["read_token"] is not None):
        given["token"] = secrets.token_urlsafe(24)
        notices.append(f"Clients need this token, made for this session: {given['token']}")
    if given["read_token"] is None and elsewhere:
        given["read_token"] = secrets.token_urlsafe(24)
        notices.append(f"With this one, made for this session too, they may only read: {given['read_token']}")
    return settings.model_copy(update=given), "\n".join(notices)


def _token_of(path: Path, flag: str) -> str:
    """Return the token that a file holds on its only line."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_TOKEN + 1).strip()
    except OSError as error:
        msg = f"The token's file {path} cannot be read ({error.strerror}); check the path after {flag}."
        raise UsageError(msg) from error
    except UnicodeDecodeError:
        text = ""
    if not (MIN_TOKEN <= len(text) <= _MAX_TOKEN and text.isprintable()):
        msg = (
            f"The token's file {path}: expected one line of {MIN_TOKEN} to {_MAX_TOKEN} printable characters; "
            "write one, for example with: openssl rand -hex 24."
        )
        raise UsageError(msg)
    return text


def address(settings: Settings, sock: socket.socket) -> str:
    """Return the URL of the service that a browser can open, with the token and this machine's own address."""
    host = settings.host.strip("[]")
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared
        host = _own_address(sock.family)
    scheme = "http" if settings.tls_cert is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
    # A token from a file or the environment, where others cannot read it, is not printed either.
    hidden = settings.token_file is not None or os.environ.get("MINDWIRE_TOKEN") == settings.token
    return url if settings.token is None or hidden else f"{url}/?token={quote(settings.token, safe='')}"


def _own_address(family: int) -> str:
    """Return the address from which this machine reaches others; no packet is sent."""
    outside = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # set aside for documentation
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((outside, 9))
        except OSError:  # no network
            return "localhost"
        return str(probe.getsockname()[0])


@contextlib.asynccontextmanager
async def listening(app: FastAPI, sock: socket.socket, stop: asyncio.Event) -> AsyncIterator[None]:
    """Serve on a listening socket while the context lasts; should the server end before, set ``stop``.

    All objects that are present are exempt from garbage collection, which runs from now on. With TLS, SIGHUP has the
    certificate read again.
    """
    certificate: Certificate | None = app.state.certificate
    settings = {**server_settings(certificate), "timeout_graceful_shutdown": CLOSE_CLIENTS_S}
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    # No handlers of its own: the streams end before it does.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    serving.add_done_callback(lambda _: stop.set())
    gc.collect()
    gc.freeze()
    gc.enable()
    reloading = contextlib.nullcontext() if certificate is None else _on_signals(certificate.reload, signal.SIGHUP)
    try:
        with reloading:
            yield
    finally:
        server.should_exit = True
        await serving


def stop_on_signals(stop: asyncio.Event) -> contextlib.AbstractContextManager[None]:
    """Set an event of the running loop at SIGTERM, SIGHUP and Ctrl-C while the context lasts."""
    return _on_signals(stop.set, *ending_signals())


@contextlib.contextmanager
def _on_signals(act: Callable[[], None], *numbers: int) -> Iterator[None]:
    """Call a function in the running loop at signals while the context lasts."""
    loop = asyncio.get_running_loop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
