"""LSL streams on the network: their search, choice and description.

Mindwire never takes the first EEG stream by chance: a selector that fits several streams is refused with the list of all
streams, and one that fits none waits for one.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TypeVar

from mindwire.errors import ResourceError, SourceError, StreamLostError, UsageError
from mindwire.sources.liblsl import LostError, LslTimeoutError, is_predicate, pylsl
from mindwire.sources.stream_xml import FORMATS, parse_xml, signal_info
from mindwire.types import SignalInfo
from mindwire_models.text import counted, printable

T = TypeVar("T")

_SLICE_S = 0.25
_MAX_NAME = 100
# Interval between the questions of a search; see StreamSearch.
RENEW_S = 0.5
# Every outlet was asked once more, so a second one of the same name or identity has answered by then.
TWIN_S = RENEW_S + 0.1
# Both kinds of question were asked, and there was time to answer: an outlet that has not is absent.
ROUND_S = 2 * RENEW_S + 0.2
_POLL_S = 0.05
_RESOLVERS = 4
_REFRESH_S = 0.05
_EXACT = ("name", "type", "source_id", "hostname")

# Bounds of a stream's description, checked by the outlet itself in the search: liblsl would read one of any size into
# memory, several times, before any of it could be checked. The depth counts because liblsl indents.
MAX_DESCRIPTION_DEPTH = 32
DESCRIBABLE = (
    "count(desc//*)<=100000 and count(desc//@*)<=10000 and string-length(desc)<=4000000 "
    f"and not(desc{MAX_DESCRIPTION_DEPTH * '/*'})"
)


def quote(text: str) -> str:
    """Return text as an XPath 1.0 string literal; the language has no escapes, so quotes are chosen or joined."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    parts = ', "\'", '.join(f"'{part}'" for part in text.split("'"))
    return f"concat({parts})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Choice of a stream by the user; everything that is given must hold.

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
        """Predicate to search with: the same for all selectors without one of their own, so that they share a search.

        :meth:`matches` must hold besides. Only streams answer whose description has a size that can be read.
        """
        return f"({self.predicate}) and {DESCRIBABLE}" if self.predicate else DESCRIBABLE

    def matches(self, info: SignalInfo) -> bool:
        """Return true if a stream has the exact values that are given; its outlet evaluates the predicate."""
        return all(getattr(self, key) in (None, getattr(info, key)) for key in _EXACT)

    @property
    def xpath(self) -> str:
        """Predicate of everything that is given."""
        parts = [f"{key}={quote(value)}" for key in _EXACT if (value := getattr(self, key)) is not None]
        if self.predicate is not None:
            parts.append(f"({self.predicate})" if parts else self.predicate)
        return " and ".join(parts)

    def __str__(self) -> str:
        return ",".join(f"{key}={value}" for key, value in asdict(self).items() if value is not None)


@dataclass(frozen=True, slots=True)
class FoundStream:
    """A stream that answered, without its channels' labels: only the full description has those. Inlets take the handle."""

    info: SignalInfo
    handle: pylsl.StreamInfo

    def __str__(self) -> str:
        return describe(self.info)


@contextmanager
def lsl_resources() -> Iterator[None]:
    """Translate errors of liblsl that are neither a loss nor a timeout: no descriptor, thread or memory is left."""
    try:
        yield
    except (LostError, LslTimeoutError):
        raise
    except (RuntimeError, OSError) as error:
        msg = f"LSL fails ({str(error).rstrip('.')}), as it does when too many files are open or memory is short."
        raise ResourceError(msg) from error


def describe(info: SignalInfo) -> str:
    """Return one stream in a few words, for a message."""
    name, kind, source_id, host = (
        printable(text, _MAX_NAME) for text in (info.name, info.type, info.source_id, info.hostname)
    )
    rate = f"{info.sfreq:g} Hz" if info.sfreq else "irregular"
    source = f"source_id={source_id}" if source_id else "no source_id"
    return f"'{name}' (type={kind}, {source}, {counted(info.n_channels, 'channel')}, {rate}, on {host})"


