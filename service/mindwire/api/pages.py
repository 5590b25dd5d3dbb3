"""The pages: addresses and the files that are sent for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.responses import FileResponse, RedirectResponse

STATIC: Final = Path(__file__).parent / "static"
# Path, without the slash it begins with, and file; open without a token: a page shows nothing until it has one.
PAGES: Final = {
    "": "index.html",
    "session": "session.html",
    "control": "control.html",
    "models": "models.html",
    "system": "system.html",
    "clock": "clock.html",
    "participant": "participant.html",
    "docs": "docs.html",
}


def add_pages(app: FastAPI) -> None:
    """Register a route for each page, and for the client of programs in a browser."""
    for path, file in PAGES.items():
        app.add_api_route(f"/{path}", _answer(STATIC / file), include_in_schema=False)
    app.add_api_route("/client.js", _client, include_in_schema=False)


async def _client() -> RedirectResponse:
    return RedirectResponse("/static/client.js")  # beside what it imports


def _answer(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def page() -> FileResponse:
        return FileResponse(file)

    return page
