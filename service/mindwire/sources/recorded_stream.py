"""Recordings as their readers give them: streams, markers, and signals as sources of chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mindwire.errors import RecordingError, StreamNotFoundError, UsageError
from mindwire.sources.markers import holds_markers
from mindwire.types import Chunk, Marker, SignalInfo

FORMATS = "XDF or another format that MNE-Python reads (EDF, BDF, GDF, BrainVision's .vhdr, EEGLAB's .set, FIF …)"
_MAX_PROBLEMS = 3


@dataclass(slots=True)
class RecordedStream:
    """A stream in a recording."""

    stream_id: int  # its number in the file
    info: SignalInfo
    n_samples: int  # as the file states it
    header: str = ""  # its description as LSL's XML, where the format has one

    @property
    def is_signal(self) -> bool:
        """True for numbers at a regular rate, and for EEG whose rate the user has to give."""
        info = self.info
        regular = info.sfreq > 0 or info.type.casefold() == "eeg"
        return info.dtype != "string" and regular and not self.is_markers

    @property
    def is_markers(self) -> bool:
        """True for events; see :func:`mindwire.sources.markers.holds_markers`."""
        return holds_markers(self.info)

    def describe(self) -> str:
        """Return one line for a message."""
        info = self.info
        rate = f"{info.sfreq:g} Hz" if info.sfreq else "irregular"
        return (
            f"id={self.stream_id} name={info.name!r} type={info.type!r} "
            f"({info.n_channels} x {info.dtype}, {rate}, {self.n_samples} samples)"
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """Choice of a stream of a recording; what is None does not matter, nor do capitals of the type."""

    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    id: int | None = None  # its number in the file

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Parse ``name=…,type=…,source_id=…,id=…``; text without ``=`` is a name.

        Raises
        ------
        UsageError
            A key is unknown, or the id is no number.
        """
        if "=" not in text:
            return cls(name=text)
        known = sorted(field.name for field in fields(cls))
        given: dict[str, Any] = {}
        for part in text.split(","):
            key, equals, value = map(str.strip, part.partition("="))
            if not equals or key not in known:
                msg = f"Expected a stream as {'=…,'.join(known)}=…, found {part!r} in {text!r}."
                raise UsageError(msg)
            if key == "id" and not value.isdecimal():
                msg = f"Expected the stream's id as a number, found {value!r}."
                raise UsageError(msg)
            given[key] = int(value) if key == "id" else value
        return cls(**given)

    def matches(self, stream: RecordedStream) -> bool:
        """Return true if the stream has everything that is given."""
        info = stream.info
        return (
            self.name in (None, info.name)
            and (self.type is None or self.type.casefold() == info.type.casefold())
            and self.source_id in (None, info.source_id)
            and self.id in (None, stream.stream_id)
        )


@dataclass(frozen=True, slots=True)
class RecordedSignal:
    """A stream of a recording as a source of chunks: from the beginning, in the order of the file, as often as called.

    Markers are strings in an object array.
    """

    info: SignalInfo
    n_samples: int
    chunks: Callable[[], Iterator[Chunk]]


class Recording(ABC):
    """A file with at least one signal."""

    path: Path

    @property
    @abstractmethod
    def streams(self) -> tuple[RecordedStream, ...]:
        """Streams in the order of the file."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Damage that was left out, one sentence each; complete once everything has been read."""
        return ()

    @abstractmethod
    def markers(self, stream: str | None = None) -> list[Marker]:
        """Return the markers in the order of time, of all marker streams or of one.

        Parameters
        ----------
        stream : str or None
            Name, source id or number in the file, ``id=…`` and the like, or the label of a stimulus channel. None takes
            stimulus channels where no marker stream holds a cue.
        """

    @abstractmethod
    def source(self, stream_id: int) -> RecordedSignal:
        """Return a stream by its number in the file, whatever it holds."""

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """Return the selected signal; without a selector the only one of type EEG. Errors as of :func:`choose_signal`."""
        return self.source(choose_signal(self.path, self.streams, selector, self.problems).stream_id)


def first_problems(problems: Sequence[str]) -> str:
    """Return the first few problems of a recording, to end a message with."""
    return "".join(f" {sentence}" for sentence in problems[:_MAX_PROBLEMS])


def choose_signal(
    path: Path, streams: Sequence[RecordedStream], selector: Selector | None, problems: Sequence[str] = ()
) -> RecordedStream:
    """Return the one stream that a selector means, or the only one of type EEG; damage is reported when none matches.

    Raises
    ------
    StreamNotFoundError
        No stream matches, or several.
    RecordingError
        The stream is empty, or no signal.
    """
    wanted = selector or Selector(type="EEG")
    # Markers may share the EEG's name; a selector that also fits a signal means the signal.
    answering = [stream for stream in streams if wanted.matches(stream)]
    filled = [stream for stream in answering if stream.is_signal and stream.n_samples]
    chosen = filled or answering
    there = "; ".join(stream.describe() for stream in streams) or "no stream at all"
    if not chosen:
        expected = "a stream of type EEG" if selector is None else "a stream that answers the selection"
        advice = f"choose one with --stream name=… or --stream id=….{first_problems(problems)}"
        msg = f"{path}: expected {expected}, found {there}; {advice}"
        raise StreamNotFoundError(msg)
    if len(chosen) > 1:
        msg = f"{path}: expected one stream, found {len(chosen)} that answer: {there}; choose one with --stream id=…."
        raise StreamNotFoundError(msg)
    [stream] = chosen
    if not filled:
        found = f"the stream {stream.describe()} is empty; choose another with --stream name=…."
        if not stream.is_signal:
            found = f"expected a signal at a regular rate, found {stream.describe()}; choose another with --stream."
        msg = f"{path}: {found}"
        raise RecordingError(msg)
    return stream
