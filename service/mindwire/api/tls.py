"""TLS: a certificate that can be read again, and connections that are counted before their handshake.

A server of asyncio's own would count a connection only after its handshake, and give that a minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from uvicorn.protocols.utils import get_remote_addr

from mindwire.api.audit import Asked
from mindwire.api.limits import CLOSE_S, HANDSHAKE_S, Connections
from mindwire.api.requests import RequestProtocol
from mindwire.errors import UsageError

log = logging.getLogger(__name__)

_CERT, _KEY = "--tls-cert", "--tls-key"


class Certificate:
    """Certificate and private key of the service, and the TLS context made of them for connections from now on.

    Raises
    ------
    UsageError
        A file cannot be used, or they do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files: Final = certificate, key
        self.context = _context(certificate, key)

    def reload(self) -> None:
        """Read the files again, and log the result; what cannot be used leaves everything as it was."""
        try:
            self.context = _context(*self._files)
        except UsageError as error:
            log.error("%s The certificate of before stays in use.", error)  # noqa: TRY400 - no bug
        else:
            log.warning("The certificate %s was read again; new connections get it.", self._files[0])


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for path, flag in ((certificate, _CERT), (key, _KEY)):
        try:
            path.open("rb").close()
        except OSError as error:
            msg = f"The file {path} cannot be read ({error.strerror}); check the path after {flag}."
            raise UsageError(msg) from error
    try:
        context.load_cert_chain(certificate, key, password=partial(_no_password, key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            msg = f"The key {key} is not that of the certificate {certificate}; give the two that were made together."
        else:
            msg = f"{certificate} and {key} hold no certificate and private key in PEM format ({error.reason or 'unreadable'})."
        raise UsageError(msg) from error
    return context


def first_certificate(path: Path) -> str:
    """Return the server's own certificate of a file that was loaded, without those of authorities, as PEM."""
    head, end, _ = path.read_text(encoding="ascii", errors="replace").partition("-----END CERTIFICATE-----")
    return head[head.index("-----BEGIN CERTIFICATE-----") :] + end


def _no_password(key: Path) -> str:
    msg = f"The key {key} is encrypted; give one without a passphrase after {_KEY} (openssl pkey -in KEY -out PLAIN)."
    raise UsageError(msg)


class TlsProtocol(asyncio.Protocol):
    """Counts a connection and has its TLS handshake made within a time; :class:`RequestProtocol` then takes it."""

    def __init__(self, certificate: Certificate, **options: Any) -> None:
        self._certificate = certificate
        self._next = RequestProtocol(**options)
        self._all = Connections.of(options["server_state"])
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin the handshake, unless there are too many connections."""
        remote = get_remote_addr(transport)
        client = "" if remote is None else remote[0]
        if (status := self._all.enter(client)) is None:
            # start_tls() would lose what arrives before it has begun to read; nothing is read from this transport
            sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            self._handshake = asyncio.create_task(self._secure(sock, client))
            self._all.waits(self)
        else:
            Asked(client, "someone").refuse("connections", status)
            self._all.leave(client)
        transport.abort()

    def abort(self) -> None:
        """End the handshake."""
        if self._handshake is not None:
            self._handshake.cancel()

    async def _secure(self, sock: socket.socket, client: str) -> None:
        sock.setblocking(False)  # noqa: FBT003 - has no name
        try:
            with suppress(OSError):  # whatever a stranger sends is no fault of ours
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._next,
                    sock,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=CLOSE_S,
                )
        finally:
            self._all.keep(self)
            if getattr(self._next, "transport", None) is None:  # else it says when the connection is lost
                self._all.leave(client)
