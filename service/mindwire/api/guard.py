"""Access to the service: tokens and what they allow, and for browsers the origin of the page.

Of the two tokens one allows all, the other only reading. A service on loopback needs none, but any web page the user
visits could try to reach it. Three checks stop that: the ``Host`` must be a name of this machine (a rebound DNS name is
not); a browser's ``Origin`` must be the service itself, another loopback page, or one the user has allowed; and what
changes something must be JSON by its content type, which no form of a page can send.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mindwire.api.audit import Asked
from mindwire.api.limits import (
    FAILURE_BURST,
    FAILURES_PER_SECOND,
    REQUEST_BURST,
    REQUESTS_PER_SECOND,
    ClientAllowances,
    is_loopback,
    is_upload,
    max_body_bytes,
)
from mindwire.api.pages import PAGES
from mindwire.api.tls import Certificate
from mindwire_models.text import printable

CLOSE_UNAUTHORISED = 4401
# Open without a token: paths that show nothing of the streams, needed to ask for the token or to probe.
OPEN_PATHS = (*(f"/{page}" for page in PAGES), "/client.js", "/health/live", "/health/ready")
OPEN_PREFIX = "/static/"
# Key of the ASGI scope: true if the client may read.
TRUSTED = "mindwire.trusted"
# The same: its :class:`Right`.
RIGHT = "mindwire.right"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON = "application/json"
_PORTS = {"http": 80, "https": 443}
_RETRY_S: Final = 1
_WRONG_TOKEN: Final = "wrong token"  # noqa: S105  # not one


class Right(IntEnum):
    """Extent of what a client may do; the names are those of the tokens."""

    NONE = 0
    READ = 1
    CONTROL = 2


class Refusal(NamedTuple):
    """Answer to a request that may not pass: status, reason in a word for the metrics, sentence."""

    status: HTTPStatus
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of access.

    Parameters
    ----------
    token, read_token : str or None
        Demanded of every client when one is set, as ``Authorization: Bearer TOKEN`` or ``?token=TOKEN``; with the second a
        client may only read.
    allowed_hosts : collection of str
        Names beside the loopback ones under which the service may be addressed without a token.
    allowed_origins : collection of str
        Origins of pages that may connect beside the service's own and other loopback pages; ``*`` for all,
        ``null`` for pages opened from a file.
    certificate : Certificate or None
        With one the service speaks HTTPS.
    behind_gateway : bool
        Only the token is asked for, if there is one: the gateway applies the rules, and logs.
    """

    token: str | None = None
    read_token: str | None = None
    allowed_hosts: Collection[str] = ()
    allowed_origins: Collection[str] = ()
    certificate: Certificate | None = None
    behind_gateway: bool = False

    def refusal(self, headers: Headers, method: str, path: str, right: Right, who: str) -> Refusal | None:
        """Return the answer to a request that may not pass, with what :meth:`right` says of it; None when it may."""
        host = headers.get("host", "")
        if not self._host_allowed(host):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "host",
                f"The service does not answer to the host '{printable(host, 100)}' without a token; "
                "address it as 127.0.0.1 or localhost, or allow the name with --allow-host.",
            )
        origin = headers.get("origin")
        if origin is not None and not self._origin_allowed(origin, host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "origin",
                f"Pages of {printable(origin, 100)} may not connect to this service; allow them with --allow-origin.",
            )
        changes = method not in _READING
        if right is Right.NONE and (changes or not (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))):
            what = (
                "The token was not accepted; send another"
                if who == _WRONG_TOKEN
                else "This service needs a token; send it"
            )
            sentence = f"{what} as 'Authorization: Bearer TOKEN' or as ?token=TOKEN."
            return Refusal(HTTPStatus.UNAUTHORIZED, "token", sentence)
        return self._refused_change(headers, method, path, right) if changes else None

    @staticmethod
    def _refused_change(headers: Headers, method: str, path: str, right: Right) -> Refusal | None:
        if right is not Right.CONTROL:
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "scope",
                "This token allows only reading; to change something, send the control token.",
            )
        kinds = (_JSON, "application/zip") if is_upload(method, path) else (_JSON,)
        kind = headers.get("content-type", "")
        if kind.partition(";")[0].strip().casefold() not in kinds:
            return Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                f"Expected the header 'Content-Type: {kinds[-1]}', also where there is no body, found "
                f"{repr(printable(kind, 100)) if kind else 'none'}; no form of a web page may change anything.",
            )
        return None

    def _host_allowed(self, host: str) -> bool:
        # A token is no cookie: no browser sends it on its own, so with one the name does not matter.
        if self.token is not None or self.read_token is not None:
            return True
        name = _host_name(host)
        return is_loopback(name) or (bool(name) and name in map(_host_name, self.allowed_hosts))

    def _origin_allowed(self, origin: str, host: str) -> bool:
        if "*" in self.allowed_origins or plain_origin(origin) in map(plain_origin, self.allowed_origins):
            return True
        parts = _split(origin)
        if parts is None:
            return False
        return parts.netloc.casefold() == host.casefold() or is_loopback(parts.hostname or "")

    def right(self, headers: Headers, query: QueryParams) -> tuple[Right, str]:
        """Return what a request may do, and for the log by which token."""
        if self.token is None and self.read_token is None:
            return Right.CONTROL, "anyone"
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer":
            given = query.get("token", "")
        sent = given.strip().encode(errors="replace")
        found = Right.NONE
        for right, token in ((Right.READ, self.read_token), (Right.CONTROL, self.token)):
            if token is not None and secrets.compare_digest(sent, token.encode()):  # both, however the first comes out
                found = right
        if found is Right.NONE:
            return found, _WRONG_TOKEN if sent else "no token"
        return found, f"{found.name.lower()} token"


