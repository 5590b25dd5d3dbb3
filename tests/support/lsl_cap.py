"""A cap made of software, in a process of its own, that can be broken on purpose.

``Cap`` starts it and tells it what to do; run as a program, this file is the cap. The samples are a
function of their index alone, so a test knows what every sample was, whatever happened on the way.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

TABLE = 4096
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class CapSpec:
    name: str
    source_id: str = ""
    type: str = "EEG"
    labels: tuple[str, ...] | None = ("C3", "Cz", "C4")
    n_channels: int = 3
    unit: str = "microvolts"
    sfreq: float = 100.0
    chunk: int = 5
    dtype: str = "float32"
    seed: int = 0
    buffered: int = 60
    start_index: int = 0
    wait_for_consumer: bool = False
    clock_offset: float = 0.0
    drift_ppm: float = 0.0
    jitter: float = 0.0
    extra: dict = field(default_factory=dict)


def samples_of(start: int, count: int, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """The cap's samples from an index on, (count, n_channels) in microvolts."""
    return table_of(n_channels, seed)[np.arange(start, start + count) % TABLE]


@cache
def table_of(n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """One period of the cap's samples, (TABLE, n_channels): noise that falls with frequency, as EEG does."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((TABLE, n_channels)), axis=0)
    freqs = np.fft.rfftfreq(TABLE)[:, None]  # cycles per sample
    table = np.fft.irfft(spectrum * (freqs > 0.005) / (1 + (freqs / 0.1) ** 4), axis=0)
    return (table * (20 / table.std())).astype(np.float32)


class Cap:
    """The handle of a running cap."""

    def __init__(self, name: str, **spec) -> None:
        self.spec = CapSpec(name, **spec)
        self._process: subprocess.Popen | None = None
        self.epoch = 0.0  # LSL time of sample 0

    def start(self) -> Cap:
        """Put the cap on the network; returns once its outlet exists."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(asdict(self.spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        line = self._process.stdout.readline()
        self.epoch = float(line.split()[1])
        return self

    def index_at(self, stamp: float, shift: float = 0.0) -> float:
        """Which sample has this stamp, by what the cap does; not rounded."""
        spec = self.spec
        begin = self.epoch + spec.start_index / spec.sfreq
        since = (stamp - begin - spec.clock_offset - shift) / (1 + spec.drift_ppm * 1e-6)
        return spec.start_index + since * spec.sfreq

    def tell(self, do: str, **how) -> None:
        self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a crash does it: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Cap:
        return self.start()

    def __exit__(self, *_) -> None:
        self.kill()


def _outlet(spec: CapSpec):
    import pylsl

    info = pylsl.StreamInfo(spec.name, spec.type, spec.n_channels, spec.sfreq, spec.dtype, spec.source_id)
    if spec.labels is not None:
        channels = info.desc().append_child("channels")
        for label in spec.labels:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            if spec.unit:
                channel.append_child_value("unit", spec.unit)
    return pylsl.StreamOutlet(info, spec.chunk, spec.buffered)


def _commands() -> queue.Queue:
    commands: queue.Queue = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    return commands


class _Run:
    """The cap's real-time loop; ``index`` counts samples taken, whether they are sent or not."""

    def __init__(self, spec: CapSpec) -> None:
        import pylsl

        self.clock = pylsl.local_clock
        self.spec = spec
        self.outlet = _outlet(spec)
        self.index = spec.start_index
        self.held: list[tuple[np.ndarray, np.ndarray]] = []
        self.hold_until = self.silent_until = 0.0
        self.shift = spec.clock_offset
        self.spoil: dict | None = None
        self.rng = np.random.default_rng(spec.seed)
        if spec.wait_for_consumer:
            print("waiting 0", flush=True)
            self.outlet.wait_for_consumers(60)
        self.epoch = self.clock() - self.index / spec.sfreq
        if not spec.wait_for_consumer:
            print("epoch", self.epoch, flush=True)

    def obey(self, command: dict) -> None:
        now = self.clock()
        match command["do"]:
            case "silent":  # samples of this time are lost
                self.silent_until = now + command["seconds"]
            case "hold":  # samples of this time come late, all at once
                self.hold_until = now + command["seconds"]
            case "lose":
                self.index += command["n"]
                self.epoch -= command.get("early", 0.0)
            case "jump":
                self.shift += command["seconds"]
            case "spoil":
                self.spoil = {**command, "left": command["n"]}
            case "garbage":  # one sample of uninitialised memory
                wild = np.frombuffer(np.random.default_rng(7).bytes(4 * self.spec.n_channels), np.float32)
                self.outlet.push_sample(wild.tolist(), command["stamp"])

    def turn(self) -> None:
        spec = self.spec
        due = self.epoch + (self.index + spec.chunk - 1) / spec.sfreq
        wait = due - self.clock()
        if wait > 0:
            time.sleep(wait)
        indices = self.index + np.arange(spec.chunk)
        samples = samples_of(self.index, spec.chunk, spec.n_channels, spec.seed)
        if self.spoil:
            where = (slice(None), self.spoil.get("channel", slice(None)))
            samples[where] = samples[where] * self.spoil["factor"] if "factor" in self.spoil else self.spoil["value"]
            self.spoil["left"] -= spec.chunk
            self.spoil = self.spoil if self.spoil["left"] > 0 else None
        since = (indices - spec.start_index) / spec.sfreq * (1 + spec.drift_ppm * 1e-6)
        stamps = self.epoch + spec.start_index / spec.sfreq + since + self.shift
        if spec.jitter:
            stamps = np.sort(stamps + self.rng.uniform(-spec.jitter, spec.jitter, spec.chunk))
        self.index += spec.chunk
        now = self.clock()
        if now < self.silent_until:
            return
        self.held.append((samples, stamps))
        if now < self.hold_until:
            return
        for chunk, times in self.held:
            self.outlet.push_chunk(chunk, times.tolist())
        self.held.clear()


def main() -> None:
    values = json.loads(sys.argv[1])
    values["labels"] = tuple(values["labels"]) if values["labels"] is not None else None
    spec = CapSpec(**values)
    commands = _commands()
    run = _Run(spec)
    if spec.dtype == "string":
        run.turn = lambda: time.sleep(0.05)
    while True:
        while not commands.empty():
            run.obey(commands.get())
        run.turn()


if __name__ == "__main__":
    main()