def listing(found: Iterable[FoundStream]) -> str:
    """Return streams as a list for a message, in a stable order."""
    return "; ".join(sorted(map(str, found))) or "none"


def check_predicate(xpath: str) -> None:
    """Refuse an XPath predicate that LSL cannot parse."""
    if not is_predicate(xpath):
        msg = (
            f"The stream predicate {xpath!r} is not valid XPath 1.0; "
            "an example that works is \"starts-with(name,'Bio') and type='EEG'\"."
        )
        raise UsageError(msg)


class _Questions:
    """Questions with one predicate, which all searches with that predicate share.

    liblsl asks at once by multicast, half a second later the known peers one by one, and in a continuous search the next
    time only after another 1.25 s. A new resolver every half second asks both ways that often; each is kept for some
    seconds, because an answer may take that long.
    """

    def __init__(self, xpath: str) -> None:
        self.members = 0
        self.found: list[tuple[float, FoundStream]] = []  # with the time of the newest question that each answered
        self.resolvers: deque[tuple[float, pylsl.ContinuousResolver]] = deque(maxlen=_RESOLVERS)
        self._xpath = xpath
        self._refreshed = 0.0
        self._lock = threading.Lock()
        self._ask()

    def _ask(self) -> None:
        now = time.monotonic()
        with lsl_resources():
            self.resolvers.append((now, pylsl.ContinuousResolver(pred=self._xpath or None)))

    def refresh(self) -> None:
        """Read the answers if that is due and no other thread does; no thread waits for one that hangs in liblsl."""
        if time.monotonic() - self._refreshed < _REFRESH_S or not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self.resolvers[-1][0] >= RENEW_S:
                self._ask()
            answers = {handle.uid(): (at, handle) for at, resolver in self.resolvers for handle in resolver.results()}
            self.found = [(at, found_stream(handle)) for at, handle in answers.values()]
            self._refreshed = time.monotonic()
        finally:
            self._lock.release()


_shared: dict[str, _Questions] = {}
_shared_lock = threading.Lock()


class StreamSearch(AbstractContextManager["StreamSearch"]):
    """Search of the network that goes on until closed.

    All searches with the same predicate share their questions: otherwise each outlet would be asked as often as there are
    streams. Only answers to questions asked after a search began count, for a stream that answered before may be gone.

    Raise ResourceError when LSL has no descriptor, thread or memory left.
    """

    def __init__(self, xpath: str) -> None:
        self._xpath = xpath
        self._begun = time.monotonic()
        self._asked_at: float | None = None
        with _shared_lock:
            if xpath not in _shared:
                _shared[xpath] = _Questions(xpath)
            _shared[xpath].members += 1
            self._questions: _Questions | None = _shared[xpath]

    @property
    def age(self) -> float:
        """Seconds since the first question whose answers count; 0 before that."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def results(self) -> list[FoundStream]:
        """Return the streams that answered within the last two seconds; to be called a few times a second."""
        questions = self._questions
        if questions is None:
            return []
        questions.refresh()
        if self._asked_at is None:
            self._asked_at = min((at for at, _ in questions.resolvers.copy() if at >= self._begun), default=None)
        return [found for at, found in questions.found if at >= self._begun]

    def close(self) -> None:
        """Leave the search; the last to leave ends it."""
        questions, self._questions = self._questions, None
        if questions is not None:
            with _shared_lock:
                questions.members -= 1
                if not questions.members:
                    del _shared[self._xpath]

    def __exit__(self, *_: object) -> None:
        self.close()


def search(
    wanted: Selector, timeout: float, cancelled: threading.Event | None = None
) -> tuple[list[FoundStream], list[FoundStream]]:
    """Search for a stream for ``timeout`` seconds, or until it is cancelled.

    Return the streams that fit, more than one as soon as two have answered, and, if none does, all on the network.
    """
    cancelled = cancelled or threading.Event()
    others: list[FoundStream] = []
    with ExitStack() as searches:
        fitting = searches.enter_context(StreamSearch(wanted.question))
        everything: StreamSearch | None = None
        seen_at = math.inf
        while not cancelled.wait(_POLL_S):
            found = [stream for stream in fitting.results() if wanted.matches(stream.info)]
            seen_at = min(seen_at, fitting.age) if found else math.inf
            if len(found) > 1 or fitting.age >= seen_at + TWIN_S:
                return found, []
            if everything is None and fitting.age >= timeout - ROUND_S:
                everything = searches.enter_context(StreamSearch(""))
            if everything is not None:
                others = everything.results()
            if fitting.age >= timeout and not found:
                break
    return [], others


def found_stream(handle: pylsl.StreamInfo) -> FoundStream:
    """Return a resolver's result with its short description."""
    info = SignalInfo(
        name=handle.name(),
        type=handle.type(),
        sfreq=handle.nominal_srate(),
        n_channels=handle.channel_count(),
        source_id=handle.source_id(),
        uid=handle.uid(),
        hostname=handle.hostname(),
        dtype=("unknown", *FORMATS)[handle.channel_format()],  # LSL numbers them in this order
    )
    return FoundStream(info, handle)


