"""Recordings through real LSL outlets: what a receiver gets is what was recorded."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from uuid import uuid4

import numpy as np
import pylsl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.offline.playback import Playback, PlaybackOptions, Timeline
from mindwire.sources.recording import open_recording
from mindwire.sources.stream_xml import parse_xml, signal_info
from tests.support.signals import LABELS, noise
from tests.support.xdf_writer import XdfWriter, eeg_file


@contextmanager
def playing(playback):
    stop = threading.Event()
    thread = threading.Thread(target=playback.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield thread, stop
    finally:
        stop.set()
        thread.join(10)


def inlet_for(name):
    found = pylsl.resolve_byprop("name", name, 1, 10.0)
    assert found, name
    inlet = pylsl.StreamInlet(found[0], max_buflen=60, recover=False)
    inlet.info(5.0)
    return inlet


def pull_all(inlet, n, seconds=20.0):
    values, stamps = [], []
    deadline = time.monotonic() + seconds
    while len(stamps) < n and time.monotonic() < deadline:
        chunk, times = inlet.pull_chunk(0.2)
        if len(times):
            values += chunk if isinstance(chunk, list) else chunk.tolist()
            stamps += list(times)
    return values, np.array(stamps)


def test_samples_markers_stamps_and_description_arrive_as_recorded(tmp_path):
    name = f"play-{uuid4().hex[:8]}"
    samples = noise(200).astype(np.float32)
    cues = [(1000.0, "left"), (1000.5, "right"), (1001.75, "rest")]
    path = eeg_file(tmp_path / "f.xdf", samples, 100.0, LABELS, markers=cues, name=name, source_id=name)
    playback = Playback(open_recording(path), options=PlaybackOptions(linger_seconds=1.0))
    assert playback.names == (name, f"{name}-markers")
    assert playback.duration == pytest.approx(1.99)
    eeg, markers = inlet_for(name), inlet_for(f"{name}-markers")
    info = signal_info(parse_xml(eeg.info(5.0).as_xml()))
    assert (info.type, info.sfreq, info.dtype, info.labels) == ("EEG", 100.0, "float32", LABELS)
    assert info.units == ("microvolts",) * 3
    assert info.source_id == "mindwire-replay-f-1"
    markers.open_stream(5.0)
    with playing(playback):
        eeg.open_stream(5.0)
        got, stamps = pull_all(eeg, 200)
        labels, marker_stamps = pull_all(markers, 3)
    np.testing.assert_array_equal(np.array(got, np.float32), samples)
    np.testing.assert_allclose(stamps - stamps[0], np.arange(200) / 100, atol=1e-6)
    assert [row[0] for row in labels] == ["left", "right", "rest"]
    np.testing.assert_allclose(marker_stamps - stamps[0], [0.0, 0.5, 1.75], atol=1e-6)
    assert abs(stamps[-1] - pylsl.local_clock()) < 10


def test_nothing_is_sent_before_somebody_listens(tmp_path):
    name = f"wait-{uuid4().hex[:8]}"
    path = eeg_file(tmp_path / "f.xdf", noise(50).astype(np.float32), 100.0, LABELS)
    playback = Playback(open_recording(path), options=PlaybackOptions(name=name, source_id=name, linger_seconds=1.0))
    assert playback.names == (name, f"{name}-EEG-Test-markers")
    with playing(playback) as (thread, _):
        inlet = inlet_for(name)
        assert inlet.info(5.0).source_id() == name
        thread.join(0.5)
        assert thread.is_alive()
        before = pylsl.local_clock()
        inlet.open_stream(5.0)
        _, stamps = pull_all(inlet, 50)
    assert len(stamps) == 50
    assert stamps[0] >= before


def test_without_waiting_it_plays_to_nobody_and_ends(tmp_path):
    path = eeg_file(tmp_path / "f.xdf", noise(20).astype(np.float32), 100.0, LABELS)
    options = PlaybackOptions(name=f"alone-{uuid4().hex[:8]}", wait_for_consumer=False, linger_seconds=0.0)
    seen = []
    Playback(open_recording(path), options=options).run(threading.Event(), seen.append)
    assert seen[-1] == pytest.approx(0.19)


def test_it_stops_at_once(tmp_path):
    path = eeg_file(tmp_path / "f.xdf", noise(100_000).astype(np.float32), 100.0, LABELS)
    options = PlaybackOptions(name=f"stop-{uuid4().hex[:8]}", wait_for_consumer=False)
    playback = Playback(open_recording(path), options=options)
    started = threading.Event()
    stop = threading.Event()
    thread = threading.Thread(target=playback.run, args=(stop, lambda _: started.set()), daemon=True)
    thread.start()
    assert started.wait(10)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("dtype", ["double64", "int64", "int32", "int16", "int8"])
def test_every_format(tmp_path, dtype):
    name = f"fmt-{dtype}-{uuid4().hex[:8]}"
    values = np.random.default_rng(1).integers(-100, 100, (30, 2))
    writer = XdfWriter().stream(n_channels=2, sfreq=200.0, dtype=dtype, name=name)
    writer.stream(5, name=f"{name}-log", type="log", n_channels=2, sfreq=0.0, dtype="string", source_id="log")
    writer.samples(values, (5 + np.arange(30) / 200).tolist()).samples([["ä,b", ""]], [5.1], 5)
    playback = Playback(open_recording(writer.write(tmp_path / "f.xdf")), options=PlaybackOptions(linger_seconds=1.0))
    inlet, log = inlet_for(name), inlet_for(f"{name}-log")
    log.open_stream(5.0)
    with playing(playback):
        inlet.open_stream(5.0)
        got, _ = pull_all(inlet, 30)
        texts, _ = pull_all(log, 1)
    assert got == values.tolist()
    assert texts == [["ä,b", ""]]


# --- the timeline -------------------------------------------------------------------------------------------------


def test_long_silences_are_shortened_for_all_streams_alike():
    timeline = Timeline.build([(100.0, 110.0), (500.0, 510.0), (112.0, 113.0), (1e9, 1e9 + 1.0)], 10.0)
    placed = timeline.place(np.array([100.0, 113.0, 500.0, 505.0, 1e9, 1e9 + 1]))
    np.testing.assert_allclose(placed, [0.0, 13.0, 23.0, 28.0, 43.0, 44.0], atol=1e-6)
    assert timeline.duration == pytest.approx(44.0)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 100)), min_size=1, max_size=12))
def test_the_order_of_times_is_kept_and_no_silence_is_long(parts):
    spans = [(first, first + length) for first, length in parts]
    timeline = Timeline.build(spans, 10.0)
    edges = np.array(sorted(edge for span in spans for edge in span))
    placed = timeline.place(edges)
    assert (np.diff(placed) >= -1e-6).all()
    assert placed[0] == pytest.approx(0.0, abs=1e-6)
    assert placed[-1] == pytest.approx(timeline.duration, abs=1e-6)
    assert timeline.duration <= sum(length for _, length in parts) + 10.0 * len(parts) + 1e-6
    for first, last in spans:  # within a stretch nothing is moved
        a, b = timeline.place(np.array([first, last]))
        assert b - a == pytest.approx(last - first, abs=1e-6)
