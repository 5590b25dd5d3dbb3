"""A stream that looks real to the hub and the API, fed by a thread of its own, and a server around it.

Imported by tests that want to steer it, and run as a program by tests that measure or kill a whole process.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import threading
import time
from collections.abc import Iterator

import numpy as np
import uvicorn

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.api.server import STALL_LIMIT_S, bind_socket, server_settings
from mindwire.control.controller import ControlCommand, Controller
from mindwire.control.setting import ControlSetting
from mindwire.errors import ContractError
from mindwire.live.latency import Latency
from mindwire.live.loaded_model import CandidateStatus, ModelSwapStatus
from mindwire.options import AdaptationCommand
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.message_types import Hello, HelloControl, HelloModel
from mindwire.sinks.sent_markers import SentMarkers
from mindwire.status import Counters, Event, ModelStatus, SourceStatus, StreamState, StreamStatus
from mindwire.types import INVALID, Prediction, Reason
from mindwire_models.contract import Contract
from mindwire_models.presets import BCIC2A

CHUNK = 10


def probabilities(seq: int) -> np.ndarray:
    """What the stand-in predicts at a sequence number: known, moving, with every digit in use."""
    logits = np.array([2.0 * math.sin(seq / 25.0 + k * math.pi / 2.0) for k in range(4)])
    powers = np.exp(logits)
    return powers / powers.sum()


class StandInSwap:
    """The model in use, and a candidate where a test gives one."""

    def __init__(self, model: ModelStatus) -> None:
        self.model = model
        self.candidate: CandidateStatus | None = None

    def status(self) -> ModelSwapStatus:
        return ModelSwapStatus(in_use=self.model, candidate=self.candidate, previous=None)


class StandIn:
    """One stream; ``rate`` predictions a second while it runs."""

    def __init__(
        self,
        name: str = "eeg",
        rate: float = 25.0,
        notice: str | None = None,
        *,
        capacity: int = 64,
        contract: Contract = BCIC2A,
    ) -> None:
        self.name = name
        self.contract = contract
        self.hub = PredictionHub(name, contract, capacity=capacity)
        self.latency = Latency()
        self.swap = StandInSwap(
            ModelStatus(name="stand-in", sha256="0" * 64, engine="onnxruntime", device="cpu", engine_reason="for tests")
        )
        self.markers = SentMarkers(name, f"standin-{id(self):x}")
        self.markers.show = lambda kind, message, data: self.hub.event(Event(name, kind, message, time.time(), data))
        self.state = StreamState.SEARCHING
        self.reason = "No stream answers name=cap yet."
        self.reasons = Reason.NONE
        self.said: dict = {}  # of the status, beside or instead of the rest
        self.seq = 0
        self.slowest_publish_s = 0.0
        self.stages: dict[str, float] = {}  # latencies beside or instead of the usual ones
        self.commands: list[AdaptationCommand] = []
        self.control_setting = ControlSetting()
        self._controller = Controller(None, contract.classes, 4.0, 0.04)
        self._notice = notice
        self._since = time.time()
        self._rate = rate
        self._stop = threading.Event()
        self.hangs = False
        self.shadowed = False  # true while a model runs in the shadow
        self._thread = threading.Thread(target=self._run, name=f"standin-{name}", daemon=True)
        self._noise = np.random.default_rng(1)

    @property
    def hung(self) -> bool:
        return self.hangs

    @property
    def ready(self) -> bool:
        return self.state is StreamState.LIVE

    def become(self, state: StreamState, reason: str) -> None:
        self.state, self.reason, self._since = state, reason, time.time()
        self.hub.event(Event(self.name, "state", reason, time.time(), {"state": state.value}))

    def publish_one(self) -> None:
        now = time.monotonic()
        stages = {
            "receive": 0.4,
            "condition": 0.1,
            "decode": np.float32(0.2 + 0.1 * math.sin(self.seq)),
            "publish": 0.1,
            **self.stages,
        }
        row = probabilities(self.seq)
        valid = not int(self.reasons) & INVALID
        control = self._controller.update(self.seq, now, row.tolist() if valid else None)
        prediction = Prediction(self.seq, now, row, self.reasons, stages, control)
        times = now + (np.arange(CHUNK) - CHUNK + 1) / 250.0
        samples = self._noise.normal(0.0, 12.0, (CHUNK, self.contract.n_channels)).astype(np.float32)
        samples += 25.0 * np.sin(2 * np.pi * 10.0 * times)[:, None].astype(np.float32)
        before = time.perf_counter()
        self.hub.signal(times, samples)
        self.hub.publish(prediction)
        if self.shadowed:
            self.hub.shadow(Prediction(self.seq, now, row[::-1], self.reasons, stages, None))
        self.latency.observe(stages)
        self.slowest_publish_s = max(self.slowest_publish_s, time.perf_counter() - before)
        self.seq += 1

    def start(self) -> None:
        self.become(StreamState.LIVE, "Predictions are fresh.")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self.markers.close()
        self.hub.close()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(max(0.0, begin + self.seq / self._rate - time.monotonic())):
            self.publish_one()

    def save_adaptation(self) -> None:
        msg = "Stream 'standin' has no file for its adaptation; give it one with --adaptation-state."
        raise ContractError(msg)

    def command(self, command) -> None:
        if command.action == "rollback":
            msg = "There is nothing to roll back here."
            raise ContractError(msg)
        self.commands.append(command)

    def control(self, policy=None, *, paused=None) -> None:
        event = self._controller.command(ControlCommand(self.seq, policy, paused))
        before = self.control_setting
        self.control_setting = ControlSetting(
            policy=policy or before.policy, paused=before.paused if paused is None else paused
        )
        self.hub.event(Event(self.name, event.kind, event.message, time.time(), event.data))

    def hello(self) -> Hello:
        setting = self.control_setting
        return Hello(
            version=1,
            stream=self.name,
            classes=list(self.contract.classes),
            sfreq=250.0,
            window_samples=1000,
            hop_samples=10,
            channels=list(self.contract.channels),
            model=HelloModel("stand-in", "0" * 64, self._notice or ""),
            has_model=True,
            instance=self.hub.instance,
            control=HelloControl(**setting.model_dump(mode="json")) if setting.policy else None,
        )

    def status(self) -> StreamStatus:
        source = SourceStatus(
            name="cap", type="EEG", source_id="cap-1", uid="u", hostname="h", sfreq=250.0, n_channels=self.contract.n_channels,
            labels=list(self.contract.channels), unit="uV",
        )  # fmt: skip
        status = StreamStatus(
            name=self.name,
            state=self.state,
            state_reason=self.reason,
            state_since_unix=self._since,
            ready=self.ready,
            source=source,
            model=self.swap.model,
            classes=list(self.contract.classes),
            channels=list(self.contract.channels),
            sfreq=250.0,
            window_samples=1000,
            hop_samples=10,
            resampler_delay_ms=0.0,
            settling_ms=1500.0,
            counters=Counters(samples=self.seq * CHUNK, predictions=self.seq, valid=self.seq),
            drift_ppm=3.5,
            effective_rate=250.01,
            loop_load=0.25,
            last_prediction_age_s=0.01,
            latency_ms={"decode": 0.2},
        )
        return status.model_copy(update=self.said)


@contextlib.contextmanager
def served(
    *streams: StandIn, port: int = 0, stall_limit_s: float = STALL_LIMIT_S, models=None, registry=None, **access
) -> Iterator[str]:
    """A real uvicorn in a thread; yields ``HOST:PORT``."""
    sock = bind_socket("127.0.0.1", port, stall_limit_s)
    app = create_app(
        {stream.name: stream for stream in streams}, access=Access(**access), models=models, registry=registry
    )
    server = uvicorn.Server(uvicorn.Config(app, **server_settings(app.state.certificate)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server ended at once"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--streams", default="eeg")
    parser.add_argument("--notice")
    parser.add_argument("--capacity", type=int, default=64)
    parser.add_argument("--stall-limit", type=float, default=STALL_LIMIT_S)
    arguments = parser.parse_args()
    streams = [
        StandIn(name, arguments.rate, arguments.notice, capacity=arguments.capacity)
        for name in arguments.streams.split(",")
    ]
    with served(*streams, port=arguments.port, stall_limit_s=arguments.stall_limit) as address:
        for stream in streams:
            stream.start()
        print(address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:  # told by lines on stdin what to become; ends with it
                line = input()
                if line.startswith("reasons "):
                    for stream in streams:
                        stream.reasons = Reason(int(line.split()[1]))
                elif line.startswith("slowest"):
                    print(max(stream.slowest_publish_s for stream in streams), flush=True)
                elif line.startswith("state "):
                    _, state, reason = line.split(" ", 2)
                    for stream in streams:
                        stream.become(StreamState(state), reason)
                elif line == "stop":
                    break
        for stream in streams:
            stream.stop()


if __name__ == "__main__":
    main()
