"""Connection to one stream: a thread with an event loop that reads, connects again and measures the clock."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, cast

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from mindwire_client.address import Address, stream_path
from mindwire_client.clock import Clock
from mindwire_client.errors import ClientError, ProtocolError, TokenError, UnknownStreamError
from mindwire_client.iterators import Entry, Loss
from mindwire_client.messages import PROTOCOL_VERSION, Connection, Hello, Message, Prediction, decode, stamp

MSGPACK, JSON = Subprotocol("mindwire.v1+msgpack"), Subprotocol("mindwire.v1+json")
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 5.0)
_OPEN_S = 10.0
_PING_S, _PONG_S = 10.0, 15.0
_QUICK_TRIPS, _QUICK_S, _TRIP_S = 10, 0.02, 1.0
_CLOSE_TOKEN, _CLOSE_UNKNOWN = 4401, 4404
# The other side says that this client breaks the protocol: connecting again would not help.
_CLOSE_FAULTS = (1002, 1003, 1007, 1008, 1009)
_MAX_BYTES = 1 << 24


class Access(NamedTuple):
    """Address, token and encryption of the connections."""

    address: Address
    token: str | None
    tls: ssl.SSLContext | None
    msgpack: bool = True

    def open(self, path: str, *, messages: bool) -> connect:
        """Return a websocket to open."""
        offered = [MSGPACK, JSON] if self.msgpack else [JSON]
        return connect(
            self.address.websocket(path),
            additional_headers={"Authorization": f"Bearer {self.token}"} if self.token else None,
            subprotocols=offered if messages else None,
            ssl=(self.tls or True) if self.address.encrypted else None,
            compression=None,
            open_timeout=_OPEN_S,
            close_timeout=1.0,
            ping_interval=_PING_S,
            ping_timeout=_PONG_S,
            max_size=_MAX_BYTES,
            proxy=None,
        )


class Reader:
    """Reading thread of one stream.

    Parameters
    ----------
    access : Access
    stream : str or None
        None for the only stream of the service.
    deliver : callable
        Called with each entry, in the reader's thread.
    ended : callable
        Called once with the error that ended the connection for good, or None.
    """

    def __init__(
        self,
        access: Access,
        stream: str | None,
        clock: Clock,
        deliver: Callable[[Entry], None],
        ended: Callable[[Exception | None], None],
    ) -> None:
        self.first: Future[Hello] = Future()
        self.reason = "The service has not been reached yet."
        self.connections = 0
        self._access = access
        self._stream = stream
        self._clock = clock
        self._deliver = deliver
        self._ended = ended
        self._last: int | None = None  # seq of the last prediction
        self._instance = ""
        self._restarted = self._reconnected = False  # since that prediction
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="mindwire-client", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self) -> None:
        """End the connection and the thread."""
        if self._loop is None:
            return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _work(self) -> None:
        error: Exception | None = None
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        try:
            loop.run_until_complete(self._until_stopped())
        except Exception as failure:  # noqa: BLE001  # it is raised where the user waits
            error = failure
        finally:
            loop.close()
            if error is not None and not self.first.done():
                self.first.set_exception(error)
            self._ended(error)

    async def _until_stopped(self) -> None:
        parts = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._measure())]
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([parts[0], stopped], return_when=asyncio.FIRST_COMPLETED)
            if parts[0].done():
                parts[0].result()
        finally:
            for part in (*parts, stopped):
                part.cancel()
            await asyncio.gather(*parts, stopped, return_exceptions=True)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        failures = 0
        while True:
            greeted = self.connections
            try:
                path = "/ws" if self._stream is None else stream_path(self._stream, "/predictions")
                async with self._access.open(path, messages=True) as websocket:
                    await self._receive(websocket)
            except (WebSocketException, OSError, asyncio.TimeoutError, TimeoutError) as error:
                self.reason = self._explain(error)
            if self.connections > greeted:
                failures = 0
                self._reconnected = True
                self._give(Connection(connected=False, reason=self.reason))
            await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    async def _receive(self, websocket: ClientConnection) -> None:
        """Deliver what comes, until the connection ends."""
        while True:
            data = await websocket.recv()
            try:
                message = decode(data)
            except msgspec.DecodeError as error:
                msg = f"Expected a message of the Mindwire protocol, found another one ({error}); check the address."
                raise ProtocolError(msg) from error
            if isinstance(message, Hello):
                self._greet(message)
            elif message is not None:
                self._give(message)

    def _greet(self, hello: Hello) -> None:
        if hello.version != PROTOCOL_VERSION:
            msg = f"Expected version {PROTOCOL_VERSION} of the protocol, found {hello.version}; install another mindwire-client."
            raise ProtocolError(msg)
        self._restarted |= bool(hello.instance and self._instance and hello.instance != self._instance)
        self._instance = hello.instance
        self._stream = hello.stream
        self.connections += 1
        self._give(hello)
        self._give(Connection(connected=True))
        if not self.first.done():
            self.first.set_result(hello)

    def _give(self, message: Message) -> None:
        stamp(message, time.perf_counter(), self._clock.offset_s)
        loss = self._loss_before(message) if isinstance(message, Prediction) else None
        self._deliver(Entry(message, loss))

    def _loss_before(self, prediction: Prediction) -> Loss | None:
        """Compare a number with the last one; where they start again, the first is 0."""
        after, self._last = self._last, prediction.seq
        restarted = after is not None and (self._restarted or prediction.seq <= after)
        reconnected = self._reconnected
        self._restarted = self._reconnected = False
        if after is None:
            return None
        count = prediction.seq if restarted else prediction.seq - after - 1
        return Loss(count, after, 0, reconnected, restarted) if count or restarted else None

    def _explain(self, error: Exception) -> str:
        """Return why there is no connection; raise what waiting would not mend."""
        known = self.connections > 0
        if isinstance(error, ConnectionClosed):
            code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
            if code == _CLOSE_TOKEN:
                raise self._token_error() from error
            if code == _CLOSE_UNKNOWN and not known:
                raise UnknownStreamError(reason) from error
            if code in _CLOSE_FAULTS:
                msg = f"The service ended the connection for good (code {code}): {reason}"
                raise ProtocolError(msg) from error
            return reason or f"The connection was lost (code {code})."
        if isinstance(error, InvalidStatus):
            status, body = error.response.status_code, (error.response.body or b"").decode(errors="replace").strip()
            if status == HTTPStatus.UNAUTHORIZED:
                raise self._token_error() from error
            busy = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
            if not (known or busy):
                msg = f"Expected a websocket of Mindwire, found the status {status} ({body[:200]}); check the address."
                raise ProtocolError(msg) from error
            return f"The service answered with the status {status}."
        if isinstance(error, ssl.SSLCertVerificationError):
            msg = f"The certificate of the service is not trusted ({error.verify_message}); give tls= a context that trusts it."
            raise ClientError(msg) from error
        cut = isinstance(error.__cause__, (EOFError, OSError))  # during the handshake
        if isinstance(error, InvalidHandshake) and not (known or cut):
            msg = f"Expected a websocket of Mindwire, found another answer ({error}); check the address."
            raise ProtocolError(msg) from error
        return str(error) or "The service did not answer in time."

    def _token_error(self) -> TokenError:
        needed, wrong = "The service needs a token; give it", "The token was not accepted; give the right one"
        return TokenError(f"{wrong if self._access.token else needed} with token=.")

    # ── clock ────────────────────────────────────────────────────────────────────────────────────────

    async def _measure(self) -> None:
        """Measure the clock for good; where the service has none, nothing is known of it."""
        while True:
            with suppress(WebSocketException, OSError, asyncio.TimeoutError, msgspec.DecodeError, TimeoutError):
                async with self._access.open("/v1/clock", messages=False) as websocket:
                    await websocket.recv()  # hello
                    n = 0
                    while True:
                        n += 1
                        await self._round_trip(websocket, n)
                        await asyncio.sleep(_QUICK_S if n < _QUICK_TRIPS else _TRIP_S)
            await asyncio.sleep(PAUSES_S[-1] if self._clock.synchronised else PAUSES_S[0])

    async def _round_trip(self, websocket: ClientConnection, number: int) -> None:
        sent = time.perf_counter()
        question = {"type": "clock", "id": number, "sent": sent}
        await websocket.send(msgspec.json.encode(question).decode())
        answer = msgspec.json.decode(await websocket.recv(), type=_Answer)
        self._clock.add(sent, answer.received, answer.answered, time.perf_counter())


class _Answer(msgspec.Struct):
    received: float
    answered: float
