"""Requests that cannot be understood, each refused in one sentence that repeats nothing of the request."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Problem(BaseModel):
    """Problem and remedy in one sentence."""

    detail: str


def problem(description: str) -> dict[str, Any]:
    """A response for the documentation, with a :class:`Problem` as its body."""
    return {"model": Problem, "description": description}


def refuse_invalid(_: Request, error: Exception) -> Response:
    """Answer a request whose parameters or body are not what was expected."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    return JSONResponse({"detail": _sentence(found)}, status_code=422)


def _sentence(errors: Any) -> str:
    """One sentence for the first of pydantic's errors."""
    if not errors:
        return "The request is not what was expected; see /docs."
    first = errors[0]
    kind, where = first["type"], [str(part) for part in first["loc"]]
    if kind == "json_invalid":
        return f"The body is not valid JSON ({first['ctx']['error']} at character {where[-1]}); see /docs."
    place = f"'{'.'.join(where[1:])}'" if len(where) > 1 else f"the {where[0]}"
    if kind == "missing":
        return f"The request lacks {place}; see /docs."
    if where == ["body"]:
        return "Expected a JSON object as the body, with the header 'Content-Type: application/json'; see /docs."
    expected = "text" if kind == "string_unicode" else first["msg"].removeprefix("Input should be ")
    if kind.endswith("_than_equal"):
        expected = f"a number {expected}"
    return f"Expected {expected} as {place}; see /docs."
