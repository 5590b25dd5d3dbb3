"""Finding LSL streams by what the user says of them, and describing those that are there.

Mindwire never takes the first EEG stream by chance: a description that fits several streams is refused
with the list of what is there, and one that fits none is waited for.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Self, TypeVar

from mindwire.cores import unhurried
from mindwire.errors import ResourceError, SourceError, StreamLostError, UsageError
from mindwire.sources.liblsl import LostError, LslTimeoutError, handle_error, pylsl
from mindwire.sources.liblsl import lib as _liblsl
from mindwire.sources.stream_xml import parse_xml
from mindwire.sources.stream_xml import signal_info as info_from_xml
from mindwire.types import SignalInfo
from mindwire_models.text import counted, printable

_liblsl.lsl_time_correction_ex.restype = ctypes.c_double

T = TypeVar("T")

# LSL types of the outlets that Mindwire itself opens.
PREDICTIONS_TYPE = "Probabilities"
EVENTS_TYPE = "Events"
INPUT_TYPE = "Input"
OWN_TYPES = (PREDICTIONS_TYPE, EVENTS_TYPE, INPUT_TYPE)
_SLICE_S = 0.25
_MAX_NAME = 100
# Both kinds of question are asked this often; see StreamSearch.
RENEW_S = 0.5
_RESOLVERS = 4
_FORMATS = {
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "double64",
    pylsl.cf_string: "string",
    pylsl.cf_int32: "int32",
    pylsl.cf_int16: "int16",
    pylsl.cf_int8: "int8",
    pylsl.cf_int64: "int64",
}


# What a stream's description may hold, asked of the outlet itself in the search: liblsl would read one of any size into
# memory, several times over, before anything of it could be seen. The depth counts because liblsl indents.
MAX_DESCRIPTION_DEPTH = 32
DESCRIBABLE = (
    "count(desc//*)<=100000 and count(desc//@*)<=10000 and string-length(desc)<=4000000 "
    f"and not(desc{MAX_DESCRIPTION_DEPTH * '/*'})"
)


def quote(text: str) -> str:
    """Text as an XPath 1.0 string literal; the language has no escapes, so quotes are chosen or joined."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    parts = ', "\'", '.join(f"'{part}'" for part in text.split("'"))
    return f"concat({parts})"


@dataclass(frozen=True, slots=True)
class Selector:
    """What the user says of the stream they mean; all that is given must hold.

    Parameters
    ----------
    name, type, source_id, hostname : str or None
        Exact values.
    predicate : str or None
        Any XPath 1.0 predicate on the stream's description, such as ``starts-with(name,'X')``.
    """

    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    hostname: str | None = None
    predicate: str | None = None

    @property
    def question(self) -> str:
        """What outlets are asked: the same for all selectors without a predicate; :meth:`matches` must hold besides.

        Only streams answer whose description has a size that can be read.
        """
        return f"({self.predicate}) and {DESCRIBABLE}" if self.predicate else DESCRIBABLE

    def matches(self, info: SignalInfo) -> bool:
        """Whether a stream has the exact values that are given; the predicate is for its outlet to judge."""
        return (
            self.name in (None, info.name)
            and self.type in (None, info.type)
            and self.source_id in (None, info.source_id)
            and self.hostname in (None, info.hostname)
        )

    @property
    def xpath(self) -> str:
        """The predicate to resolve with."""
        exact = ((field.name, getattr(self, field.name)) for field in fields(self)[:4])
        parts = [f"{key}={quote(value)}" for key, value in exact if value is not None]
        if self.predicate is not None:
            parts.append(f"({self.predicate})" if parts else self.predicate)
        return " and ".join(parts)

    def __str__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ",".join(f"{key}={value}" for key, value in given if value is not None)


@dataclass(frozen=True, slots=True)
class FoundStream:
    """A stream that answered, without its channels' labels: those travel only with the full description.

    Parameters
    ----------
    info : SignalInfo
    handle : pylsl.StreamInfo
        What an inlet is made of.
    """

    info: SignalInfo
    handle: pylsl.StreamInfo

    def __str__(self) -> str:
        return describe(self.info)


