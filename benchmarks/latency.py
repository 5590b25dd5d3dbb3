"""From an outlet's push in one process to a websocket client's receive in another, beside the raw floor.

The floor is what the parts cost without Mindwire between them, measured in the same run, each in processes
of its own: LSL alone (push → pull), the decoder alone called at the same cadence, and a bare websocket
server (send in a thread → receive in the client). CPU of the service is told idle and with data.

    python benchmarks/latency.py --seconds 60 --out latency.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
LSL_CONFIG = """[ports]
IPv6 = disable
PortRange = 256
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
Interfaces = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[log]
level = -3
"""
STAGES = ("receive", "condition", "decode")
MESSAGE = json.dumps({"type": "prediction", "time": 0.0, "fill": "x" * 260})


# ── the processes ────────────────────────────────────────────────────────────────────────────────────


def push(name: str, labels: str, sfreq: float, chunk: int, seconds: float, out: str) -> None:
    """An outlet in real time; writes when each sample was pushed."""
    import pylsl

    names = labels.split(",")
    info = pylsl.StreamInfo(name, "EEG", len(names), sfreq, "float32", name)
    channels = info.desc().append_child("channels")
    for label in names:
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", "microvolts")
    outlet = pylsl.StreamOutlet(info, chunk, 60)
    print("ready", flush=True)
    samples = (np.random.default_rng(0).standard_normal((4096, len(names))) * 20).astype(np.float32)
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


def pull(name: str, seconds: float, hop: int, out: str) -> None:
    """LSL alone: when each sample that would end a window was pulled."""
    import pylsl

    sys.setswitchinterval(0.0005)
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, 1, 20)[0], recover=False)
    channels = inlet.info(5).channel_count()
    buffer = np.empty((256, channels), dtype=np.float32)
    inlet.open_stream(5)
    times, received, count, end = [], [], 0, time.monotonic() + seconds + 3
    while time.monotonic() < end:
        try:
            _, stamps = inlet.pull_chunk(0.25, 256, dest_obj=buffer, min_samples=1, as_numpy=True)
        except pylsl.util.LostError:
            break
        now = pylsl.local_clock()
        for stamp in stamps:
            count += 1
            if count % hop == 0:
                times.append(stamp)
                received.append(now)
    np.savez(out, times=times, received=received)


def client(url: str, seconds: float, out: str) -> None:
    """A websocket client that notes when each prediction came."""
    import uvloop
    import websockets

    async def listen() -> None:
        times, received, stages = [], [], []
        async with websockets.connect(url, compression=None) as connection:
            print("ready", flush=True)
            end = time.monotonic() + seconds + 6
            while time.monotonic() < end:
                try:
                    text = await asyncio.wait_for(connection.recv(), 3.0 if times else 30.0)
                except (TimeoutError, websockets.ConnectionClosed):
                    break
                now = time.monotonic()
                message = json.loads(text)
                if message["type"] == "prediction":
                    times.append(message["time"])
                    stages.append([message.get("latency_ms", {}).get(stage, np.nan) for stage in STAGES])
                    received.append(now)
        np.savez(out, times=times, received=received, stages=stages)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(listen())


def bare_server(period: float) -> None:
    """A websocket server without Mindwire: a thread hands a message of 300 bytes to the loop every period."""
    import uvicorn
    import uvloop
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    from service.api.server import SERVER_SETTINGS, bind_socket

    sys.setswitchinterval(0.0005)
    text = MESSAGE.replace("0.0", "{time:.9f}", 1)

    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()
        gone = threading.Event()

        def produce() -> None:
            due = time.monotonic()
            while not gone.is_set():
                due += period
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                    loop.call_soon_threadsafe(queue.put_nowait, time.monotonic())

        threading.Thread(target=produce, daemon=True).start()
        try:
            while True:
                sent = await queue.get()
                await connection.send_text(text.replace("{time:.9f}", f"{sent:.9f}"))
        except WebSocketDisconnect:
            gone.set()

    app = Starlette(routes=[WebSocketRoute("/ws", socket)])
    sock = bind_socket("127.0.0.1", 0)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, **SERVER_SETTINGS))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[sock]))


def decode(model: str, period: float, seconds: float, out: str) -> None:
    """The decoder alone, called at the cadence of the stream."""
    from models.bundle import load_bundle
    from service.inference.load import load_decoder
    from service.types import Reason, Window

    bundle = load_bundle(model)
    law, decoder = bundle.contract, load_decoder(bundle)
    session = decoder.session()
    signal = np.random.default_rng(0).standard_normal((100_000, law.n_channels)).astype(np.float32)
    identity, spent, due = np.eye(law.n_channels, dtype=np.float32), [], time.monotonic()
    for seq in range(int(seconds / period)):
        due += period
        time.sleep(max(0.0, due - time.monotonic()))
        start = seq * law.hop_samples % (len(signal) - law.window_samples)
        window = Window(
            seq=seq, time=0.0, samples=signal[start : start + law.window_samples], alignment=identity,
            alignment_version=0, segment=start // law.hop_samples, end=start + law.window_samples, reasons=Reason.NONE,
        )  # fmt: skip
        begin = time.perf_counter()
        decoder.decode([session], [window])
        spent.append(time.perf_counter() - begin)
    np.savez(out, spent=spent)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────


class Run:
    """Starts the processes of one phase after another and reads what they wrote."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        from models.bundle import load_bundle

        self.arguments = arguments
        self.folder = folder
        self.contract = load_bundle(arguments.model).contract
        self.hop = arguments.hop or self.contract.hop_samples
        self.period = self.hop / self.contract.sfreq
        self.name = f"bench-{uuid.uuid4().hex[:6]}"

    def start(self, stack: ExitStack, *command: object) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True)

        def end() -> None:
            process.terminate()
            process.wait(10)
            process.stdout.close()

        stack.callback(end)
        return process

    def role(self, stack: ExitStack, role: str, *values: object) -> subprocess.Popen:
        return self.start(stack, __file__, "--role", role, *values)

    def push(self, stack: ExitStack, name: str, seconds: float) -> tuple[subprocess.Popen, Path]:
        out = self.folder / f"{name}.npz"
        values = (name, ",".join(self.contract.channels), self.contract.sfreq, self.arguments.chunk, seconds, out)
        process = self.role(stack, "push", *values)
        process.stdout.readline()
        return process, out

    def end_to_end(self) -> dict:
        warm = self.contract.window_samples / self.contract.sfreq + 2
        seconds = self.arguments.seconds + warm
        with ExitStack() as stack:
            serve = self.start(
                stack, "-m", "service", "serve", "--model", self.arguments.model, "--port", 0,
                "--hop", self.hop, "--stream", f"id=bench,name={self.name}", "--log-level", "error",
            )  # fmt: skip
            address = re.search(r"http://(\S+)", serve.stdout.readline())[1]
            time.sleep(5)
            cpu = {"searching": _cpu(serve.pid, 5)}
            listener = self.role(
                stack, "client", f"ws://{address}/v1/streams/bench/predictions", seconds, self.folder / "client.npz"
            )
            listener.stdout.readline()
            pusher, out = self.push(stack, self.name, seconds)
            time.sleep(warm + 3)
            cpu["with data"] = _cpu(serve.pid, min(10, self.arguments.seconds / 2))
            pusher.wait(seconds + 30)
            listener.wait(30)
            rss = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{serve.pid}/status").read_text())[1]) / 1024
        got, sent = np.load(self.folder / "client.npz"), np.load(out)
        index = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
        latency = (got["received"] - sent["pushed"][index]) * 1e3
        expected = (len(sent["pushed"]) - self.contract.window_samples) // self.hop + 1
        first = int(2 / self.period)
        # what the service says of itself, beside the time before the pull and after the decoder
        stages = got["stages"][first:]
        inside = dict(zip(STAGES, stages.T, strict=True))
        late = (sent["pushed"][index] - got["times"])[first:] * 1e3
        inside["receive"] = inside["receive"] - late
        inside["publish"] = latency[first:] - inside["receive"] - inside["condition"] - inside["decode"]
        summary = summarise(latency[first:])
        summary["stages"] = {stage: summarise(values) for stage, values in inside.items()}
        return {**summary, "received": len(latency), "expected": int(expected), "cpu_percent": cpu, "rss_mib": rss}

    def lsl_alone(self) -> dict:
        with ExitStack() as stack:
            name = f"{self.name}-floor"
            out = self.folder / "pull.npz"
            pusher, sent_at = self.push(stack, name, self.arguments.seconds)
            self.role(stack, "pull", name, self.arguments.seconds, self.hop, out)
            pusher.wait(self.arguments.seconds + 60)
            _wait_for(out)
        got, sent = np.load(out), np.load(sent_at)
        index = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
        return summarise((got["received"] - sent["pushed"][index])[int(2 / self.period) :] * 1e3)

    def decoder_alone(self) -> dict:
        out = self.folder / "decode.npz"
        with ExitStack() as stack:
            self.role(stack, "decode", self.arguments.model, self.period, self.arguments.seconds, out).wait()
        return summarise(np.load(out)["spent"][int(2 / self.period) :] * 1e3)

    def websocket_alone(self) -> dict:
        out = self.folder / "bare.npz"
        with ExitStack() as stack:
            server = self.role(stack, "bare", self.period)
            address = re.search(r"http://(\S+)", server.stdout.readline())[1]
            listener = self.role(stack, "client", f"ws://{address}/ws", self.arguments.seconds - 6, out)
            listener.wait(self.arguments.seconds + 60)
        got = np.load(out)
        return summarise((got["received"] - got["times"])[int(2 / self.period) :] * 1e3)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.2)


