"""One stream of a service: its messages, its clock, markers and commands.

The connection, with websockets, asyncio and ssl, is imported by the first :func:`connect`, and not by a program that
only imports the client: they take more time than all else.
"""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from mindwire_client.address import parse_address
from mindwire_client.clock import Clock
from mindwire_client.commands import Commands
from mindwire_client.errors import ConnectionTimeoutError
from mindwire_client.iterators import CAPACITY, Entry, Messages, MessageT
from mindwire_client.markers import Markers
from mindwire_client.messages import Axes, Connection, Decision, Event, Hello, Message, Missed, Prediction

if TYPE_CHECKING:
    import ssl

    from mindwire_client.connection import Access


def connect(
    url: str,
    *,
    token: str | None = None,
    stream: str | None = None,
    timeout_s: float | None = 10.0,
    tls: ssl.SSLContext | None = None,
    msgpack: bool = True,
) -> Stream:
    """Return a stream to open with ``with`` or ``async with``.

    Parameters
    ----------
    url : str
        ``ws://HOST:PORT/ws`` for the only stream of a service, or the address of a stream's predictions; ``HOST:PORT``,
        ``http`` and ``https`` are taken too.
    token : str, optional
    stream : str, optional
        Name of the stream.
    timeout_s : float or None
        Longest time until the service is reached, in seconds; None to wait for a service that is not there yet. Later
        interruptions may last for any time.
    tls : ssl.SSLContext, optional
        Trust in certificates that the system does not know.
    msgpack : bool
        Take MessagePack where the service offers it.

    Raises
    ------
    ValueError
        The address is none.
    """
    from mindwire_client.connection import Access

    address = parse_address(url)
    access = Access(address, token or address.token, tls, msgpack)
    return Stream(access, stream or address.stream, timeout_s)


