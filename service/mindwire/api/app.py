"""The application: REST, websockets, health, metrics and the page, over whatever streams are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from mindwire import __version__
from mindwire.api import routes, websockets
from mindwire.api.guard import Access, BodyLimit, Guard, plain_origin
from mindwire.api.page import PageHeaders
from mindwire.api.problems import refuse_invalid
from mindwire.api.streams import Streams, up_to_date

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

STATIC: Final = Path(__file__).parent / "static"
Forward = Callable[[Request], Awaitable[Response | None]]


class Forwarding:
    """ASGI middleware that gives requests to others that answer them, before the application does."""

    def __init__(self, app: ASGIApp, forward: Forward) -> None:
        self._app = app
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._forward(Request(scope, receive)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def create_app(
    streams: Streams,
    *,
    access: Access | None = None,
    refresh: Callable[[], Awaitable[None]] = up_to_date,
    forward: Forward | None = None,
) -> FastAPI:
    """The web application.

    Parameters
    ----------
    streams : mapping of str to StreamLike
        The running streams by name; looked up at each request, so streams may come and go.
    access : Access or None
        Rules for all clients; None asks for no token.
    refresh : callable
        Awaited before streams are asked anything; brings up to date what those of other processes say.
    forward : callable or None
        Returns the response to a request that another process answers; None for the others.

    Returns
    -------
    FastAPI
        To be served with :data:`mindwire.api.server.SERVER_SETTINGS` on a socket from
        :func:`mindwire.api.server.bind_socket`.
    """
    access = access or Access()
    app = FastAPI(
        title="Mindwire",
        version=__version__,
        description="Class probabilities of imagined movement, live. Predictions come over the websocket "
        "`/v1/streams/{stream}/predictions`; see the protocol's documentation.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.streams = streams
    app.state.refresh = refresh
    app.include_router(routes.v1)
    app.include_router(routes.health)
    app.include_router(websockets.router)

    @cache
    def own_registry() -> CollectorRegistry:
        from mindwire.api.metrics import registry

        return registry(streams)

    def exposition() -> Response:
        # imported at the first scrape, so that no start waits for it
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(own_registry()), media_type=CONTENT_TYPE_LATEST)

    @app.get("/metrics", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Metrics in the Prometheus text format."""
        await refresh()
        # in a thread, so that asking many streams does not keep the event loop from their clients
        return await asyncio.to_thread(exposition)

    @app.get("/", include_in_schema=False)
    async def page(_: Request) -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs(_: Request) -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    if forward is not None:
        app.add_middleware(Forwarding, forward=forward)
    app.add_middleware(BodyLimit)
    app.add_middleware(PageHeaders)
    app.add_middleware(Guard, access=access)
    if access.allowed_origins:
        origins = ["*"] if "*" in access.allowed_origins else sorted(set(map(plain_origin, access.allowed_origins)))
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
        )
    return app