def plain_origin(origin: str) -> str:
    """Return an origin as browsers write it: in lower case, without a path or the usual port."""
    parts = _split(origin.strip())
    if parts is None or not parts.hostname:
        return origin.strip().casefold()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _host_name(host: str) -> str:
    parts = _split(f"//{host.strip()}")
    return "" if parts is None else parts.hostname or ""


def _split(address: str) -> SplitResult | None:
    """Return the parts of an address; None when it is malformed."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # checked when it is asked for
    except ValueError:
        return None
    return parts


class Guard:
    """ASGI middleware that applies :class:`Access` and the limits of requests, also to websockets, and logs for the audit."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._requests = ClientAllowances(REQUESTS_PER_SECOND, REQUEST_BURST)
        self._failures = ClientAllowances(FAILURES_PER_SECOND, FAILURE_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection pass, or refuse it in one sentence."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        right, who = self._access.right(headers, QueryParams(scope["query_string"]))
        scope[TRUSTED], scope[RIGHT] = right is not Right.NONE, right
        method, path = scope.get("method", "GET"), scope["path"]
        asked = Asked((scope.get("client") or ("",))[0], who, method if scope["type"] == "http" else "websocket", path)
        refusal = self._refusal(headers, method, path, asked, right)
        limit = max_body_bytes(method, path)
        announced = int(headers.get("content-length", "0"))  # the server has checked that it is a number
        if refusal is None and announced > limit:
            refusal = _too_large(limit)
        exchange = _Exchange(receive, send, asked, limit)
        exchange.changes = method not in _READING and not self._access.behind_gateway
        exchange.unread = announced > 0 or "transfer-encoding" in headers
        if refusal is None:
            await self._app(scope, exchange.receive, exchange.send)
            return
        exchange.changes = False
        asked.refuse(refusal.reason, refusal.status)
        await _answer(refusal, scope, exchange.receive, exchange.send)

    def _refusal(self, headers: Headers, method: str, path: str, asked: Asked, right: Right) -> Refusal | None:
        if self._access.behind_gateway:
            return None if right is Right.CONTROL else Refusal(HTTPStatus.UNAUTHORIZED, "token", "Ask the gateway.")
        now, client = time.monotonic(), asked.client
        if client and not self._requests.take(client, now):
            return _too_many("Too many requests")
        refusal = self._access.refusal(headers, method, path, right, asked.who)
        if refusal is not None and right is Right.NONE and client and not self._failures.take(client, now):
            return _too_many("Too many requests with a wrong token or none")
        return refusal


async def _answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    status, _, sentence = refusal
    if scope["type"] == "websocket" and status is HTTPStatus.UNAUTHORIZED:
        # a browser's script learns a close code, but never why a handshake failed
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": CLOSE_UNAUTHORISED, "reason": sentence})
        return
    more = {
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
        HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": str(_RETRY_S)},
    }
    await JSONResponse({"detail": sentence}, status_code=status, headers=more.get(status))(scope, receive, send)


def _too_many(what: str) -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS, "rate", f"{what} came from this address; try again after {_RETRY_S} s."
    )


def _too_large(limit: int) -> Refusal:
    text = f"{limit >> 10} KiB" if limit < 2**20 else f"{limit >> 20} MiB"
    sentence = f"Expected a request body of at most {text}, found a larger one."
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", sentence)


class _Exchange:
    """A request and its answer on their way: the body is limited, and the result of a change logged."""

    def __init__(self, receive: Receive, send: Send, asked: Asked, limit: int) -> None:
        self.changes = False
        self.unread = False  # true while some of the body may be on its way
        self._receive = receive
        self._send = send
        self._asked = asked
        self._limit = limit
        self._size = 0

    async def receive(self) -> Message:
        """Return the next part of the body, or refuse it."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            refusal = _too_large(self._limit)
            self._asked.refuse(refusal.reason, refusal.status)
            raise HTTPException(refusal.status, refusal.sentence)
        self.unread = self.unread and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Log a result; tell a client whose body is not read to the end that its connection ends."""
        if message["type"] == "http.response.start":
            if self.changes:
                self._asked.log_change(message["status"])
            if self.unread:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)