class Stream(Commands):
    """Messages of one stream; made by :func:`connect`.

    Entering it waits for the service, and raises at once if the token is wrong or the stream unknown. From then on the
    connection is made again, with growing pauses, however it ends; iterators go on and notices say what was missed.

    Attributes
    ----------
    hello : Hello
        Description of the stream, the newest.
    state : str
        State of the stream as last reported: ``live`` while predictions are fresh; ``unknown`` before the first report
        and without a connection.
    connected : bool
        True while there is a connection.
    clock : Clock
        LSL's clock beside the local one.
    markers : Markers
        Markers to send.
    missed : int
        Predictions that did not reach this program, of which the numbers tell; see :class:`Missed`.
    """

    def __init__(self, access: Access, stream: str | None, timeout_s: float | None) -> None:
        from mindwire_client.connection import Reader
        from mindwire_client.rest import Rest

        self.state, self.connected, self.missed = "unknown", False, 0
        self.clock = Clock()
        self._access, self._timeout_s = access, timeout_s
        self._rest = Rest(access.address, access.token, access.tls, timeout_s or 10.0)
        self._reader = Reader(access, stream, self.clock, self._deliver, self._end)
        self._lock = threading.Lock()
        self._iterators: weakref.WeakSet[Messages[Any]] = weakref.WeakSet()
        self._newest_state: Event | None = None
        self._hello: Hello | None = None
        self._markers: Markers | None = None
        self._ended = False
        self._error: Exception | None = None

    @property
    def hello(self) -> Hello:
        """Description of the stream, the newest."""
        if self._hello is None:
            msg = "The stream is not open; use it in a with or async with statement."
            raise RuntimeError(msg)
        return self._hello

    @property
    def markers(self) -> Markers:
        """Markers to send."""
        if self._markers is None:
            self._markers = Markers(self._rest, self.hello.stream, self.clock)
        return self._markers

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────

    def predictions(self, *, valid: bool = False, capacity: int = CAPACITY) -> Messages[Prediction]:
        """Return an iterator over predictions, or only over the valid ones.

        Parameters
        ----------
        valid : bool
        capacity : int
            Most messages that wait for a slow user.
        """
        return self._add(
            Messages(
                lambda message: isinstance(message, Prediction) and (message.valid or not valid), capacity=capacity
            )
        )

    def decisions(self, *, capacity: int = CAPACITY) -> Messages[Decision]:
        """Return an iterator over decisions."""
        return self._add(Messages(lambda message: isinstance(message, Decision), capacity=capacity))

    def axes(self, *, capacity: int = CAPACITY) -> Messages[Axes]:
        """Return an iterator over the values of the axes."""
        return self._add(Messages(lambda message: isinstance(message, Axes), capacity=capacity))

    def events(self, *kinds: str, capacity: int = CAPACITY) -> Messages[Event]:
        """Return an iterator over events, of all kinds or of those that are named; the newest state is the first."""
        return self._add(
            Messages(
                lambda message: isinstance(message, Event) and (not kinds or message.kind in kinds), capacity=capacity
            )
        )

    def notices(self, *, capacity: int = CAPACITY) -> Messages[Message]:
        """Return an iterator over :class:`Connection` and :class:`Missed` alone."""
        return self.messages(Connection, Missed, capacity=capacity)

    @overload
    def messages(self, *, capacity: int = ...) -> Messages[Message]: ...
    @overload
    def messages(self, *kinds: type[MessageT], capacity: int = ...) -> Messages[MessageT]: ...
    def messages(self, *kinds: type[Message], capacity: int = CAPACITY) -> Messages[Any]:
        """Return an iterator over messages in their order, of all types or of those that are named.

        A :class:`Missed` goes directly before the prediction that follows.
        """
        wanted = kinds or (Message,)
        notices = any(issubclass(Missed, kind) for kind in wanted)
        return self._add(Messages(lambda message: isinstance(message, wanted), notices=notices, capacity=capacity))

    def _add(self, iterator: Messages[MessageT]) -> Messages[MessageT]:
        with self._lock:
            if self._newest_state is not None:
                iterator.offer(Entry(self._newest_state))
            if self._ended:
                iterator.end(self._error)
            self._iterators.add(iterator)
        return iterator

    def _deliver(self, entry: Entry) -> None:
        """Give a message to every iterator; in the reader's thread."""
        message = entry.message
        with self._lock:
            if isinstance(message, Hello):
                self._hello = message
            elif isinstance(message, Connection):
                self.connected = message.connected
                if not message.connected:
                    self.state, self._newest_state = "unknown", None
            elif isinstance(message, Event) and message.kind == "state":
                self.state, self._newest_state = str(message.data.get("state")), message
            elif entry.loss is not None:
                self.missed += entry.loss.n
            for iterator in self._iterators:
                iterator.offer(entry)

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            self._ended, self._error, self.connected = True, error, False
            for iterator in self._iterators:
                iterator.end(error)

    # ── opening and closing ──────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Stream:
        from concurrent.futures import TimeoutError as FutureTimeoutError

        self._reader.start()
        try:
            self._reader.first.result(self._timeout_s)
        except (FutureTimeoutError, TimeoutError) as error:
            self.close()
            raise self._not_reached() from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        import asyncio

        self._reader.start()
        waiting = asyncio.shield(asyncio.wrap_future(self._reader.first))
        try:
            await asyncio.wait_for(waiting, self._timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as error:
            await self.aclose()
            raise self._not_reached() from error
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """End the connection; iterators end after what waits in their queues, and markers are sent for two seconds more."""
        self._reader.stop()
        if self._markers is not None:
            self._markers.close()

    async def aclose(self) -> None:
        """End the connection without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.close)

    def _not_reached(self) -> ConnectionTimeoutError:
        return ConnectionTimeoutError(
            f"{self._access.address.websocket('')} could not be reached within {self._timeout_s} s ({self._reader.reason}); "
            "check address and port, or give a longer timeout_s."
        )