def ask(
    inlet: pylsl.StreamInlet, found: FoundStream, timeout: float, cancelled: threading.Event | None = None
) -> SignalInfo:
    """Return a stream's full description, labels and units included.

    Raise SourceError when it does not answer in time or its description is malformed, StreamLostError when it has gone.
    """
    with answering(found, timeout):
        return signal_info(parse_xml(patiently(inlet.info, timeout, cancelled).as_xml()))


@contextmanager
def answering(found: FoundStream, timeout: float) -> Iterator[None]:
    """Translate errors of liblsl about a stream that has gone, or does not answer in time."""
    try:
        yield
    except LostError as error:
        msg = f"Stream {found} has gone."
        raise StreamLostError(msg) from error
    except LslTimeoutError as error:
        msg = f"Stream {found} is on the network but did not answer within {timeout:g} s; is its program hanging?"
        raise SourceError(msg) from error


def patiently(call: Callable[[float], T], timeout: float, cancelled: threading.Event | None) -> T:
    """Call a function that waits, for ``timeout`` seconds altogether, in slices short enough for a stop to take effect.

    Called again, it must go on waiting for the same answer. Raise LslTimeoutError when time is up or the wait was cancelled.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return call(max(0.0, min(_SLICE_S, left)))
        except LslTimeoutError:
            if left <= _SLICE_S or (cancelled is not None and cancelled.is_set()):
                raise


def full_info(found: FoundStream, timeout: float, cancelled: threading.Event | None = None) -> SignalInfo:
    """Return a stream's full description through an inlet of its own; see :func:`ask`."""
    with lsl_resources():
        return ask(pylsl.StreamInlet(found.handle, max_buflen=1, recover=False), found, timeout, cancelled)


def survey(timeout: float) -> list[SignalInfo]:
    """Return every stream on the network, with labels and units where the stream answers in time.

    Answers are collected for ``timeout`` seconds, one at least on a network without multicast; the full descriptions take
    up to as long again.
    """
    with StreamSearch("") as search, StreamSearch(DESCRIBABLE) as describable:
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            search.results()  # so that the questions go on
            time.sleep(min(0.1, left))
        small = {stream.info.uid for stream in describable.results()}
        found = search.results()

    def info(stream: FoundStream) -> SignalInfo:
        with suppress(SourceError):
            if stream.info.uid in small:
                return full_info(stream, max(timeout, 0.5))
        return stream.info

    with ThreadPoolExecutor(max_workers=16) as pool:
        return sorted(pool.map(info, found), key=lambda info: (info.name, info.source_id, info.uid))
