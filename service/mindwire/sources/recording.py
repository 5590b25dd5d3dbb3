"""What a recording is to everything that reads one, and which reader a file takes.

A recording offers its streams, its markers, and one of its signals as a source of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from mindwire.errors import RecordingError, StreamNotFoundError, UsageError
from mindwire.sources.markers import holds_markers
from mindwire.sources.xdf_chunks import GZIP_MAGIC, MAGIC
from mindwire.types import Chunk, Marker, SignalInfo

FORMATS = "XDF or another format that MNE-Python reads (EDF, BDF, GDF, BrainVision's .vhdr, EEGLAB's .set, FIF …)"
# Files that belong to a recording without being the one to open.
_OPENED_BY = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".dat": ".vhdr", ".fdt": ".set"}
_FOLDERS = (".mff", ".ds", ".mefd")
_USUAL = (".xdf", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set")
_TOLD = 3


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """A stream in a recording.

    Parameters
    ----------
    stream_id : int
        Its number in the file.
    info : SignalInfo
    n_samples : int
        Samples it is said to hold.
    first_time : float or None
        Time of its first sample in seconds; None when it is empty.
    header : str
        Its description as LSL's XML; empty where the format has none.
    """

    stream_id: int
    info: SignalInfo
    n_samples: int
    first_time: float | None
    header: str = ""

    @property
    def is_signal(self) -> bool:
        """Whether it holds a signal: numbers at a regular rate, or EEG whose rate the user has to say."""
        info = self.info
        regular = info.sfreq > 0 or info.type.casefold() == "eeg"
        return info.dtype != "string" and regular and not self.is_markers

    @property
    def is_markers(self) -> bool:
        """Whether it holds a person's or a paradigm's events; see :func:`mindwire.sources.markers.holds_markers`."""
        return holds_markers(self.info)

    def describe(self) -> str:
        """One line for a person."""
        info = self.info
        rate = f"{info.sfreq:g} Hz" if info.sfreq else "irregular"
        return (
            f"id={self.stream_id} name={info.name!r} type={info.type!r} "
            f"({info.n_channels} x {info.dtype}, {rate}, {self.n_samples} samples)"
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """Which stream of a recording the user means; what is None does not matter.

    Parameters
    ----------
    name, type, source_id : str or None
        Compared exactly, ``type`` without regard to case.
    id : int or None
        The stream's number in the file.
    """

    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    id: int | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``name=…,type=…,source_id=…,id=…``; text without ``=`` is a name.

        Raises
        ------
        UsageError
            A key is unknown, or the id is no number.
        """
        if "=" not in text:
            return cls(name=text)
        known = {field.name for field in fields(cls)}
        given: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.partition("=")
            key = key.strip()
            if not equals or key not in known:
                msg = f"Expected a stream as {'=…,'.join(sorted(known))}=…, found {part!r} in {text!r}."
                raise UsageError(msg)
            given[key] = value.strip()
        number = given.pop("id", None)
        if number is not None and not number.isdecimal():
            msg = f"Expected the stream's id as a number, found {number!r}."
            raise UsageError(msg)
        return cls(**given, id=None if number is None else int(number))

    def matches(self, stream: RecordedStream) -> bool:
        """Whether the stream is one that the user may mean."""
        info = stream.info
        return (
            self.name in (None, info.name)
            and (self.type is None or self.type.casefold() == info.type.casefold())
            and self.source_id in (None, info.source_id)
            and self.id in (None, stream.stream_id)
        )


class RecordedSignal(Protocol):
    """A recording's signal as a source of chunks."""

    @property
    def info(self) -> SignalInfo:
        """What the recording says of the signal."""
        ...

    @property
    def n_samples(self) -> int:
        """Samples the recording is said to hold."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The samples from the beginning, in the order of the file; may be called again."""
        ...


