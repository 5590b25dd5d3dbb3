"""The application: REST, websockets, health, metrics and the page, over whatever streams are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

from mindwire import __version__
from mindwire.api import config_routes, model_routes, routes, websockets
from mindwire.api.guard import Access, Guard, plain_origin
from mindwire.api.marker_routes import markers
from mindwire.api.model_routes import Models
from mindwire.api.pages import STATIC, add_pages
from mindwire.api.recording_routes import recordings
from mindwire.api.registry import Registry
from mindwire.api.streams import Streams
from mindwire.api.swap_routes import swaps

if TYPE_CHECKING:
    from mindwire.api.training_routes import Jobs


async def up_to_date() -> None:
    """Do nothing: streams of this process are always described as they are."""


def create_app(
    streams: Streams,
    access: Access,
    *,
    refresh: Callable[[], Awaitable[None]] = up_to_date,
    instead: APIRouter | None = None,
    models: Models | None = None,
    registry: Registry | None = None,
    training: Jobs | None = None,
) -> FastAPI:
    """Return the web application, to be served with :data:`mindwire.api.server.SERVER_SETTINGS`.

    Parameters
    ----------
    streams : mapping of str to StreamLike
    access : Access
    refresh : callable
        Awaited before all streams are asked; brings up to date what those of other processes say.
    instead : APIRouter or None
        Routes that take the place of the API's own.
    models : Models or None
        The folder of models.
    registry : Registry or None
        Adds, changes and removes streams; None if they stay as they are.
    training : Jobs or None
        Trainings and improvements; None without a folder for sessions.
    """
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
    app.state.registry = registry
    app.state.certificate = access.certificate
    app.state.models = models
    app.state.training = training
    app.state.upload = asyncio.Lock()  # one at a time
    app.state.tasks = {}  # by the names of their streams
    own = (
        routes.v1,
        config_routes.router,
        model_routes.router,
        swaps,
        recordings,
        *_session_routers(registry),
        markers,
        routes.health,
        websockets.router,
    )
    for router in (instead, *own):
        if router is not None:
            app.include_router(router)

    add_pages(app)

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi(request: Request) -> dict[str, Any]:
        from mindwire.api.asyncapi import document

        return document(request.url.netloc, secure=request.url.scheme == "https")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RequestValidationError, routes.refuse_invalid)
    app.add_middleware(Guard, access=access)
    if access.allowed_origins:
        origins = ["*"] if "*" in access.allowed_origins else sorted(set(map(plain_origin, access.allowed_origins)))
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app


def _session_routers(registry: Registry | None) -> tuple[APIRouter, ...]:
    """Return the routes of sessions, tasks and training; a service without a folder for sessions has others, and need not import these."""
    if registry is not None and registry.settings.sessions is None:
        from mindwire.api import without_sessions

        return (without_sessions.router,)
    from mindwire.api import training_routes
    from mindwire.api.progress_routes import progress
    from mindwire.api.session_routes import sessions
    from mindwire.api.task_routes import tasks

    return (training_routes.router, tasks, sessions, progress)
