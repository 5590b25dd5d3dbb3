"""Access to the service: the token, and for browsers the origin of the page.

A service on loopback needs no token, but any web page the user visits could try to reach it. Two checks
stop that: the ``Host`` must be a name of this machine (a rebound DNS name is not), and a browser's
``Origin`` must be the service itself, another loopback page, or one the user has allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mindwire.api.limits import max_body_bytes
from mindwire.api.server import is_loopback
from mindwire_models.text import printable

CLOSE_UNAUTHORISED = 4401
# Open without a token: paths that show nothing of the streams, needed to ask for the token or to probe.
OPEN_PATHS = ("/", "/docs", "/health/live", "/health/ready")
OPEN_PREFIX = "/static/"
# Key of the ASGI scope: true if the client has the token, or needs none.
TRUSTED = "mindwire.trusted"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of access.

    Parameters
    ----------
    token : str or None
        Demanded of every client when set, as ``Authorization: Bearer TOKEN`` or ``?token=TOKEN``.
    allowed_hosts : collection of str
        Names beside the loopback ones under which the service may be addressed without a token.
    allowed_origins : collection of str
        Origins of pages that may connect beside the service's own and other loopback pages; ``*`` for all,
        ``null`` for pages opened from a file.
    """

    token: str | None = None
    allowed_hosts: Collection[str] = ()
    allowed_origins: Collection[str] = ()

    def refusal(self, headers: Headers, path: str, *, trusted: bool) -> tuple[HTTPStatus, str] | None:
        """Return the status and the sentence with which a request is refused; None when it may pass."""
        host = headers.get("host", "")
        if not self._host_allowed(host):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"The service does not answer to the host '{printable(host, 100)}' without a token; "
                "address it as 127.0.0.1 or localhost, or allow the name with --allow-host."
            )
        origin = headers.get("origin")
        if origin is not None and not self._origin_allowed(origin, host):
            return HTTPStatus.FORBIDDEN, (
                f"Pages of {printable(origin, 100)} may not connect to this service; allow them with --allow-origin."
            )
        if trusted or path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
            return None
        return HTTPStatus.UNAUTHORIZED, (
            "This service asks for a token; send it as 'Authorization: Bearer TOKEN' or as ?token=TOKEN."
        )

    def _host_allowed(self, host: str) -> bool:
        # A token is no cookie: no browser sends it on its own, so with one the name does not matter.
        if self.token is not None:
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

    def token_matches(self, headers: Headers, query: QueryParams) -> bool:
        """Return true if a request carries the token, or needs none."""
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer":
            given = query.get("token", "")
        return secrets.compare_digest(given.strip().encode(errors="replace"), self.token.encode())


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
    """ASGI middleware that applies :class:`Access` and the limit of bodies to requests and websockets alike."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection pass, or refuse it in one sentence."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trusted = scope[TRUSTED] = self._access.token_matches(headers, QueryParams(scope["query_string"]))
        refused = self._access.refusal(headers, scope["path"], trusted=trusted)
        announced = int(headers.get("content-length", "0"))  # the server has checked that it is a number
        limit = max_body_bytes(scope.get("method", ""), scope["path"])
        if refused is None and announced > limit:
            refused = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit)
        if refused is None:
            await self._app(scope, _limited(receive, limit), send)
            return
        status, sentence = refused
        if scope["type"] == "websocket" and status is HTTPStatus.UNAUTHORIZED:
            # a browser's script learns a close code, but never why a handshake failed
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": CLOSE_UNAUTHORISED, "reason": sentence})
            return
        asked = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
        await JSONResponse({"detail": sentence}, status_code=status, headers=asked)(scope, receive, send)


def _too_large(limit: int) -> str:
    size = f"{limit >> 10} KiB" if limit < 1 << 20 else f"{limit >> 20} MiB"
    return f"Expected a request body of at most {size}, found a larger one."


def _limited(receive: Receive, limit: int) -> Receive:
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit))
        return message

    return receive_limited