@contextmanager
def lsl_resources() -> Iterator[None]:
    """Translate the errors of liblsl that are neither a loss nor a timeout: it has no descriptor, thread or memory left.

    Raises
    ------
    ResourceError
        In their place.
    """
    try:
        yield
    except (LostError, LslTimeoutError):
        raise
    except (RuntimeError, OSError) as error:
        msg = f"LSL fails ({str(error).rstrip('.')}), as it does when too many files are open or memory is short."
        raise ResourceError(msg) from error


def describe(info: SignalInfo) -> str:
    """One stream in a few words, for a list in a message."""
    name, kind, source_id, host = (
        printable(text, _MAX_NAME) for text in (info.name, info.type, info.source_id, info.hostname)
    )
    rate = f"{info.sfreq:g} Hz" if info.sfreq else "irregular"
    source = f"source_id={source_id}" if source_id else "no source_id"
    return f"'{name}' (type={kind}, {source}, {counted(info.n_channels, 'channel')}, {rate}, on {host})"


def listing(found: Iterable[FoundStream]) -> str:
    """Streams as a list for a message, in a stable order."""
    lines = sorted(str(stream) for stream in found)
    return "; ".join(lines) if lines else "none"


def check_predicate(xpath: str) -> None:
    """Refuse an XPath predicate that LSL cannot parse.

    Raises
    ------
    UsageError
        It is not XPath 1.0.
    """
    # pylsl turns liblsl's complaint into an empty list, which would read as "nothing there".
    buffer = (ctypes.c_void_p * 1)()
    if _liblsl.lsl_resolve_bypred(ctypes.byref(buffer), 0, xpath.encode(), 0, ctypes.c_double(0.0)) < 0:
        msg = (
            f"The stream predicate {xpath!r} is not valid XPath 1.0; "
            "an example that works is \"starts-with(name,'Bio') and type='EEG'\"."
        )
        raise UsageError(msg)


