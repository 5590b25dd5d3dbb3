"""Streams as configuration, as the API needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from mindwire.config import Settings, StreamSpec


class Registry(Protocol):
    """Streams of a service, which are added, changed and removed while the others run.

    A change is checked as a whole, kept in the settings file where there is one, and then carried out; if that fails,
    everything is as before. With ``check`` it is only checked. The methods raise MindwireError: KeyError stands for a stream that there is not.
    """

    trusted: bool  # true if requests come from the gateway alone, and may name paths

    @property
    def settings(self) -> Settings:
        """The settings in force, with the streams as they are now."""

    async def add(self, spec: StreamSpec, *, check: bool = False) -> StreamSpec:
        """Add a stream and begin it; raises ConflictError if its name is taken."""

    async def change(self, name: str, fields: Mapping[str, Any], *, check: bool = False) -> StreamSpec:
        """Change fields of a stream's description; None takes the stream's own value away."""

    async def remove(self, name: str) -> None:
        """End a stream; its clients are notified."""

    def note(self, name: str, **fields: Any) -> None:
        """Keep fields that have changed already, such as the control policy; may be called from any thread."""

    def model_path(self, reference: str) -> Path:
        """Return the folder of the bundle that a client names; may take a while; raises MindwireError if there is none."""


def registry_of(connection: HTTPConnection) -> Registry:
    """Return the registry that the application was created with."""
    registry = cast("Registry | None", connection.app.state.registry)
    if registry is None:
        raise HTTPException(409, "The streams of this service cannot be changed while it runs.")
    return registry
