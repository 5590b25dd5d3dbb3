"""Streams under test: a sink that remembers, a stream of a few channels, and waiting that ends."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace

from mindwire.control.setting import ControlSetting
from mindwire.live.connection import StreamLimits
from mindwire.live.loop import LiveLoop
from mindwire.live.stream import Stream
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sinks.hub import PredictionHub
from mindwire.sources.lsl_connector import LslConnector
from mindwire.sources.lsl_discovery import Selector
from mindwire.status import Event, ModelStatus
from mindwire.types import Prediction
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from tests.support.linear_decoder import LinearDecoder

MODEL = ModelStatus(name="linear", sha256="0" * 64, engine="linear", device="cpu", engine_reason="a test")


def contract(**changes) -> Contract:
    """Three channels, a second of window, and filters that settle in half a second."""
    values = {
        "channels": ("C3", "Cz", "C4"),
        "sfreq": 100.0,
        "filters": Filters(highpass=Butterworth(order=2, freq=2.0), lowpass=Butterworth(order=4, freq=30.0)),
        "normalisation": Alignment(kind="euclidean", scale="window_sum", update_samples=50, ready_samples=100),
        "window_samples": 100,
        "hop_samples": 10,
        "classes": ("left_hand", "right_hand"),
    }
    return Contract(**{**values, **changes})


def unique(what: str) -> str:
    """A name that no other test's stream has."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


def eventually(condition, timeout: float = 15.0, what: str = "") -> None:
    """Poll a condition until it holds, less often the longer it takes; fail when it does not within the time."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        if waited > timeout:
            msg = f"did not happen within {timeout:g} s: {what or condition}"
            raise AssertionError(msg)
        time.sleep(min(max(0.01, waited / 20), 0.1))


class Memory:
    """A sink that remembers everything."""

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.events: list[Event] = []
        self.samples = 0
        self.closed = False

    def publish(self, prediction: Prediction) -> None:
        self.predictions.append(prediction)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def signal(self, times, samples) -> None:
        self.samples += len(times)

    def close(self) -> None:
        self.closed = True

    @property
    def valid(self) -> list[Prediction]:
        return [prediction for prediction in self.predictions if prediction.valid]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def states(self) -> list[str]:
        """The states entered, one entry per change."""
        states = [event.data["state"] for event in self.events if event.kind == "state"]
        return [state for before, state in zip([None, *states], states, strict=False) if state != before]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def make_stream(
    selector: Selector | None = None,
    *,
    name: str = "test",
    contract_: Contract | None = None,
    connector=None,
    decoder=None,
    options: PipelineOptions | None = None,
    recorder=None,
    loop: LiveLoop | None = None,
    **limits,
) -> tuple[Stream, Memory]:
    law = contract_ or contract()
    decoder = decoder or LinearDecoder(len(law.classes))
    memory = Memory()
    options = options or PipelineOptions()
    stream = Stream(
        name,
        connector=connector or LslConnector(selector),
        contract=law,
        model=MODEL,
        decoder=decoder,
        make_pipeline=lambda info, learnt: Pipeline(
            law, info, decoder, replace(options, state=learnt.to_text() if learnt else options.state)
        ),
        hop_samples=options.hop_samples or law.hop_samples,
        hub=PredictionHub(name, law),
        sinks=[memory],
        limits=StreamLimits(**limits),
        control_setting=ControlSetting(policy=options.policy),
        recorder=recorder,
        loop=loop or LiveLoop(),
    )
    return stream, memory


@contextmanager
def running(stream: Stream):
    """Run a stream's loop in a thread; what kills it is raised at the end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            stream.run()
        except BaseException as error:  # noqa: BLE001 - handed on to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        stream.stop()
        thread.join(10)
        alive = thread.is_alive()
        stream.reporter.close()
    assert not alive, "the stream did not end"
