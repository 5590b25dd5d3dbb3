"""``mindwire simulate`` as any LSL program meets it: two outlets, real time, a clean end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pylsl
import pytest

from mindwire.errors import ArgumentError
from mindwire.sources.simulator import Simulator
from mindwire.sources.simulator_outlets import SimulatorOutlets, drive
from mindwire_models.presets import BCIC2A_CHANNELS
from tests.support.command_line import refused

COMMAND = [sys.executable, "-m", "mindwire", "simulate"]


@contextmanager
def _simulating(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    source_id = f"simulate-{uuid.uuid4().hex}"
    process = subprocess.Popen(
        [*COMMAND, "--source-id", source_id, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, source_id
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _inlet(source_id: str) -> pylsl.StreamInlet:
    found = pylsl.resolve_byprop("source_id", source_id, timeout=20)
    assert len(found) == 1
    inlet = pylsl.StreamInlet(found[0], recover=False)
    inlet.open_stream(timeout=20)
    return inlet


def _pull(inlet: pylsl.StreamInlet, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    samples: list[np.ndarray] = []
    times: list[float] = []
    for _ in range(400):
        data, stamps = inlet.pull_chunk(timeout=0.2, max_samples=256)
        samples += data
        times += stamps
        if len(times) >= n_samples:
            return np.array(samples), np.array(times)
    pytest.fail(f"{len(times)} of {n_samples} samples arrived")


def test_command_puts_described_eeg_and_cues_on_the_network() -> None:
    with _simulating("--name", "Anna", "--seed", "3") as (process, source_id):
        inlet, markers = _inlet(source_id), _inlet(f"{source_id}-markers")
        info = inlet.info(timeout=10)
        samples, times = _pull(inlet, 500)
        label, onset = markers.pull_sample(timeout=20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0

    assert (info.name(), info.type(), info.nominal_srate()) == ("Anna", "EEG", 250.0)
    assert tuple(info.get_channel_labels()) == BCIC2A_CHANNELS
    assert set(info.get_channel_units()) == {"microvolts"}
    assert set(info.get_channel_types()) == {"EEG"}
    np.testing.assert_allclose(np.diff(times), 1 / 250, atol=1e-6)
    expected = Simulator(3)
    whole = expected.read(250 * 60).samples
    first = int(np.flatnonzero((whole == samples[0].astype(np.float32)).all(axis=1))[0])
    np.testing.assert_array_equal(samples, whole[first : first + len(samples)])
    cue = expected.drain_markers()[0]
    assert label[0] == cue.label
    assert onset == pytest.approx(times[0] - first / 250 + cue.time, abs=1e-6)


def test_command_ends_cleanly_when_interrupted_and_after_its_duration() -> None:
    with _simulating() as (process, _):
        assert process.stdout is not None
        assert "22 channels at 250 Hz" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    with _simulating("--duration", "0.5", "--channels", "C3, C4", "--line", "0", "--artefacts", "blinks") as (
        process,
        _,
    ):
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--channels", "C3,Q1"), "Q1"),
        (("--artefacts", "sneezes"), "sneezes"),
        (("--duration", "0"), "--duration"),
        (("--chunk", "0"), "at least one sample"),
        (("--sfreq", "1"), "1 Hz"),
    ],
)
def test_wrong_usage_gets_one_sentence(options: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, sentence = refused(capsys, "simulate", *options)
    assert code == 2
    assert said in sentence


def test_one_thread_drives_many_people() -> None:
    crowd = [
        SimulatorOutlets(Simulator(seed, name=f"crowd-{uuid.uuid4().hex}"), chunk_samples=size)
        for seed, size in ((1, 5), (2, 10), (3, 50))
    ]
    inlets = [_inlet(outlets.source_id) for outlets in crowd]
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(drive, crowd, stop)
        try:
            received = [_pull(inlet, 100) for inlet in inlets]
        finally:
            stop.set()
        driving.result()
    for outlets, (samples, times) in zip(crowd, received, strict=True):
        np.testing.assert_array_equal(samples, Simulator(outlets.simulator.seed).read(len(samples)).samples)
        np.testing.assert_allclose(np.diff(times), 1 / 250, atol=1e-6)


def test_chunks_are_never_pushed_before_their_last_sample_exists() -> None:
    outlets = SimulatorOutlets(Simulator(1, name=f"pace-{uuid.uuid4().hex}"), chunk_samples=25)
    inlet = _inlet(outlets.source_id)
    begun = pylsl.local_clock()
    drive([outlets], threading.Event(), duration=0.5)
    ended = pylsl.local_clock()
    _, times = _pull(inlet, 100)

    assert begun <= times[0]
    assert times[-1] <= ended
    assert outlets.simulator.samples_read in {100, 125}


def test_chunk_without_samples_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one sample"):
        SimulatorOutlets(Simulator(1), chunk_samples=0)
