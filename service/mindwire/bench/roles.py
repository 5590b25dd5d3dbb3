"""Roles of the processes of a measurement, started as ``python -m mindwire.bench.roles ROLE ARGUMENTS``.

All read one monotonic clock, which on Linux is LSL's too, and leave their times in an ``.npz`` file.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.types import STAGES, Reason, Window
from mindwire_models.contract import Contract

_SWITCH_INTERVAL_S = 0.0005
_FILL = "x" * 260
# Many outlets sleep at least this long and then push every chunk that is due; they report their lateness.
_SLEEP_S = 0.001
_SEGMENT_SAMPLES = 100_000


def say(text: str) -> None:
    """Write one line to the process that started this one."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def windows_of(contract: Contract, hop: int, count: int, seed: int = 0) -> Iterator[Window]:
    """Yield consecutive windows of a random stream, in contiguous segments of 100,000 samples."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((_SEGMENT_SAMPLES, contract.n_channels)).astype(np.float32)
    identity = np.eye(contract.n_channels, dtype=np.float32)
    per_segment = (_SEGMENT_SAMPLES - contract.window_samples) // hop
    for seq in range(count):
        segment, position = divmod(seq, per_segment)
        end = contract.window_samples + position * hop
        samples = signal[end - contract.window_samples : end]
        yield Window(seq, seq * hop / contract.sfreq, samples, identity, 0, segment, end, Reason.NONE)


def push(name: str, labels: str, sfreq: float, chunk: int, seconds: float, out: str) -> None:  # noqa: PLR0917
    """Push one stream in real time and save when each sample was pushed."""
    import pylsl

    names = labels.split(",")
    outlet = _outlet(name, names, sfreq, chunk)
    say("ready")
    samples = _noise(len(names))
    outlet.wait_for_consumers(60)
    count, epoch = int(seconds * sfreq) // chunk * chunk, pylsl.local_clock() + 0.01
    pushed = np.empty(count)
    for index in range(0, count, chunk):
        time.sleep(max(0.0, epoch + (index + chunk - 1) / sfreq - pylsl.local_clock()))
        stamps = epoch + (index + np.arange(chunk)) / sfreq
        at = index % 4000
        pushed[index : index + chunk] = pylsl.local_clock()
        outlet.push_chunk(samples[at : at + chunk], stamps.tolist())
    np.savez(out, pushed=pushed, epoch=epoch, sfreq=sfreq)
    time.sleep(1.0)


def outlets(name: str, labels: str, sfreq: float, chunk: int, n: int) -> None:
    """Push ``n`` streams in real time, their chunks spread evenly, from the line ``begin`` to the line ``end``.

    Answers the second line with the lateness of the pushes, as JSON.
    """
    import pylsl

    with suppress(AttributeError, OSError):  # do not preempt the service; not every system allows it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    names = labels.split(",")
    # With liblsl's synchronous transport a push writes to the network itself instead of waking a thread per outlet.
    made = [_outlet(f"{name}-{i}", names, sfreq, chunk, pylsl.transp_sync_blocking) for i in range(n)]
    samples = _noise(len(names))
    say("ready")
    sys.stdin.readline()
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    period = chunk / sfreq
    epoch, turn, late = pylsl.local_clock() + 0.01, 0, []
    while not stop.is_set():
        for index, outlet in enumerate(made):
            due = epoch + (turn + index / n) * period
            wait = due - pylsl.local_clock()
            if wait > 0:
                time.sleep(max(wait, _SLEEP_S))
            at = (turn * chunk + 17 * index) % 4000
            outlet.push_chunk(samples[at : at + chunk], due)  # one time stamp per chunk, as most drivers send
            late.append(pylsl.local_clock() - due)
        turn += 1
    quantiles = np.quantile(late[len(late) // 4 :], [0.5, 0.99, 1.0]) * 1e3
    say(json.dumps({"chunks": turn, "late_ms": dict(zip(("p50", "p99", "max"), quantiles.tolist(), strict=True))}))


def _outlet(name: str, labels: list[str], sfreq: float, chunk: int, transport: int = 0) -> Any:
    import pylsl

    info = pylsl.StreamInfo(name, "EEG", len(labels), sfreq, "float32", name)
    info.set_channel_labels(labels)
    info.set_channel_units("microvolts")
    return pylsl.StreamOutlet(info, chunk, 60, transport)


def _noise(n_channels: int) -> Any:
    return (np.random.default_rng(0).standard_normal((4096, n_channels)) * 20).astype(np.float32)


def pull(name: str, seconds: float, hop: int, out: str) -> None:
    """Save when each ``hop``-th sample of an outlet was pulled.

    Ends with the outlet, after ``seconds`` of signal, or when none comes for three seconds.
    """
    import pylsl
    from pylsl.util import LostError

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, 1, 20)[0], recover=False)
    buffer = np.empty((256, inlet.info(5).channel_count()), dtype=np.float32)
    inlet.open_stream(5)
    say("ready")
    times: list[float] = []
    received: list[float] = []
    count, newest = 0, time.monotonic()
    while time.monotonic() - newest < (3.0 if count else 60.0) and (len(times) < 2 or times[-1] - times[0] < seconds):
        try:
            _, stamps = inlet.pull_chunk(0.25, 256, dest_obj=buffer, min_samples=1, as_numpy=True)
        except LostError:
            break
        now = pylsl.local_clock()
        newest = time.monotonic() if len(stamps) else newest
        for stamp in stamps:
            count += 1
            if count % hop == 0:
                times.append(stamp)
                received.append(now)
    np.savez(out, times=times, received=received)


def client(urls: str, seconds: float, out: str) -> None:
    """Save when each prediction came to websocket clients (addresses separated by commas), its stages, and when decisions came.

    Ends ``seconds`` after the first prediction, or when none comes for three seconds.
    """
    import websockets

    times: list[float] = []
    received: list[float] = []
    stages: list[list[float]] = []
    decided: list[tuple[float, float]] = []

    async def receive(connection: websockets.ClientConnection) -> None:
        while not received or received[-1] - received[0] < seconds:
            try:
                text = await asyncio.wait_for(connection.recv(), 3.0 if times else 60.0)
            except (TimeoutError, websockets.ConnectionClosed):
                break
            now = time.monotonic()
            message = json.loads(text)
            if message["type"] == "prediction":
                spent = message.get("latency_ms", {})
                times.append(message["time"])
                stages.append([spent.get(stage, 0.0) for stage in STAGES])
                received.append(now)
            elif message["type"] == "decision":
                decided.append((message["time"], now))

    async def receive_all() -> None:
        async with AsyncExitStack() as stack:
            connecting = [websockets.connect(url, compression=None) for url in urls.split(",")]
            connections = [await stack.enter_async_context(one) for one in connecting]
            say("ready")
            await asyncio.gather(*map(receive, connections))
        np.savez(out, times=times, received=received, stages=stages, decided=decided)

    _run(receive_all())


def osc(out: str) -> None:
    """Save when each decision came as an OSC message; writes the port first. Ends when none comes for three seconds."""
    from pythonosc.osc_message import OscMessage

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    times: list[float] = []
    received: list[float] = []
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        say(str(receiver.getsockname()[1]))
        receiver.settimeout(60.0)
        with suppress(TimeoutError):
            while True:
                data = receiver.recv(65536)
                now = time.monotonic()
                message = OscMessage(data)
                if message.address.endswith("/decision"):
                    times.append(message.params[3])
                    received.append(now)
                    receiver.settimeout(3.0)
    np.savez(out, times=times, received=received)


def bare(period: float) -> None:
    """Serve a websocket without Mindwire: a thread hands a message of 300 bytes to the loop every period."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    sys.setswitchinterval(_SWITCH_INTERVAL_S)

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
    """Call the decoder alone at the cadence of a stream and save the time of each call."""
    from mindwire.inference.load import load_decoder
    from mindwire_models.bundle import load_bundle

    bundle = load_bundle(Path(model))
    decoder = load_decoder(bundle)
    session, spent, due = decoder.session(), [], time.monotonic()
    for window in windows_of(bundle.contract, hop, int(seconds / period)):
        due += period
        time.sleep(max(0.0, due - time.monotonic()))
        begin = time.perf_counter()
        decoder.decode([session], [window])
        spent.append(time.perf_counter() - begin)
    np.savez(out, spent=spent)


def _run(main: Any) -> None:
    try:
        import uvloop
    except ImportError:  # not available on Windows
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


_ROLES: dict[str, tuple[Any, tuple[type, ...]]] = {
    "push": (push, (str, str, float, int, float, str)),
    "outlets": (outlets, (str, str, float, int, int)),
    "pull": (pull, (str, float, int, str)),
    "client": (client, (str, float, str)),
    "osc": (osc, (str,)),
    "bare": (bare, (float,)),
    "decode": (decode, (str, int, float, float, str)),
}

if __name__ == "__main__":
    role, kinds = _ROLES[sys.argv[1]]
    role(*(kind(value) for kind, value in zip(kinds, sys.argv[2:], strict=True)))
