"""What each process of a latency measurement does; started as ``python -m mindwire.bench.roles ROLE …``.

All read one monotonic clock, which on Linux is LSL's too, and leave their times in a file of numpy's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.audience import audience, fan, say

STAGES = ("receive", "condition", "wait", "decode")
SWITCH_INTERVAL_S = 0.0005
_FILL = "x" * 260
# A crowd of outlets sleeps so long at least, and then pushes all that has fallen due; how late it was, it says.
_CROWD_WAKES_S = 0.001


def push(name: str, labels: str, sfreq: float, chunk: int, seconds: float, out: str) -> None:  # noqa: PLR0917
    """One outlet in real time; notes when each sample was pushed."""
    import pylsl

    outlet = _outlet(name, labels.split(","), sfreq, chunk)
    say("ready")
    samples = _noise(len(labels.split(",")))
    outlet.wait_for_consumers(60)
    count, epoch = int(seconds * sfreq) // chunk * chunk, pylsl.local_clock() + 0.01
    pushed = np.empty(count)
    for index in range(0, count, chunk):
        wait = epoch + (index + chunk - 1) / sfreq - pylsl.local_clock()
        if wait > 0:
            time.sleep(wait)
        stamps = epoch + (index + np.arange(chunk)) / sfreq
        at = index % 4000
        pushed[index : index + chunk] = pylsl.local_clock()
        outlet.push_chunk(samples[at : at + chunk], stamps.tolist())
    np.savez(out, pushed=pushed, epoch=epoch, sfreq=sfreq)
    time.sleep(1.0)


def crowd(name: str, labels: str, sfreq: float, chunk: int, n: int) -> None:
    """Many outlets in real time, their chunks spread evenly; begins when told, ends when told, and says its lag.

    Reads lines: ``begin``, then ``end``; answers the second with the times it pushed late by, as JSON.
    """
    import pylsl

    # The outlets of other machines would not interrupt the service.
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    names = labels.split(",")
    # By liblsl's synchronous transport a push writes to the network itself, instead of waking a thread with each sample.
    outlets = [_outlet(f"{name}-{i}", names, sfreq, chunk, pylsl.transp_sync_blocking) for i in range(n)]
    samples = _noise(len(names))
    say("ready")
    sys.stdin.readline()
    stop = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    period = chunk / sfreq
    epoch, turn, late = pylsl.local_clock() + 0.01, 0, []
    while not stop.is_set():
        for index, outlet in enumerate(outlets):
            due = epoch + (turn + index / n) * period
            wait = due - pylsl.local_clock()
            if wait > 0:
                # not woken for each: outlets of other machines would not take this one's time
                time.sleep(max(wait, _CROWD_WAKES_S))
            at = (turn * chunk + 17 * index) % 4000
            # one stamp, as most devices' programs give it: liblsl dates the earlier samples back by the nominal rate
            outlet.push_chunk(samples[at : at + chunk], due)
            late.append(pylsl.local_clock() - due)
        turn += 1
    quantiles = np.quantile(late[len(late) // 4 :], [0.5, 0.99, 1.0]) * 1e3
    say(json.dumps({"chunks": turn, "late_ms": dict(zip(("p50", "p99", "max"), quantiles.tolist(), strict=True))}))


def _outlet(name: str, labels: list[str], sfreq: float, chunk: int, transport: int = 0) -> Any:
    import pylsl

    info = pylsl.StreamInfo(name, "EEG", len(labels), sfreq, "float32", name)
    channels = info.desc().append_child("channels")
    for label in labels:
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", "microvolts")
    return pylsl.StreamOutlet(info, chunk, 60, transport)


def _noise(n_channels: int) -> Any:
    return (np.random.default_rng(0).standard_normal((4096, n_channels)) * 20).astype(np.float32)


def pull(name: str, seconds: float, hop: int, out: str) -> None:
    """LSL alone: when each sample that would end a window was pulled; also of a prediction outlet, with hop 1.

    Ends with the outlet, after so much signal, or when none comes for three seconds.
    """
    import pylsl
    from pylsl.util import LostError

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, 1, 20)[0], recover=False)
    buffer = np.empty((256, inlet.info(5).channel_count()), dtype=np.float32)
    inlet.open_stream(5)
    say("ready")
    times: list[float] = []
    received: list[float] = []
    count, heard = 0, time.monotonic()
    while time.monotonic() - heard < (3.0 if count else 60.0) and (len(times) < 2 or times[-1] - times[0] < seconds):
        try:
            _, stamps = inlet.pull_chunk(0.25, 256, dest_obj=buffer, min_samples=1, as_numpy=True)
        except LostError:
            break
        now = pylsl.local_clock()
        heard = time.monotonic() if len(stamps) else heard
        for stamp in stamps:
            count += 1
            if count % hop == 0:
                times.append(stamp)
                received.append(now)
    np.savez(out, times=times, received=received)


def client(urls: str, seconds: float, out: str) -> None:
    """Websocket clients, a comma between their addresses: when each prediction came, and the service's word on its stages.

    Ends so long after the first one, or when none comes for three seconds.
    """
    import websockets

    times: list[float] = []
    received: list[float] = []
    stages: list[list[float]] = []

    async def listen(connection: websockets.ClientConnection) -> None:
        while not received or received[-1] - received[0] < seconds:
            try:
                text = await asyncio.wait_for(connection.recv(), 3.0 if times else 60.0)
            except (TimeoutError, websockets.ConnectionClosed):
                break
            now = time.monotonic()
            message = json.loads(text)
            if message["type"] == "prediction":
                told = message.get("latency_ms", {})
                times.append(message["time"])
                stages.append([told.get(stage, 0.0) for stage in STAGES])
                received.append(now)

    async def listen_to_all() -> None:
        async with AsyncExitStack() as stack:
            connecting = [websockets.connect(url, compression=None) for url in urls.split(",")]
            connections = [await stack.enter_async_context(one) for one in connecting]
            say("ready")
            await asyncio.gather(*map(listen, connections))
        np.savez(out, times=times, received=received, stages=stages)

    _run(listen_to_all())


def bare(period: float) -> None:
    """A websocket server without Mindwire: a thread hands a message of 300 bytes to the loop every period."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[float] = asyncio.Queue()

        def produce() -> None:
            due = time.monotonic()
            while not loop.is_closed():
                due += period
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    loop.call_soon_threadsafe(queue.put_nowait, time.monotonic())
                except RuntimeError:
                    return

        threading.Thread(target=produce, daemon=True).start()
        with suppress(WebSocketDisconnect):
            while True:
                sent = await queue.get()
                await connection.send_text(f'{{"type": "prediction", "time": {sent:.9f}, "fill": "{_FILL}"}}')

    app = Starlette(routes=[WebSocketRoute("/ws", socket)])
    config = uvicorn.Config(app, port=0, ws="websockets-sansio", ws_per_message_deflate=False, log_level="warning")
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has nothing to wait for
            await asyncio.sleep(0.01)
        say(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
        await task

    _run(run())


def decode(model: str, hop: int, period: float, seconds: float, out: str) -> None:
    """The decoder alone, called at the cadence of the stream."""
    from mindwire.inference.load import load_decoder
    from mindwire_models.bundle import load_bundle

    decoder = load_decoder(load_bundle(Path(model)))
    law = load_bundle(Path(model)).contract
    from mindwire.bench.windows import windows_of

    session, spent, due = decoder.session(), [], time.monotonic()
    for window in windows_of(law, hop, int(seconds / period)):
        due += period
        time.sleep(max(0.0, due - time.monotonic()))
        begin = time.perf_counter()
        decoder.decode([session], [window])
        spent.append(time.perf_counter() - begin)
    np.savez(out, spent=spent)


def _run(main: Any) -> None:
    try:
        import uvloop
    except ImportError:  # not made for Windows
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


_ROLES: dict[str, tuple[Any, tuple[type, ...]]] = {
    "push": (push, (str, str, float, int, float, str)),
    "crowd": (crowd, (str, str, float, int, int)),
    "pull": (pull, (str, float, int, str)),
    "audience": (audience, (int, str, int)),
    "fan": (fan, (int, float)),
    "client": (client, (str, float, str)),
    "bare": (bare, (float,)),
    "decode": (decode, (str, int, float, float, str)),
}

if __name__ == "__main__":
    role, kinds = _ROLES[sys.argv[1]]
    role(*(kind(value) for kind, value in zip(kinds, sys.argv[2:], strict=True)))
