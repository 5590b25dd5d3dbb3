"""A TCP proxy on loopback that delays what passes: by a constant time in one direction, and at random in both."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def slow_network(target: str, *, jitter_s: float = 0.0, there_s: float = 0.0, seed: int = 1) -> Iterator[str]:
    """Yield ``HOST:PORT`` of the proxy; bytes keep their order.

    Parameters
    ----------
    target : str
        ``HOST:PORT`` of the service.
    jitter_s : float
        Each piece of data waits between 0 and this, in either direction.
    there_s : float
        What the client sends waits this long in addition.
    """
    host, port = target.rsplit(":", 1)
    chance = random.Random(seed)
    loop = asyncio.new_event_loop()
    connected: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, least: float) -> None:
        sending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await sending.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    break
                writer.write(data)
                await writer.drain()

        sender = asyncio.ensure_future(send())
        try:
            data = b" "
            while data:
                data = await reader.read(65536)
                sending.put_nowait((loop.time() + least + chance.uniform(0.0, jitter_s), data))
            await sender
        except (ConnectionError, asyncio.CancelledError):
            sender.cancel()
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connected.add(task)
        task.add_done_callback(connected.discard)
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pass_on(reader, back, there_s), pass_on(there, writer, 0.0))

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(connect, "127.0.0.1", 0)

    async def end(server: asyncio.Server) -> None:
        server.close()
        for task in list(connected):
            task.cancel()
        await asyncio.gather(*connected, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
