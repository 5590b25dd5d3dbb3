"""Latency from an outlet's push in one process to a client's receipt in another, and the floor of the same run.

The floor is the sum of the parts without Mindwire, each in processes of its own: LSL alone (push to pull), the decoder
alone called at the same cadence, and a bare websocket server (a thread's send to the receipt).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.types import STAGES
from mindwire_models.bundle import load_bundle

# Left out at the beginning of each part: connections are new, caches cold.
_SETTLE_S = 2.0
_IDLE_S = 4.0
FLOOR = ("LSL alone", "decoder alone", "websocket alone")


class LatencyRun:
    """Measurement of one case, part by part.

    Parameters
    ----------
    model : Path
    chunk, hop : int
        Samples per push, and between predictions.
    seconds, floor_seconds : float
        Duration of the whole path and of each part of the floor.
    """

    def __init__(self, model: Path, *, chunk: int, hop: int, seconds: float, floor_seconds: float) -> None:
        self.model, self.chunk, self.hop = model, chunk, hop
        self.seconds, self.floor_seconds = seconds, floor_seconds
        self.contract = load_bundle(model).contract
        self.period = hop / self.contract.sfreq
        self.samples: dict[str, NDArray[np.float64]] = {}
        self._first = round(_SETTLE_S / self.period)
        self._name = f"bench-{uuid.uuid4().hex[:6]}"

    def measure(self) -> dict[str, Any]:
        """Measure all parts; return them with the sum of the floor and the ratios to it."""
        with Processes() as processes:
            whole = self.end_to_end(processes)
            decisions = self.decisions(processes)
            parts = {
                "LSL alone": self._lsl_alone(processes),
                "decoder alone": self._decoder_alone(processes),
                "websocket alone": self._websocket_alone(processes),
            }
        floor = {q: sum(part[q] for part in parts.values()) for q in ("p50", "p99")}
        ratio = {q: whole["websocket"][q] / floor[q] for q in floor}
        return {
            "chunk": self.chunk,
            "hop": self.hop,
            **whole,
            "decisions": decisions,
            "floor": {**parts, "sum": floor},
            "ratio": ratio,
        }

    @contextmanager
    def _pushing(self, processes: Processes, name: str, seconds: float) -> Iterator[Path]:
        """Run an outlet, which has pushed everything when the context ends."""
        out = processes.folder / f"{name}.npz"
        labels, sfreq = ",".join(self.contract.channels), self.contract.sfreq
        pusher = processes.role("push", name, labels, sfreq, self.chunk, seconds, out)
        read_line(pusher)
        yield out
        pusher.wait(seconds + 90)

    def end_to_end(self, processes: Processes) -> dict[str, Any]:
        """Measure the whole path without the floor."""
        warm = self.contract.window_samples / self.contract.sfreq + _SETTLE_S
        seconds = self.seconds + warm
        service, address = processes.serve(
            "--model", self.model, "--hop", self.hop, "--stream", f"id={self._name},name={self._name}"
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
            time.sleep(self.seconds * 0.7)
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
            "expected": (len(sent["pushed"]) - self.contract.window_samples) // self.hop + 1,
            "cpu_percent": {"waiting for a stream": idle, "one stream": busy},
            "memory_mib": round(memory, 1),
        }

    def decisions(self, processes: Processes) -> dict[str, dict[str, float]]:
        """Measure predictions and decisions of one run, at a websocket client and as OSC, with a policy that decides always."""
        always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
        policy = processes.folder / "control.json"
        policy.write_text(ControlPolicy(evidence=Latest(), decide=always).to_json(), encoding="utf-8")
        name = f"{self._name}-decisions"
        seconds = self.floor_seconds + self.contract.window_samples / self.contract.sfreq
        by_web, by_osc = processes.folder / "decided-web.npz", processes.folder / "decided-osc.npz"
        receiver = processes.role("osc", by_osc)
        service, address = processes.serve(
            *("--model", self.model, "--hop", self.hop, "--stream", f"id={name},name={name}", "--control", policy),
            *("--osc", read_line(receiver).strip()),
        )
        listener = processes.role("client", f"ws://{address}/v1/streams/{name}/predictions", 2 * seconds, by_web)
        read_line(listener)
        with self._pushing(processes, name, seconds) as pushed:
            pass
        listener.wait(60)
        wait_until(by_osc.exists, 60, "the OSC receiver")
        service.terminate()
        sent, web = np.load(pushed), np.load(by_web)
        decided = {"times": web["decided"][:, 0], "received": web["decided"][:, 1]}
        first = decided["times"][0]  # before the alignment is ready nothing is decided
        late = web["times"] >= first
        predicted = {"times": web["times"][late], "received": web["received"][late]}
        parts = {"prediction": predicted, "decision": decided, "decision as OSC": np.load(by_osc)}
        return {part: summarise(self._ages(got, sent)) for part, got in parts.items()}

    def _ages(self, got: Any, sent: Any) -> NDArray[np.float64]:
        """Return milliseconds from the push of a window's last sample to the receipt of its prediction."""
        return np.asarray((got["received"] - _pushed(got, sent))[self._first :] * 1e3)

    def _stages(self, got: Any, sent: Any) -> dict[str, dict[str, float]]:
        """Return the stages that the service reports; ``publish`` is the rest, up to the client."""
        stages, pushed = dict(zip(STAGES, got["stages"].T, strict=True)), _pushed(got, sent)
        stages["receive"] = stages["receive"] - (pushed - got["times"]) * 1e3
        stages["publish"] = (got["received"] - pushed) * 1e3 - sum(stages.values())
        return {stage: summarise(values[self._first :]) for stage, values in stages.items() if values.any()}

    def _lsl_alone(self, processes: Processes) -> dict[str, float]:
        name, out = f"{self._name}-floor", processes.folder / "pull.npz"
        with self._pushing(processes, name, self.floor_seconds) as pushed:
            processes.role("pull", name, 2 * self.floor_seconds, self.hop, out)
        wait_until(out.exists, 30, "the inlet")
        time.sleep(0.3)
        self.samples["LSL alone"] = self._ages(np.load(out), np.load(pushed))
        return summarise(self.samples["LSL alone"])

    def _decoder_alone(self, processes: Processes) -> dict[str, float]:
        out = processes.folder / "decode.npz"
        processes.role("decode", self.model, self.hop, self.period, self.floor_seconds, out).wait()
        return summarise(np.load(out)["spent"][self._first :] * 1e3)

    def _websocket_alone(self, processes: Processes) -> dict[str, float]:
        out = processes.folder / "bare.npz"
        server = processes.role("bare", self.period)
        address = address_of(server)
        processes.role("client", f"ws://{address}/ws", self.floor_seconds, out).wait()
        got = np.load(out)
        return summarise((got["received"] - got["times"])[self._first :] * 1e3)


def _pushed(got: Any, sent: Any) -> Any:
    """Return when the last sample of each prediction's window was pushed."""
    return sent["pushed"][np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)]
