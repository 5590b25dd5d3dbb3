"""Streams of this process, added, changed and removed while the others run."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from mindwire.api.swap_routes import check_first_model
from mindwire.config import Settings, StreamSpec
from mindwire.errors import BundleError, MindwireError, PolicyError, UsageError
from mindwire.live.live_markers import showing_markers
from mindwire.live.stream import Stream
from mindwire.live.supervisor import Supervisor
from mindwire.serve.listening import listening, stop_on_signals
from mindwire.serve.named_sources import check_stream
from mindwire.serve.specs import Specs, changed
from mindwire.serve.streams import PreparedStream, StreamBuilder, send_osc
from mindwire.sinks.subscription import RESTARTS
from mindwire.status import RecordingRequest
from mindwire_models.bundle import load_bundle

log = logging.getLogger(__name__)

_STOP_STREAMS_S = 1.2
# Fields that a running stream takes; any other change begins it again.
_LIVE = frozenset({"control", "paused", "osc", "participant"})
_RESTARTS = "The stream begins again with other settings."
_ENDS = "The stream was removed."


class StreamRegistry(Mapping[str, Stream]):
    """Streams of this process by name, in the order in which they were added; one may iterate while they change.

    A :class:`mindwire.api.registry.Registry`.

    Parameters
    ----------
    specs : Specs
    builder : StreamBuilder
    trusted : bool
        True if clients may name paths, as the gateway does.
    on_note : callable
        Called with the name of a stream of which something was noted.

    Raises
    ------
    MindwireError
        A bundle or its engine cannot be loaded.
    """

    def __init__(
        self,
        specs: Specs,
        builder: StreamBuilder,
        *,
        trusted: bool = False,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.trusted = trusted
        self._specs = specs
        self._builder = builder
        self._on_note = on_note
        self._changing = threading.Lock()  # one change after the other
        self._supervisor: Supervisor | None = None
        load = cache(load_bundle)
        prepared = [builder.prepare(spec, load) for spec in specs.settings.stream]
        self._streams = {one.spec.id: self._built(one) for one in prepared}  # replaced as a whole

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._specs.settings

    @property
    def kept(self) -> bool:
        """True if the settings file holds every change."""
        return self._specs.kept

    # ── a mapping ────────────────────────────────────────────────────────────────────────────────────

    def __getitem__(self, name: str) -> Stream:
        return self._streams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def keys(self) -> KeysView[str]:
        """Return the names as they are now."""
        return self._streams.keys()

    def values(self) -> ValuesView[Stream]:
        """Return the streams as they are now."""
        return self._streams.values()

    def items(self) -> ItemsView[str, Stream]:
        """Return names and streams as they are now."""
        return self._streams.items()

    # ── run ──────────────────────────────────────────────────────────────────────────────────────────

    def start(self, on_refused: Callable[[Stream, MindwireError], None]) -> None:
        """Begin all streams; ``on_refused`` as of a :class:`mindwire.live.supervisor.Supervisor`."""
        self._supervisor = Supervisor(list(self.values()), on_refused=on_refused)
        self._supervisor.start()

    def stop(self) -> None:
        """End all streams and close their sinks."""
        if self._supervisor is not None:
            self._supervisor.stop(_STOP_STREAMS_S)

    # ── change ───────────────────────────────────────────────────────────────────────────────────────

    async def add(self, spec: StreamSpec, *, check: bool = False) -> StreamSpec:
        """Add a stream and begin it."""
        return await asyncio.to_thread(self._add, spec, check=check)

    async def change(self, name: str, fields: Mapping[str, Any], *, check: bool = False) -> StreamSpec:
        """Change fields of a stream's description; None takes the stream's own value away."""
        return await asyncio.to_thread(self._change, name, fields, check=check)

    async def remove(self, name: str) -> None:
        """End a stream."""
        await asyncio.to_thread(self._remove, name)

    def note(self, name: str, **fields: Any) -> None:
        """Keep fields that have changed already."""
        if self._specs.note(name, fields):
            self._on_note(name)

    def model_path(self, reference: str) -> Path:
        """Return the folder of a bundle that is in use."""
        return self._specs.model_path(reference)

    async def use_model(self, name: str, reference: str) -> None:
        """Give a stream a model of the folder, as ``POST /v1/streams/{stream}/model`` does."""
        path = await asyncio.to_thread(self.model_path, reference)
        if (stream := self._streams.get(name)) is None:
            msg = f"The stream {name!r} is not there any more."
            raise UsageError(msg)
        if stream.model.exists:
            stream.swap.request(path, "ready")
        else:
            check_first_model(stream)
            await self.change(name, {"model": str(path)})

    def _add(self, spec: StreamSpec, *, check: bool) -> StreamSpec:
        with self._changing:
            self._specs.check_new(spec)
            spec = self._specs.completed(spec)
            prepared = self._prepare(spec)
            if check:
                return spec
            self._specs.put(spec.id, spec)
            try:
                self._begin(self._built(prepared))
            except BaseException:
                self._specs.put(spec.id, None)
                raise
        return spec

    def _change(self, name: str, fields: Mapping[str, Any], *, check: bool) -> StreamSpec:
        with self._changing:
            before = self._specs[name]
            after = self._specs.completed(changed(before, fields))
            differing = {key for key, value in after if value != getattr(before, key)}
            if not differing:
                return before
            prepared = self._prepare(after)
            if check:
                return after
            self._specs.put(name, after)
            try:
                if not (differing <= _LIVE and self._apply(self._streams[name], prepared, differing)):
                    self._begin_again(name, prepared, before)
            except BaseException:
                self._specs.put(name, before)
                raise
        return after

    def _remove(self, name: str) -> None:
        with self._changing:
            self._specs[name]
            self._specs.put(name, None)
            stream = self._streams[name]
            self._streams = {key: one for key, one in self._streams.items() if key != name}
            self._end(stream, _ENDS)
            self._builder.forget(name)

    def _prepare(self, spec: StreamSpec) -> PreparedStream:
        """Check a stream as a whole; what is wrong is an error of the request."""
        try:
            check_stream(self.settings, spec)
            return self._builder.prepare(spec)
        except BundleError as error:
            msg = f"model: {error}"
            raise UsageError(msg) from error
        except PolicyError as error:
            msg = f"control: {error}"
            raise UsageError(msg) from error

    def _apply(self, stream: Stream, prepared: PreparedStream, differing: set[str]) -> bool:
        """Change a running stream; returns false if it has to begin again."""
        spec, policy = prepared.spec, prepared.control.policy
        if policy is None and stream.control_setting.policy is not None:
            return False  # a pipeline cannot lose its policy
        if differing & {"control", "paused"}:
            stream.control(
                policy if "control" in differing else None, paused=spec.paused if "paused" in differing else None
            )
        if "osc" in differing:
            send_osc(stream, prepared.own.osc)
        if "participant" in differing:
            if stream.recordings.recorder is not None:
                stream.recordings.end()
            if prepared.own.participant is not None:
                stream.recordings.begin(RecordingRequest(participant=prepared.own.participant))
        return True

    def _begin_again(self, name: str, prepared: PreparedStream, before: StreamSpec) -> None:
        """End a stream and begin it with other settings, or with those before if that fails."""
        old = self._streams[name]
        old.hub.goodbye = RESTARTS
        self._end(old, _RESTARTS)
        self._builder.forget(name)
        try:
            new = self._built(prepared)
            self._begin(new)
        except BaseException:
            self._begin(self._built(self._builder.prepare(before)))
            raise
        if new.model.exists and not old.model.exists:
            about = {"name": new.model.name, "sha256": new.model.sha256}
            message = f"Model {new.model.label} is in use; there was none before."
            new.reporter.emit("model", message, {"state": "swapped", "seq": 0, **about})

    def _built(self, prepared: PreparedStream) -> Stream:
        stream = self._builder.build(prepared)
        stream.on_model_changed = lambda path: self.note(stream.name, model=path)
        return stream

    def _begin(self, stream: Stream) -> None:
        if (before := self._streams.get(stream.name)) is not None:
            stream.markers.follow(before.markers)
        self._streams = {**self._streams, stream.name: stream}
        if self._supervisor is not None:
            self._supervisor.add(stream)

    def _end(self, stream: Stream, reason: str) -> None:
        if self._supervisor is not None:
            self._supervisor.remove(stream, reason, _STOP_STREAMS_S)


async def run_streams(
    registry: StreamRegistry,
    app: FastAPI,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    begun: Callable[[], None] = lambda: None,
    on_refused: Callable[[MindwireError], None],
) -> None:
    """Run streams and their web server until ``stop`` is set, as SIGTERM, SIGHUP and Ctrl-C do.

    The streams stop first, so that every client is notified; then the server closes. Both together take less than two
    seconds.

    Parameters
    ----------
    begun : callable
        Called once clients are answered.
    on_refused : callable
        Called when a stream of the start was refused and no other goes on, or when none was to be waited for; not with
        ``--save-config``, where it can be changed.
    """
    loop = asyncio.get_running_loop()
    first = set(registry.values())
    errors: dict[str, MindwireError] = {}

    def refused(stream: Stream, error: MindwireError) -> None:
        errors[stream.name] = error
        going_on = registry.settings.wait and any(one.name not in errors for one in registry.values())
        if going_on or registry.kept or stream not in first:  # a client that adds a stream reads its state
            log.error("The stream is refused, the service goes on: %s", error, extra=stream.reporter.log_fields())
        else:
            loop.call_soon_threadsafe(on_refused, error)

    if registry.settings.sessions is not None:
        from mindwire.serve.session_recorder import recover_in_background

        recover_in_background(registry.settings.sessions)
    with stop_on_signals(stop), showing_markers(registry, registry.settings.marker_stream):
        async with listening(app, sock, stop):
            registry.start(refused)
            begun()
            await stop.wait()
            await asyncio.to_thread(registry.stop)