class StreamSearch:
    """A search that goes on until closed, quick to find and patient with slow answers.

    liblsl asks in waves: at once by multicast, half a second later the known peers one by one, and in a
    continuous search the next time only after another 1.25 s. A fresh resolver every half second asks
    both ways that often; each is kept for some seconds, because an answer may take that long.

    Parameters
    ----------
    xpath : str
        XPath 1.0 predicate; empty for every stream.
    """

    def __init__(self, xpath: str) -> None:
        self._xpath = xpath
        # each with when it was made
        self._resolvers: deque[tuple[float, pylsl.ContinuousResolver]] = deque(maxlen=_RESOLVERS)
        self._begun = time.monotonic()
        self._renew()

    def _renew(self) -> None:
        now = time.monotonic()
        # Whoever decodes must not be interrupted by the threads that wait for answers.
        with lsl_resources(), unhurried():
            self._resolvers.append((now, pylsl.ContinuousResolver(pred=self._xpath or None)))

    @property
    def age(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._begun

    def results(self) -> list[FoundStream]:
        """Streams that answered within the last two seconds; to be called a few times a second."""
        return [found for _, found in self.answers()]

    def answers(self) -> list[tuple[float, FoundStream]]:
        """As :meth:`results`, each with when the newest question was asked that it answered (monotonic time)."""
        if not self._resolvers or time.monotonic() - self._resolvers[-1][0] >= RENEW_S:
            self._renew()
        answered = {handle.uid(): (at, handle) for at, resolver in self._resolvers for handle in resolver.results()}
        return [(at, found_stream(handle)) for at, handle in answered.values()]

    @property
    def asked_at(self) -> list[float]:
        """When the questions were asked whose answers count."""
        return [at for at, _ in self._resolvers]

    def close(self) -> None:
        """End the search."""
        self._resolvers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def found_stream(handle: pylsl.StreamInfo) -> FoundStream:
    """What a resolver found."""
    return FoundStream(_short_info(handle), handle)


def _short_info(handle: pylsl.StreamInfo) -> SignalInfo:
    return SignalInfo(
        name=handle.name(),
        type=handle.type(),
        sfreq=handle.nominal_srate(),
        n_channels=handle.channel_count(),
        source_id=handle.source_id(),
        uid=handle.uid(),
        hostname=handle.hostname(),
        dtype=_FORMATS.get(handle.channel_format(), "unknown"),
    )


def ask(
    inlet: pylsl.StreamInlet, found: FoundStream, timeout: float, cancelled: threading.Event | None = None
) -> SignalInfo:
    """Everything a stream says of itself, labels and units included, asked through an inlet.

    Parameters
    ----------
    inlet : pylsl.StreamInlet
    found : FoundStream
        What the inlet was made of.
    timeout : float
        Seconds to wait for the answer.
    cancelled : threading.Event, optional
        Ends the waiting.

    Raises
    ------
    SourceError
        It did not answer in time, or its description is malformed.
    StreamLostError
        It has gone.
    """
    try:
        return info_from_xml(parse_xml(patiently(inlet.info, timeout, cancelled).as_xml()))
    except LostError as error:
        msg = f"Stream {found} has gone."
        raise StreamLostError(msg) from error
    except LslTimeoutError as error:
        msg = f"Stream {found} is on the network but did not answer within {timeout:g} s; is its program hanging?"
        raise SourceError(msg) from error


def patiently(call: Callable[[float], T], timeout: float, cancelled: threading.Event | None) -> T:
    """Call something of an inlet that waits, in slices short enough for a stop to come through.

    Parameters
    ----------
    call : callable
        Takes seconds to wait; asked again, it goes on waiting for the same answer.
    timeout : float
        Seconds to wait altogether.
    cancelled : threading.Event or None
        Ends the waiting.

    Raises
    ------
    LslTimeoutError
        Time is up, or the waiting was cancelled.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return call(max(0.0, min(_SLICE_S, left)))
        except LslTimeoutError:
            if left <= _SLICE_S or (cancelled is not None and cancelled.is_set()):
                raise


def time_correction(inlet: pylsl.StreamInlet, timeout: float) -> tuple[float, float]:
    """An inlet's clock offset and the round trip of the question for it, both in seconds; pylsl keeps the latter back.

    Raises
    ------
    LslTimeoutError
        There is no estimate yet.
    LostError
        The outlet has gone.
    """
    remote, round_trip, code = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
    offset = _liblsl.lsl_time_correction_ex(
        inlet.obj, ctypes.byref(remote), ctypes.byref(round_trip), ctypes.c_double(timeout), ctypes.byref(code)
    )
    handle_error(code)
    return float(offset), float(round_trip.value)


def survey(timeout: float) -> list[SignalInfo]:
    """Every stream on the network, with labels and units where the stream answers in time.

    Parameters
    ----------
    timeout : float
        Seconds to collect answers, one at least on a network without multicast; asking for the full
        descriptions takes up to as long again.
    """
    found = _all_streams(timeout)
    if not found:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(found))) as pool:
        infos = list(pool.map(lambda each: _info_or_short(each[0], timeout) if each[1] else each[0].info, found))
    return sorted(infos, key=lambda info: (info.name, info.source_id, info.uid))


def _all_streams(timeout: float) -> list[tuple[FoundStream, bool]]:
    """All streams, each with whether its description has a size that can be read."""
    with StreamSearch("") as search, StreamSearch(DESCRIBABLE) as describable:
        while (left := timeout - search.age) > 0:
            time.sleep(min(0.1, left))
        small = {stream.info.uid for stream in describable.results()}
        return [(stream, stream.info.uid in small) for stream in search.results()]


def full_info(found: FoundStream, timeout: float, cancelled: threading.Event | None = None) -> SignalInfo:
    """Everything that a stream says of itself; see :func:`ask`."""
    with lsl_resources():
        return ask(pylsl.StreamInlet(found.handle, max_buflen=1, recover=False), found, timeout, cancelled)


def _info_or_short(found: FoundStream, timeout: float) -> SignalInfo:
    try:
        return full_info(found, max(timeout, 0.5))
    except SourceError:
        return found.info  # it is there, but says no more: the table shows what is known


def library_version() -> str:
    """The version of liblsl in use, such as ``1.18``."""
    version = pylsl.library_version()
    return f"{version // 100}.{version % 100}"
