"""Websocket messages of a worker's stream, for one client of the gateway."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from mindwire.serve.gateway.address import Address
from mindwire.sinks.messages import Encoding, Message
from mindwire.sinks.subscription import STOPPED, Goodbye


class RemoteSubscription:
    """Queue of one client; the worker's own queue for it drops messages if it is slow.

    The client outlives the worker: it is sent events of the gateway's own then, and reads on from the worker's successor.

    Parameters
    ----------
    reached : callable
        Returns the address of the worker, None while it has ended and no other has taken its place.
    path : str
        Path of the worker's websocket.
    encoding : Encoding
    """

    def __init__(self, reached: Callable[[], Address | None], path: str, encoding: Encoding) -> None:
        self.encoding = encoding
        self.goodbye = STOPPED
        self.greeted = False  # until the client has had its hello
        self._reached = reached
        self._path = path
        self._closed = False
        self._own: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._upstream: ClientConnection | None = None
        self._lost: Address | None = None
        self._receiving: asyncio.Future[str | bytes] | None = None

    def offer(self, message: Message) -> None:
        """Queue a message of the gateway's own; before its hello a client gets none."""
        if self.greeted:
            self._own.append(message)
            self.wake()

    def close(self) -> None:
        """Let the sender finish: :meth:`next` returns None once what waits has been taken."""
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """Have :meth:`next` look at what has changed."""
        self._changed.set()
        if self._receiving is not None:
            self._receiving.cancel()

    async def next(self) -> Message | None:
        """Return the next message to send; None after the last."""
        while not self._own:
            if self._closed:
                return None
            if self._upstream is None:
                await self._connect()
                continue
            self._receiving = asyncio.ensure_future(self._upstream.recv())
            try:
                return Message(await self._receiving, expendable=True)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
            except ConnectionClosed as closed:
                self._upstream = None
                if closed.rcvd is not None:  # the stream has stopped; otherwise its worker has ended
                    self.goodbye = Goodbye(closed.rcvd.code, closed.rcvd.reason)
                    return None
            finally:
                self._receiving = None
        return self._own.popleft()

    async def _connect(self) -> None:
        """Connect to the worker, or wait until there is another."""
        self._changed.clear()
        address = self._reached()
        if address is None or address is self._lost:
            await self._changed.wait()
            return
        try:
            self._upstream = await address.websocket(self._path, self.encoding.value)
            if self.greeted:
                await self._upstream.recv()  # the client has had its hello
            self.greeted = True
        except (
            OSError,
            InvalidHandshake,
            ConnectionClosed,
        ) as error:  # it has ended, and the next one will have another
            self._upstream, self._lost = None, address
            if isinstance(error, ConnectionClosed) and error.rcvd is not None:  # the stream has been removed
                self.goodbye, self._closed = Goodbye(error.rcvd.code, error.rcvd.reason), True

    def leave(self) -> None:
        """Let go of the worker."""
        if self._upstream is not None:
            self._upstream.transport.close()
