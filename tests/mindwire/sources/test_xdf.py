"""The XDF reader: agreement with the reference importer, and files that lie."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import pyxdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mindwire.errors import MindwireError, RecordingError, SourceError, StreamNotFoundError, UsageError
from mindwire.sources import xdf_chunks
from mindwire.sources.recording import Selector, open_recording
from mindwire.sources.stream_xml import parse_xml, signal_info
from mindwire.sources.xdf import XdfRecording
from mindwire.sources.xdf_chunks import append_streams
from mindwire.types import Marker, Reason
from tests.support.xdf_writer import XdfWriter, chunk, eeg_file, header_xml, samples_content, varlen

RNG = np.random.default_rng(7)


def read(recording, selector=None):
    chunks = list(recording.signal(selector).chunks())
    if not chunks:
        return np.empty((0, 0)), np.empty(0), []
    at = np.cumsum([0] + [len(c) for c in chunks])
    broken = [(int(start), c.discontinuity) for start, c in zip(at, chunks, strict=False) if c.discontinuity]
    return np.concatenate([c.samples for c in chunks]), np.concatenate([c.times for c in chunks]), broken


def simple(n=200, start=10.0):
    return RNG.standard_normal((n, 2)).astype(np.float32), start + np.arange(n) / 100.0


# --- agreement with pyxdf -----------------------------------------------------------------------------------------


def assert_agrees_with_pyxdf(path: Path) -> None:
    recording = XdfRecording(path)
    streams, _ = pyxdf.load_xdf(str(path), synchronize_clocks=True, dejitter_timestamps=False)
    assert {s["info"]["stream_id"] for s in streams} == {s.stream_id for s in recording.streams}
    for stream in streams:
        chunks = list(recording.source(stream["info"]["stream_id"]).chunks())
        times = np.concatenate([c.times for c in chunks]) if chunks else np.empty(0)
        assert len(times) == len(stream["time_stamps"])
        np.testing.assert_allclose(times, stream["time_stamps"], rtol=0, atol=1e-6)
        if chunks:
            values = np.concatenate([c.samples for c in chunks])
            assert values.tolist() == np.asarray(stream["time_series"]).tolist()


@pytest.mark.parametrize(
    "name",
    [
        "s1/s1-run04-22ch-250hz.xdf",
        "s1/s1-run08-64ch-160hz.xdf",
        "a/a-day1-run1.xdf",
        "essentials/p1-miswitch-run2.xdf",
        "essentials/p1-t1-run1-nofooter.xdf",
        "robustness/clock_resets.xdf",
        "robustness/empty_streams.xdf",
        "robustness/minimal.xdf",
    ],
)
def test_real_files_read_as_the_reference_importer_reads_them(data_dir, name):
    assert_agrees_with_pyxdf(data_dir / name)


@pytest.mark.parametrize("dtype", ["float32", "double64", "int64", "int32", "int16", "int8"])
@pytest.mark.parametrize("stamps", ["all", "first", "alternating"])
def test_every_format_and_stamp_pattern(tmp_path, dtype, stamps):
    values = RNG.integers(-100, 100, (60, 3))
    times = [5.0 + k / 100.0 for k in range(60)]
    kept = {
        "all": times,
        "first": [times[0]] + [None] * 59,
        "alternating": [t if k % 3 == 0 else None for k, t in enumerate(times)],
    }
    writer = XdfWriter().stream(n_channels=3, dtype=dtype).offset(5.0, 2.0).offset(5.5, 2.0)
    for at in range(0, 60, 20):
        writer.samples(values[at : at + 20], kept[stamps][at : at + 20])
    path = writer.write(tmp_path / "f.xdf")
    assert_agrees_with_pyxdf(path)
    samples, read_times, broken = read(XdfRecording(path))
    np.testing.assert_array_equal(samples, values)
    np.testing.assert_allclose(read_times, np.asarray(times) + 2.0, atol=1e-9)
    assert not broken


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cutting_into_chunks_never_matters(tmp_path_factory, data):
    n = data.draw(st.integers(1, 40))
    stamped = [True, *data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))]
    cuts = sorted({0, n} | set(data.draw(st.lists(st.integers(0, n), max_size=6))))
    values, times = simple(n)
    writer = XdfWriter().stream()
    for start, stop in itertools.pairwise(cuts):
        writer.samples(
            values[start:stop],
            [float(t) if s else None for t, s in zip(times[start:stop], stamped[start:stop], strict=True)],
        )
    samples, read_times, broken = read(XdfRecording(writer.write(tmp_path_factory.mktemp("x") / "f.xdf")))
    np.testing.assert_array_equal(samples, values)
    np.testing.assert_allclose(read_times, times, atol=1e-9)
    assert not broken


def test_samples_larger_than_a_block(tmp_path):
    values = RNG.standard_normal((5, 60_000))
    writer = XdfWriter().stream(n_channels=60_000, dtype="double64").samples(values, [1.0, None, 1.02, None, None])
    samples, times, _ = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_array_equal(samples, values)
    np.testing.assert_allclose(times, 1.0 + np.arange(5) / 100)


def test_memory_stays_flat(tmp_path):
    values = RNG.standard_normal((100_000, 8)).astype(np.float32)
    path = eeg_file(tmp_path / "f.xdf", values, 250.0, list("ABCDEFGH"), chunk_samples=125)
    XdfRecording(path)  # so that the modules that NumPy imports when first needed do not count
    tracemalloc.start()
    total = sum(len(c) for c in XdfRecording(path).signal().chunks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 100_000
    assert peak < path.stat().st_size / 3


# --- descriptions -------------------------------------------------------------------------------------------------


def test_description_is_read(tmp_path):
    path = eeg_file(tmp_path / "f.xdf", simple()[0], 100.0, ["C3", "C4"], markers=[(10.5, "left"), (10.25, "right")])
    recording = open_recording(path)
    info = recording.signal().info
    assert (info.name, info.type, info.sfreq, info.n_channels) == ("EEG-Test", "EEG", 100.0, 2)
    assert info.labels == ("C3", "C4")
    assert info.units == ("microvolts", "microvolts")
    assert (info.source_id, info.uid, info.hostname, info.dtype) == ("cap-1", "u-cap-1", "host", "float32")
    assert recording.markers() == [Marker(10.25, "right"), Marker(10.5, "left")]
    assert recording.problems == ()


def test_channels_without_labels_have_none(tmp_path):
    info = XdfRecording(eeg_file(tmp_path / "f.xdf", simple()[0], 100.0)).signal().info
    assert info.labels is None
    assert info.units is None


def test_marker_streams_are_merged_or_chosen(tmp_path):
    writer = XdfWriter().stream()
    writer.stream(2, name="A", type="Markers", n_channels=1, sfreq=0.0, dtype="string", source_id="a")
    writer.stream(3, name="B", type="markers", n_channels=1, sfreq=0.0, dtype="int32", source_id="b")
    writer.stream(4, name="C", type="log", n_channels=2, sfreq=0.0, dtype="string", source_id="c")
    writer.samples([["ä"], [""]], [1.0, 4.0], 2).samples([[7]], [2.0], 3).samples([["x", "y"]], [3.0], 4)
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    assert [m.label for m in recording.markers()] == ["ä", "7", "x,y", ""]
    assert recording.markers("B") == [Marker(2.0, "7")]
    with pytest.raises(StreamNotFoundError, match="'nobody', found 'A', 'B', 'C'"):
        recording.markers("nobody")


def test_the_signal_is_never_chosen_by_chance(tmp_path):
    writer = XdfWriter()
    for number, name in ((1, "One"), (2, "Two")):
        writer.stream(number, name=name, source_id=name).samples(*simple(5), number)
    writer.stream(3, name="Three", type="ECG", source_id="3").samples(*simple(5), 3)
    writer.stream(4, name="One", type="Markers", n_channels=1, sfreq=0.0, dtype="string", source_id="4")
    writer.stream(5, name="Empty", source_id="5")
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    with pytest.raises(StreamNotFoundError, match=r"found 2 that answer.*'One'.*'Two'.*--stream"):
        recording.signal()
    assert recording.signal(Selector(name="One")).info.type == "EEG"
    assert recording.signal(Selector.parse("type=ecg")).info.name == "Three"
    assert recording.signal(Selector.parse("id=2")).info.name == "Two"
    with pytest.raises(StreamNotFoundError, match="answers the selection"):
        recording.signal(Selector(name="Four"))
    with pytest.raises(RecordingError, match="regular rate"):
        recording.signal(Selector(id=4))
    with pytest.raises(RecordingError, match="is empty"):
        recording.signal(Selector(id=5))


@pytest.mark.parametrize("text", ["nme=x", "name=x,oops", "id=x"])
def test_a_wrong_selection_is_wrong_usage(text):
    with pytest.raises(UsageError):
        Selector.parse(text)


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE a [<!ENTITY x 'lol'>]><info>&x;</info>",
        "<!DOCTYPE info SYSTEM 'file:///etc/passwd'><info/>",
        "<info>" * 100 + "</info>" * 100,
        "<info>",
        "",
        "<info>\x00</info>",
    ],
)
def test_hostile_descriptions_are_refused(document):
    with pytest.raises(SourceError):
        parse_xml(document)


@pytest.mark.parametrize(
    "change",
    [
        {"n_channels": 0},
        {"n_channels": 10**9},
        {"n_channels": -2},
        {"sfreq": float("nan")},
        {"sfreq": 1e30},
        {"sfreq": -1.0},
        {"dtype": "float16"},
    ],
)
def test_impossible_descriptions_are_refused(change):
    with pytest.raises(SourceError, match="Expected"):
        signal_info(parse_xml(header_xml(**change)))


# --- clocks -------------------------------------------------------------------------------------------------------


def test_a_clock_reset_is_a_break(tmp_path):
    values, _ = simple(400)
    first, second = 1000.0 + np.arange(200) / 100, 20.0 + np.arange(200) / 100
    writer = XdfWriter().stream().samples(values[:200], first.tolist()).samples(values[200:], second.tolist())
    for time in np.arange(1000.0, 1002.0, 0.1):
        writer.offset(time, 5.0)
    for time in np.arange(20.0, 22.0, 0.1):
        writer.offset(time, 1000.0)
    samples, times, broken = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_array_equal(samples, values)
    np.testing.assert_allclose(times[:200], first + 5.0, atol=1e-6)
    np.testing.assert_allclose(times[200:], second + 1000.0, atol=1e-6)
    assert broken == [(200, Reason.CLOCK_JUMP)]


def test_a_drifting_clock_is_followed(tmp_path):
    sender = 100.0 + np.arange(2000) / 100
    values = np.zeros((2000, 2), np.float32)
    writer = XdfWriter().stream().samples(values, sender.tolist())
    for time in sender[::100]:
        outlier = 1.0 if time == sender[1000] else 0.0
        writer.offset(float(time), 3.0 + 2e-4 * (time - 100.0) + RNG.normal(0, 1e-5) + outlier)
    _, times, _ = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_allclose(times, sender + 3.0 + 2e-4 * (sender - 100.0), atol=1e-4)


def test_samples_out_of_order_are_a_break(tmp_path):
    values, times = simple(300)
    order = [slice(0, 100), slice(200, 300), slice(100, 200)]
    writer = XdfWriter().stream()
    for piece in order:
        writer.samples(values[piece], times[piece].tolist())
    _, read_times, broken = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    assert len(read_times) == 300
    assert broken == [(200, Reason.CLOCK_JUMP)]


def test_jitter_is_no_break(tmp_path):
    values, times = simple(300)
    jittered = times + RNG.uniform(-0.02, 0.02, 300)
    _, read_times, broken = read(
        XdfRecording(XdfWriter().stream().samples(values, jittered.tolist()).write(tmp_path / "f.xdf"))
    )
    np.testing.assert_array_equal(read_times, jittered)
    assert not broken


@pytest.mark.parametrize("bad", [3.6e304, float("nan"), float("-inf"), 1e12])
@pytest.mark.parametrize("explicit", [True, False])
def test_a_garbage_stamp_ends_what_is_believed(tmp_path, bad, explicit):
    values, times = simple(90)
    stamps = [float(t) if explicit or k % 30 == 0 else None for k, t in enumerate(times)]
    stamps[40] = bad
    writer = XdfWriter().stream()
    for at in (0, 30, 60):
        writer.samples(values[at : at + 30], stamps[at : at + 30])
    _, read_times, broken = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_allclose(read_times, np.concatenate([times[:40], times[60:]]), atol=1e-9)
    assert broken == [(40, Reason.GAP)]


def test_uninitialised_last_samples_are_left_out(tmp_path):
    values, times = simple(100)
    writer = XdfWriter().stream().samples(values[:99], times[:99].tolist()).samples(values[99:], [123.0])
    for time in times[::10]:
        writer.offset(float(time), 0.0)
    writer.offset(4e8, -7e7).footer(99)
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    _, read_times, _ = read(recording)
    np.testing.assert_allclose(read_times, times[:99], atol=1e-9)
    assert "uninitialised" in recording.problems[0]


# --- damage -------------------------------------------------------------------------------------------------------


def three_parts():
    """Chunks of 100 samples with boundaries between, and the samples and stamps."""
    values, times = simple(300)
    writer = XdfWriter().stream()
    for at in (0, 100, 200):
        writer.samples(values[at : at + 100], times[at : at + 100].tolist()).boundary()
    return writer, values, times


def test_damage_costs_only_up_to_the_next_boundary(tmp_path):
    writer, values, times = three_parts()
    writer.parts[4] = b"\xff" * len(writer.parts[4])  # file header, stream header, samples, boundary, samples
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    samples, read_times, broken = read(recording)
    np.testing.assert_array_equal(samples, np.concatenate([values[:100], values[200:]]))
    np.testing.assert_allclose(read_times, np.concatenate([times[:100], times[200:]]))
    assert broken == [(100, Reason.GAP)]
    assert len(recording.problems) == 1


def test_after_damage_absent_stamps_are_unknown(tmp_path):
    values, times = simple(300)
    writer = XdfWriter().stream().samples(values[:100], times[:100].tolist()).raw(b"\xff" * 50).boundary()
    writer.samples(values[100:200], [None] * 100).samples(values[200:], times[200:].tolist())
    _, read_times, broken = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_allclose(read_times, np.concatenate([times[:100], times[200:]]))
    assert broken == [(100, Reason.GAP)]


@pytest.mark.parametrize("length", [0, 1, 5, 200, 10**6, 2**31, 2**63])
def test_a_lying_chunk_length(tmp_path, length):
    writer, values, times = three_parts()
    content = samples_content(values[100:200], times[100:200].tolist())
    writer.parts[4] = chunk(3, content, 1, length)
    _, read_times, broken = read(XdfRecording(writer.write(tmp_path / "f.xdf")))
    np.testing.assert_allclose(read_times, np.concatenate([times[:100], times[200:]]))
    assert broken == [(100, Reason.GAP)]


@pytest.mark.parametrize("count", [99, 101, 10**5, 2**32 - 1, 2**63])
def test_a_lying_sample_count(tmp_path, count):
    writer, values, times = three_parts()
    content = samples_content(values[100:200], times[100:200].tolist())
    writer.parts[4] = chunk(3, varlen(count) + content[2:], 1)
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    _, read_times, broken = read(recording)
    np.testing.assert_allclose(read_times, np.concatenate([times[:100], times[200:]]))
    assert broken == [(100, Reason.GAP)]
    assert "contradicts itself" in recording.problems[0]


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_file_cut_off(tmp_path, keep):
    data = three_parts()[0].bytes()
    path = tmp_path / "f.xdf"
    path.write_bytes(data[: int(len(data) * keep)])
    if keep < 0.1:
        with pytest.raises(RecordingError):
            XdfRecording(path)
    else:
        samples, times, _ = read(XdfRecording(path))
        assert len(samples) == len(times)
        assert len(times) % 100 == 0


def test_an_unreadable_header_leaves_the_other_streams(tmp_path):
    writer = XdfWriter().raw(chunk(2, b"<info><name>", 9)).stream()
    writer.raw(chunk(3, samples_content(*simple(5)), 9)).samples(*simple(5))
    recording = XdfRecording(writer.write(tmp_path / "f.xdf"))
    assert [s.stream_id for s in recording.streams] == [1]
    assert len(recording.problems) == 2


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "begin with 'XDF:'"),
        (b"XDF:", "no readable stream header"),
        (b"\x1f\x8b12", "compressed"),
        (b"XDF:" + bytes(5000), "no readable"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path, content, match):
    path = tmp_path / "f.xdf"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=match):
        open_recording(path)
    with pytest.raises(RecordingError, match="cannot be read"):
        open_recording(tmp_path / "missing.xdf")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "f.xdf")
    with pytest.raises(RecordingError, match="neither a file nor a folder"):
        open_recording(tmp_path / "f.xdf")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_bytes_crash_the_reader(tmp_path_factory, data):
    whole = bytearray(three_parts()[0].offset(10.0, 1.0).bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(whole) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=12))
        whole[at : at + len(patch)] = patch
    path = tmp_path_factory.mktemp("fuzz") / "f.xdf"
    path.write_bytes(whole)
    with contextlib.suppress(MindwireError):
        recording = XdfRecording(path)
        for stream in recording.streams:
            for piece in recording.source(stream.stream_id).chunks():
                assert np.isfinite(piece.times).all()
                assert len(piece.times) == len(piece.samples) > 0
        recording.markers()


@pytest.mark.parametrize(
    "name", ["chunk_length_lie", "clock_resets", "empty_streams", "minimal", "out_of_order_sample_chunk"]
)
def test_difficult_files_never_crash(data_dir, name):
    with contextlib.suppress(MindwireError):
        recording = open_recording(data_dir / "robustness" / f"{name}.xdf")
        _, times, _ = read(recording)
        assert np.isfinite(times).all()


# --- other formats ------------------------------------------------------------------------------------------------


def test_a_file_that_mne_reads(tmp_path):
    mne = pytest.importorskip("mne")
    info = mne.create_info(["C3", "C4", "EMG"], 100.0, ["eeg", "eeg", "emg"])
    values = RNG.standard_normal((3, 1000)) * 1e-5
    raw = mne.io.RawArray(values, info, verbose="ERROR")
    raw.set_annotations(mne.Annotations([2.0, 1.0, 4.0], [0.5, 0.0, 1.0], ["left", "right", "BAD_ACQ_SKIP"]))
    path = tmp_path / "x_raw.fif"
    raw.save(path, fmt="double", verbose="ERROR")
    recording = open_recording(path)
    assert [m for m in recording.markers() if m.label != "BAD_ACQ_SKIP"] == [Marker(1.0, "right"), Marker(2.0, "left")]
    samples, times, broken = read(recording)
    assert recording.signal().info.labels == ("C3", "C4")
    assert recording.signal().info.units == ("V", "V")
    keep = np.r_[0:400, 500:1000]
    np.testing.assert_allclose(samples, values[:2, keep].T, rtol=1e-12)
    np.testing.assert_allclose(times, keep / 100.0)
    assert broken == [(400, Reason.GAP)]


def test_what_mne_cannot_read_is_refused(tmp_path):
    pytest.importorskip("mne")
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(RecordingError, match="format that MNE-Python reads"):
        open_recording(path)


def test_without_mne_the_extra_is_named(tmp_path):
    path = tmp_path / "x.edf"
    path.write_bytes(b"0       ")
    code = (
        "import sys; sys.modules['mne'] = None\n"
        "from mindwire.sources.recording import open_recording\n"
        "from mindwire.errors import MissingExtraError\n"
        f"try: open_recording({str(path)!r})\n"
        "except MissingExtraError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        env=os.environ,
    )
    assert "'.[train]'" in done.stdout, done.stderr


def appended(tmp_path, first: XdfWriter, second: XdfWriter):
    path, other = first.write(tmp_path / "a.xdf"), second.write(tmp_path / "b.xdf")
    append_streams(path, other)
    return path


def cues_at(*times) -> XdfWriter:
    writer = XdfWriter().stream(1, name="Cues", type="Markers", n_channels=1, sfreq=0.0, dtype="string", source_id="c")
    return writer.samples([["left"]] * len(times), list(times)).offset(1.0, 0.5).offset(100.0, 0.5).footer(len(times))


def test_appended_streams_are_read_as_if_recorded_together(tmp_path):
    values, times = simple(300)
    first = XdfWriter().stream(3, labels=["C3", "C4"]).samples(values, times.tolist(), 3).footer(300, 3)
    path = appended(tmp_path, first, cues_at(1.0, 2.0))
    recording = XdfRecording(path)
    assert recording.problems == ()
    assert [(s.stream_id, s.info.name, s.n_samples) for s in recording.streams] == [
        (3, "EEG-Test", 300),
        (4, "Cues", 2),
    ]
    assert recording.markers() == [Marker(1.5, "left"), Marker(2.5, "left")]
    oracle, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=False)
    assert [len(stream["time_stamps"]) for stream in oracle] == [300, 2]


def test_an_incomplete_end_does_not_swallow_what_is_appended(tmp_path):
    values, times = simple(300)
    first = XdfWriter().stream(labels=["C3", "C4"]).samples(values, times.tolist())
    first.raw(chunk(3, b"abc", 1, length=5000))
    recording = XdfRecording(appended(tmp_path, first, cues_at(1.0)))
    assert [stream.n_samples for stream in recording.streams] == [300, 1]


def test_a_file_that_grows_while_it_is_read_is_said_to_be_still_written(tmp_path):
    values, times = simple(300)
    path = XdfWriter().stream(labels=["C3", "C4"]).samples(values, times.tolist()).write(tmp_path / "a.xdf")
    recording = XdfRecording(path)
    assert recording.problems == ()
    before = len(recording.signal().info.labels), sum(map(len, recording.signal().chunks()))
    append_streams(path, cues_at(1.0).write(tmp_path / "b.xdf"))
    assert before == (2, sum(map(len, recording.signal().chunks())))
    assert recording.problems == ("The file is still being written; what came after it was opened is left out.",)
    assert XdfRecording(path).problems == ()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files a process has open for writing")
def test_a_file_that_a_recorder_has_open_is_said_to_be_still_written(tmp_path):
    values, times = simple(300)
    begun = XdfWriter().stream(labels=["C3", "C4"]).samples(values, times.tolist())
    path = begun.write(tmp_path / "a.xdf")
    with path.open("rb"):
        assert XdfRecording(path).problems == ()
    with path.open("ab") as recorder:
        assert len(XdfRecording(path).problems) == 1
        recorder.write(chunk(6, b"<info><footer><sample_count>300</sample_count></footer></info>", 1))
    assert XdfRecording(path).problems == ()


def test_a_recording_keeps_its_streams_when_nothing_can_be_appended(tmp_path, monkeypatch):
    values, times = simple(300)
    path = XdfWriter().stream(labels=["C3", "C4"]).samples(values, times.tolist()).write(tmp_path / "a.xdf")
    before = path.read_bytes()

    def full(file, data):
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(xdf_chunks, "_write", full)
    with pytest.raises(OSError, match="No space"):
        append_streams(path, cues_at(1.0).write(tmp_path / "b.xdf"))
    assert path.read_bytes() == before