def _cpu(pid: int, seconds: float) -> float:
    """Percent of one core that a process uses over some seconds."""

    def spent() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, begin = spent(), time.monotonic()
    time.sleep(seconds)
    return round(100 * (spent() - before) / (time.monotonic() - begin), 2)


def summarise(milliseconds: np.ndarray) -> dict:
    """p50, p99, p99.9 and the worst of a distribution in milliseconds."""
    p50, p99, p999 = np.percentile(milliseconds, [50, 99, 99.9])
    return {
        "p50": float(p50),
        "p99": float(p99),
        "p99.9": float(p999),
        "max": float(milliseconds.max()),
        "n": len(milliseconds),
    }


def main() -> None:
    from models.zoo import zoo_bundle_path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(zoo_bundle_path()))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--chunk", type=int, default=1)
    parser.add_argument("--hop", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = folder / "lsl_api.cfg"
        config.write_text(LSL_CONFIG.format(session=f"bench-{uuid.uuid4().hex[:8]}"))
        os.environ["LSLAPICFG"] = str(config)
        run = Run(arguments, folder)
        parts = {
            "end to end": run.end_to_end(),
            "LSL alone": run.lsl_alone(),
            "decoder alone": run.decoder_alone(),
            "websocket alone": run.websocket_alone(),
        }
    floor = {q: parts["LSL alone"][q] + parts["decoder alone"][q] + parts["websocket alone"][q] for q in ("p50", "p99")}
    raw = {q: parts["LSL alone"][q] + parts["websocket alone"][q] for q in ("p50", "p99")}
    print(f"{'ms':<18}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}{'n':>8}")
    stages = {f"  {stage}": part for stage, part in parts["end to end"]["stages"].items()}
    for name, part in {"end to end": parts["end to end"], **stages, **parts}.items():
        print(f"{name:<18}" + "".join(f"{part[q]:8.2f}" for q in ("p50", "p99", "p99.9", "max")) + f"{part['n']:8d}")
    for name, sums in (("LSL + websocket", raw), ("floor with decoder", floor)):
        print(f"{name:<18}{sums['p50']:8.2f}{sums['p99']:8.2f}")
    total = parts["end to end"]
    print(f"end to end ÷ floor: p50 {total['p50'] / floor['p50']:.2f}, p99 {total['p99'] / floor['p99']:.2f}")
    print(f"predictions received {total['received']} of {total['expected']}; service's CPU {total['cpu_percent']} %")
    print(
        f"service's memory {total['rss_mib']:.0f} MiB; {platform.machine()}, {os.cpu_count()} cores, chunk {arguments.chunk}"
    )
    if arguments.out:
        arguments.out.write_text(
            json.dumps({"arguments": vars(arguments), "parts": parts, "floor": floor}, default=str)
        )


ROLES = {
    "push": (push, (str, str, float, int, float, str)),
    "pull": (pull, (str, float, int, str)),
    "client": (client, (str, float, str)),
    "bare": (bare_server, (float,)),
    "decode": (decode, (str, float, float, str)),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--role"]:
        sys.path.insert(0, str(ROOT))
        function, kinds = ROLES[sys.argv[2]]
        function(*(kind(value) for kind, value in zip(kinds, sys.argv[3:], strict=True)))
    else:
        sys.path.insert(0, str(ROOT))
        main()
