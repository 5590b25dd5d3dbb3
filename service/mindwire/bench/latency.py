"""Latency from an outlet's push in one process to a client's receipt in another, and the floor of the same run.

The floor is the sum of the parts without Mindwire, each in processes of its own: LSL alone (push to pull), the decoder
alone called at the same cadence, and a bare websocket server (a thread's send to the receipt).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.bench.processes import (
    CpuMeter,
    Processes,
    address_of,
    memory_mib,
    read_line,
    summarise,
    wait_until,
)
from mindwire.bench.roles import STAGES
from mindwire_models.bundle import load_bundle

# Left out at the beginning of each part: connections are new, caches cold.
_SETTLE_S = 2.0
_IDLE_S = 4.0
FLOOR = ("LSL alone", "decoder alone", "websocket alone")


@dataclass(frozen=True, slots=True)
class Case:
    """One case: bundle, samples per push, samples between predictions, and durations in seconds."""

    model: Path
    chunk: int
    hop: int
    seconds: float
    floor_seconds: float


class LatencyRun:
    """Measurement of one case, part by part.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.contract = load_bundle(case.model).contract
        self.period = case.hop / self.contract.sfreq
        self.samples: dict[str, NDArray[np.float64]] = {}
        self._name = f"bench-{uuid.uuid4().hex[:6]}"

    def measure(self) -> dict[str, Any]:
        """Measure all parts; return them with the sum of the floor and the ratios to it."""
        with Processes.temporary() as processes:
            whole = self._end_to_end(processes)
            parts = {
                "LSL alone": self._lsl_alone(processes),
                "decoder alone": self._decoder_alone(processes),
                "websocket alone": self._websocket_alone(processes),
            }
        floor = {q: sum(part[q] for part in parts.values()) for q in ("p50", "p99")}
        ratio = {q: whole["websocket"][q] / floor[q] for q in floor}
        return {
            "chunk": self.case.chunk,
            "hop": self.case.hop,
            **whole,
            "floor": {**parts, "sum": floor},
            "ratio": ratio,
        }

    def end_to_end_alone(self) -> dict[str, Any]:
        """Measure the whole path without the floor."""
        with Processes.temporary() as processes:
            return self._end_to_end(processes)

    @contextmanager
    def _pushing(self, processes: Processes, name: str, seconds: float) -> Iterator[Path]:
        """Run an outlet, which has pushed everything when the context ends."""
        out = processes.folder / f"{name}.npz"
        labels, sfreq = ",".join(self.contract.channels), self.contract.sfreq
        pusher = processes.role("push", name, labels, sfreq, self.case.chunk, seconds, out)
        read_line(pusher)
        yield out
        pusher.wait(seconds + 90)

    def _end_to_end(self, processes: Processes) -> dict[str, Any]:
        warm = self.contract.window_samples / self.contract.sfreq + _SETTLE_S
        seconds = self.case.seconds + warm
        service, address = processes.serve(
            "--model", self.case.model, "--hop", self.case.hop, "--stream", f"id={self._name},name={self._name}"
        )
        time.sleep(_IDLE_S)
        idle_meter = CpuMeter(service.pid)
        time.sleep(_IDLE_S)
        idle = idle_meter.percent()
        by_web, by_lsl = processes.folder / "web.npz", processes.folder / "lsl.npz"
        listener = processes.role("client", f"ws://{address}/v1/streams/{self._name}/predictions", 2 * seconds, by_web)
        read_line(listener)
        inlet = processes.role("pull", f"Mindwire-{self._name}", 2 * seconds, 1, by_lsl)
        read_line(inlet)
        with self._pushing(processes, self._name, seconds) as pushed:
            time.sleep(warm + 3)
            meter = CpuMeter(service.pid)
            time.sleep(self.case.seconds * 0.7)
            busy = meter.percent()
        memory = memory_mib(service.pid)
        listener.wait(60)
        wait_until(by_lsl.exists, 60, "the LSL client")
        sent, web, lsl = np.load(pushed), np.load(by_web), np.load(by_lsl)
        self.samples["Mindwire"] = self._ages(web, sent)
        return {
            "websocket": summarise(self.samples["Mindwire"]),
            "lsl_inlet": summarise(self._ages(lsl, sent)),
            "stages": self._stages(web, sent),
            "received": len(web["times"]),
            "expected": (len(sent["pushed"]) - self.contract.window_samples) // self.case.hop + 1,
            "cpu_percent": {"waiting for a stream": idle, "one stream": busy},
            "memory_mib": round(memory, 1),
        }

    def _ages(self, got: Any, sent: Any) -> NDArray[np.float64]:
        """Return milliseconds from the push of a window's last sample to the receipt of its prediction."""
        index = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
        ages = (got["received"] - sent["pushed"][index])[round(_SETTLE_S / self.period) :] * 1e3
        return np.asarray(ages)

    def _stages(self, got: Any, sent: Any) -> dict[str, dict[str, float]]:
        """Return the stages that the service reports; ``publish`` is the rest, up to the client."""
        first = round(_SETTLE_S / self.period)
        stages = dict(zip(STAGES, got["stages"].T, strict=True))
        index = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
        stages["receive"] = stages["receive"] - (sent["pushed"][index] - got["times"]) * 1e3
        whole = (got["received"] - sent["pushed"][index]) * 1e3
        stages["publish"] = whole - sum(stages.values())
        return {stage: summarise(values[first:]) for stage, values in stages.items() if values.any()}

    def _lsl_alone(self, processes: Processes) -> dict[str, float]:
        name, out = f"{self._name}-floor", processes.folder / "pull.npz"
        with self._pushing(processes, name, self.case.floor_seconds) as pushed:
            processes.role("pull", name, 2 * self.case.floor_seconds, self.case.hop, out)
        wait_until(out.exists, 30, "the inlet")
        time.sleep(0.3)
        self.samples["LSL alone"] = self._ages(np.load(out), np.load(pushed))
        return summarise(self.samples["LSL alone"])

    def _decoder_alone(self, processes: Processes) -> dict[str, float]:
        out = processes.folder / "decode.npz"
        processes.role("decode", self.case.model, self.case.hop, self.period, self.case.floor_seconds, out).wait()
        return summarise(np.load(out)["spent"][round(_SETTLE_S / self.period) :] * 1e3)

    def _websocket_alone(self, processes: Processes) -> dict[str, float]:
        out = processes.folder / "bare.npz"
        server = processes.role("bare", self.period)
        address = address_of(server)
        processes.role("client", f"ws://{address}/ws", self.case.floor_seconds, out).wait()
        got = np.load(out)
        return summarise((got["received"] - got["times"])[round(_SETTLE_S / self.period) :] * 1e3)