class Recording(Protocol):
    """A file with at least one signal."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def streams(self) -> tuple[RecordedStream, ...]:
        """The streams in the order of the file."""
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What of the file was damaged and left out, one sentence each."""
        ...

    def markers(self, stream: str | None = None) -> list[Marker]:
        """Markers in the order of their times, of all marker streams or of one by its name, source id or number."""
        ...

    def signal(self, selector: Selector | None = None) -> RecordedSignal:
        """The EEG signal, or the one selected."""
        ...

    def source(self, stream_id: int) -> RecordedSignal:
        """A stream by its number in the file, markers too: their chunks hold strings in an object array."""
        ...


def told(problems: Sequence[str]) -> str:
    """The first few problems of a recording, to end a message with."""
    return "".join(f" {sentence}" for sentence in problems[:_TOLD])


def choose_signal(
    path: Path, streams: Sequence[RecordedStream], selector: Selector | None, problems: Sequence[str] = ()
) -> RecordedStream:
    """The one stream that is meant.

    Parameters
    ----------
    path : Path
        For messages.
    streams : sequence of RecordedStream
    selector : Selector or None
        None means the only stream of type EEG.
    problems : sequence of str
        What of the file was left out; told when nothing answers.

    Returns
    -------
    RecordedStream

    Raises
    ------
    StreamNotFoundError
        None or several streams answer.
    RecordingError
        The stream is empty, or no signal at all.
    """
    wanted = selector or Selector(type="EEG")
    # Markers may share the EEG's name; a selector that also fits a signal means the signal.
    answering = [stream for stream in streams if wanted.matches(stream)]
    filled = [stream for stream in answering if stream.is_signal and stream.n_samples]
    chosen = filled or answering
    there = "; ".join(stream.describe() for stream in streams) or "no stream at all"
    if not chosen:
        what = "a stream of type EEG" if selector is None else "a stream that answers the selection"
        msg = (
            f"{path}: expected {what}, found {there}; choose one with --stream name=… or --stream id=….{told(problems)}"
        )
        raise StreamNotFoundError(msg)
    if len(chosen) > 1:
        msg = f"{path}: expected one stream, found {len(chosen)} that answer: {there}; choose one with --stream id=…."
        raise StreamNotFoundError(msg)
    stream = chosen[0]
    if not stream.is_signal:
        msg = f"{path}: expected a signal at a regular rate, found {stream.describe()}; choose another with --stream."
        raise RecordingError(msg)
    if not stream.n_samples:
        msg = f"{path}: the stream {stream.describe()} is empty; choose another with --stream name=…."
        raise RecordingError(msg)
    return stream


def open_recording(path: Path | str) -> Recording:
    """Open a recording with the reader that its content calls for.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        The file cannot be read.
    MissingExtraError
        Its format takes MNE-Python, which is not installed.
    """
    path = Path(path)
    from mindwire.sources.xdf import XdfRecording

    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = f"{path}: expected a recording, found neither a file nor a folder."  # a pipe would be waited for
        raise RecordingError(msg)
    if path.is_dir() and path.suffix.casefold() not in _FOLDERS:
        found = sorted(one.name for one in path.iterdir() if one.suffix.casefold() in _USUAL)
        files = f"for example {path / found[0]}" if found else "though none of them is one that Mindwire knows"
        msg = f"{path}: expected a recording, found a folder; give the files in it, {files}."
        raise RecordingError(msg)
    try:
        magic = b""
        if not path.is_dir():
            with path.open("rb") as file:
                magic = file.read(len(MAGIC))
    except OSError as error:
        msg = f"{path}: the recording cannot be read ({error.strerror}); check the path."
        raise RecordingError(msg) from error
    compressed = magic.startswith(GZIP_MAGIC) and not path.name.casefold().endswith(".fif.gz")
    if magic == MAGIC or compressed or path.suffix.casefold() == ".xdf":
        return XdfRecording(path)
    header = path.with_suffix(_OPENED_BY.get(path.suffix.casefold(), path.suffix))
    if header != path and header.exists():
        msg = f"{path}: expected a recording's header, found another file of the recording; give {header}."
        raise RecordingError(msg)
    from mindwire.sources.mne_file import MneRecording

    return MneRecording(path)
