"""Who may talk to the service: the token, and for browsers the page that asks.

A service on loopback needs no token, but any web page the user visits could try to reach it. Two checks
stop that: the ``Host`` must be a name of this machine (a rebound DNS name is not), and a browser's
``Origin`` must be the service itself, another loopback page, or one the user has allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.server import is_loopback

CLOSE_UNAUTHORISED = 4401
# Without a token: what shows nothing of the streams' content but is needed to ask for the token, or to probe.
OPEN_PATHS = ("/", "/docs", "/health/live", "/health/ready")
OPEN_PREFIX = "/static/"


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

    def refusal(self, headers: Headers, query: QueryParams, path: str) -> tuple[HTTPStatus, str] | None:
        """Why a request is refused, with one sentence; None when it may pass."""
        host = headers.get("host", "")
        if not self._host_allowed(host):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"The service does not answer to the host {host!r} without a token; "
                "address it as 127.0.0.1 or localhost, or allow the name with --allow-host."
            )
        origin = headers.get("origin")
        if origin is not None and not self._origin_allowed(origin, host):
            return HTTPStatus.FORBIDDEN, (
                f"Pages of {origin} may not connect to this service; allow them with --allow-origin."
            )
        if path in OPEN_PATHS or path.startswith(OPEN_PREFIX) or self._token_matches(headers, query):
            return None
        return HTTPStatus.UNAUTHORIZED, (
            "This service asks for a token; send it as 'Authorization: Bearer TOKEN' or as ?token=TOKEN."
        )

    def _host_allowed(self, host: str) -> bool:
        # A token is no cookie: no browser sends it on its own, so with one the name does not matter.
        if self.token is not None:
            return True
        name = urlsplit(f"//{host}").hostname or ""
        return is_loopback(name) or name in self.allowed_hosts

    def _origin_allowed(self, origin: str, host: str) -> bool:
        if "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        parts = urlsplit(origin)
        return parts.netloc.casefold() == host.casefold() or is_loopback(parts.hostname or "")

    def _token_matches(self, headers: Headers, query: QueryParams) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer":
            given = query.get("token", "")
        return secrets.compare_digest(given.strip().encode(), self.token.encode())


class Guard:
    """ASGI middleware that applies :class:`Access` to requests and websockets alike."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a connection pass, or refuse it in one sentence."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        query = QueryParams(scope["query_string"])
        refused = self._access.refusal(Headers(scope=scope), query, scope["path"])
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, sentence = refused
        if scope["type"] == "websocket" and status is HTTPStatus.UNAUTHORIZED:
            # a browser's script learns a close code, but never why a handshake failed
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": CLOSE_UNAUTHORISED, "reason": sentence})
            return
        headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
        await JSONResponse({"detail": sentence}, status_code=status, headers=headers)(scope, receive, send)
