"""Our own process stopped, or too slow: what it publishes afterwards is right, and what is missing is known."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest

from mindwire.inference.load import load_decoder
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, SignalInfo
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap, samples_of
from tests.support.service_process import ready, service
from tests.support.stall_listener import Listener
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    # without alignment, a window's prediction follows from its own samples and those its filters still hear
    law = contract(window_samples=200, normalisation={"kind": "none"})
    return random_bundle(tmp_path_factory.mktemp("stalls") / "bundle", law)


def wrong(bundle_path, cap: Cap, predictions: list[dict]) -> int:
    """How many of the valid predictions differ from an undisturbed run's."""
    bundle, spec = load_bundle(bundle_path), cap.spec
    valid = [prediction for prediction in predictions if prediction["valid"]]
    assert len(valid) > 30
    first = max(0, round((valid[0]["time"] - cap.epoch - 15) * spec.sfreq))
    last = round((valid[-1]["time"] - cap.epoch + 1) * spec.sfreq)
    info = SignalInfo("cap", "EEG", spec.sfreq, spec.n_channels, spec.labels, (spec.unit,) * spec.n_channels)
    law = bundle.contract.model_copy(update={"hop_samples": 1})
    pipeline = Pipeline(law, info, load_decoder(bundle))
    samples = samples_of(first, last - first, spec.n_channels, spec.seed)
    undisturbed = [
        p for p in pipeline.process(Chunk(samples, np.arange(first, last) / spec.sfreq + cap.epoch)) if p.valid
    ]
    times = np.array([p.time for p in undisturbed])
    nearest = [undisturbed[np.abs(times - p["time"]).argmin()] for p in valid]
    # the start of the filters is forgotten to about a percent when they have settled; resampled samples
    # lie on another grid after a gap, up to half a sample off
    limit = 0.01 if spec.sfreq == law.sfreq else 0.1
    apart = [np.abs(t.probabilities - p["probabilities"]).max() for t, p in zip(nearest, valid, strict=True)]
    return sum(d > limit for d in apart)


def stopped_for(
    seconds: float, bundle, recovery, *, gap: bool = False, **spec
) -> tuple[Cap, list[dict], list[dict], int]:
    """The cap, what was predicted, the events, and how many predictions came before the stop."""
    name = unique("cap")
    with Cap(name, source_id=name, **spec) as cap, service("--model", bundle, "--stream", f"name={name}") as running:
        address = running.address()
        eventually(lambda: ready(address), 30)
        with Listener(address) as listener:
            eventually(lambda: len(listener.predictions) > 5)
            used = psutil.Process(running.process.pid).memory_info().rss
            os.kill(running.process.pid, signal.SIGSTOP)
            threading.Event().wait(seconds)  # the stop itself is the fault
            before = len(listener.predictions)
            os.kill(running.process.pid, signal.SIGCONT)
            begin = time.monotonic()
            eventually(lambda: not gap or listener.events("gap"), 30)
            since = len(listener.predictions) if gap else before
            eventually(lambda: any(p["valid"] for p in listener.predictions[since:]), 30)
            recovery(time.monotonic() - begin)
            eventually(lambda: sum(p["valid"] for p in listener.predictions[before:]) > 30, 30)
            assert psutil.Process(running.process.pid).memory_info().rss < used + 100 * 2**20
            events = [message for message in listener.messages if message["type"] == "event"]
            return cap, listener.predictions, events, before


def test_our_process_stopped_for_five_seconds_goes_on_with_the_newest(bundle, recovery):
    cap, predictions, events, before = stopped_for(5, bundle, recovery, chunk=1)
    assert wrong(bundle, cap, predictions) == 0
    assert {event["kind"] for event in events} >= {"skipped"}
    assert "gap" not in {event["kind"] for event in events}
    skipped = sum(event["data"]["windows"] for event in events if event["kind"] == "skipped")
    assert skipped >= 30
    assert predictions[before]["time"] - predictions[before - 1]["time"] > 3  # at once up to date


def test_a_stall_longer_than_the_outlets_buffer_loses_samples_and_says_so(bundle, recovery):
    # so many channels that the kernel's own buffers do not hide the stall
    labels = ("C3", "Cz", "C4", *(f"X{n}" for n in range(61)))
    spec = {"n_channels": 64, "labels": labels, "sfreq": 4000.0, "chunk": 200, "dtype": "double64", "buffered": 1}
    cap, predictions, events, _ = stopped_for(8, bundle, recovery, gap=True, **spec)
    assert wrong(bundle, cap, predictions) == 0
    assert "gap" in {event["kind"] for event in events}
