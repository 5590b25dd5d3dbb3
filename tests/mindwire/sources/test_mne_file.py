"""Recordings of other formats: what they state of cuts, units and events is what is read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mindwire.errors import ContractError, RecordingError, StreamNotFoundError
from mindwire.signal.montage import resolve_montage
from mindwire.sources import mne_file
from mindwire.sources.recording import open_recording
from mindwire.types import Reason
from tests.support.odd_recordings import eeglab
from tests.support.recorded_files import brainvision_file, edf_file, eeglab_file, gdf_file
from tests.support.signals import LABELS, small_contract

mne = pytest.importorskip("mne")
RNG = np.random.default_rng(5)
SFREQ = 100.0


def raw_of(seconds: float = 10.0, labels=LABELS, types="eeg"):
    values = RNG.standard_normal((len(labels), int(seconds * SFREQ))) * 1e-5
    return mne.io.RawArray(values, mne.create_info(list(labels), SFREQ, types), verbose="ERROR")


def saved(raw, path):
    raw.save(path, fmt="double", verbose="ERROR")
    return open_recording(path)


def parts(recording) -> list[tuple[float, int, bool]]:
    """Time and samples of each stretch without a break, and whether it begins with one."""
    found: list[list] = []
    for chunk in recording.signal().chunks():
        if not found or chunk.discontinuity:
            found.append([round(float(chunk.times[0]), 3), 0, bool(chunk.discontinuity & Reason.GAP)])
        found[-1][1] += len(chunk)
    return [tuple(one) for one in found]


def labels(recording, stream=None) -> list[tuple[float, str]]:
    return [(round(marker.time, 3), marker.label) for marker in recording.markers(stream)]


def test_joined_runs_break_where_they_were_joined(tmp_path):
    runs = [raw_of(3.0), raw_of(4.0), raw_of(2.0)]
    runs[1].set_annotations(mne.Annotations([1.0], [0.0], ["left"]))
    recording = saved(mne.concatenate_raws(runs, verbose="ERROR"), tmp_path / "joined_raw.fif")
    assert parts(recording) == [(0.0, 300, False), (3.0, 400, True), (7.0, 200, True)]
    assert (4.0, "left") in labels(recording)


@pytest.mark.parametrize("cut", ["BAD boundary", "EDGE boundary", "BAD_ACQ_SKIP", "New Segment/", "boundary"])
def test_a_cut_is_no_marker(tmp_path, cut):
    raw = raw_of()
    raw.set_annotations(mne.Annotations([4.0, 6.0, 8.0], [0.0, 0.5, 0.0], [cut, "BAD_blink", "left"]))
    assert [label for _, label in labels(saved(raw, tmp_path / "cut_raw.fif"))] == ["BAD_blink", "left"]


def test_a_split_recording_is_one(tmp_path):
    raw = raw_of(60.0, labels=[f"E{i}" for i in range(60)])
    raw.save(tmp_path / "s_raw.fif", fmt="double", split_size="2MB", verbose="ERROR")
    assert len(list(tmp_path.iterdir())) > 1
    assert parts(open_recording(tmp_path / "s_raw.fif")) == [(0.0, 6000, False)]


def test_what_was_not_acquired_is_left_out_and_its_time_stays(tmp_path):
    raw = raw_of()
    raw.set_annotations(mne.Annotations([4.0, 8.0], [1.0, 0.0], ["BAD_ACQ_SKIP", "left"]))
    recording = saved(raw, tmp_path / "skip_raw.fif")
    assert parts(recording) == [(0.0, 400, False), (5.0, 500, True)]
    assert labels(recording)[-1] == (8.0, "left")


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        # the first segment's date, and those that follow: sample, what it is called, date
        ([(301, "", "20240102030413000000")], [(0.0, 300, False), (8.0, 700, True)]),
        ([(301, "", "")], [(0.0, 300, False), (3.0, 700, True)]),
        ([(301, "", "20240102030405000000")], [(0.0, 300, False), (3.0, 700, True)]),
        ([(301, "LostSamples: 250", "")], [(0.0, 300, False), (5.5, 700, True)]),
        (
            [(301, "", "20240102030413000000"), (501, "", "20240102030420000000")],
            [(0.0, 300, False), (8.0, 200, True), (15.0, 500, True)],
        ),
    ],
)
def test_a_new_segment_of_brainvision_is_a_break(tmp_path, segments, expected):
    path = brainvision_file(tmp_path / "p.vhdr", RNG.standard_normal((1000, 3)), LABELS, segments)
    recording = open_recording(path)
    assert parts(recording) == expected
    last_time = expected[-1][0] + expected[-1][1] / SFREQ
    assert labels(recording)[-1] == (pytest.approx(last_time - 1.0), "Stimulus/S  1")


@pytest.mark.parametrize(
    ("code", "duration", "gap"),
    [
        ("boundary", 250.0, 2.5),
        ("boundary", float("nan"), 0.0),
        ("boundary", 0.0, 0.0),
        ("boundary", 1e4, 100.0),
        (-99, 250.0, 2.5),
    ],
)
def test_a_boundary_of_eeglab_is_a_break_that_drops_nothing(tmp_path, code, duration, gap):
    cue = "left" if code == "boundary" else 7
    path = eeglab_file(
        tmp_path / "b.set", RNG.standard_normal((1000, 3)), LABELS, [(300.5, code, duration), (801.0, cue, 0.0)]
    )
    recording = open_recording(path)
    assert parts(recording) == [(0.0, 300, False), (3.0 + gap, 700, True)]
    assert labels(recording)[-1] == (8.0 + gap, str(cue))


@pytest.mark.parametrize(("unit", "scale"), [("uV", 1.0), ("mV", 1e3), ("", None)])
def test_a_new_run_of_gdf_is_a_break_and_its_unit_is_what_it_states(tmp_path, unit, scale):
    values = RNG.integers(-500, 500, (1000, 3))
    events = [(1, 32766), (301, 32766), (401, 769)]
    recording = open_recording(gdf_file(tmp_path / "r.gdf", values, LABELS, events, unit=unit))
    assert parts(recording) == [(0.0, 300, False), (3.0, 700, True)]
    assert labels(recording)[-1] == (4.0, "769")
    if scale is None:
        with pytest.raises(ContractError, match="states no unit"):
            resolve_montage(small_contract(), recording.signal().info)
        return
    samples = np.concatenate([chunk.samples for chunk in recording.signal().chunks()])
    montage = resolve_montage(small_contract(), recording.signal().info)
    np.testing.assert_allclose(montage.apply(samples), values * scale, rtol=1e-6, atol=1e-6)


def test_what_mne_exports_to_brainvision_keeps_its_breaks(tmp_path):
    path = brainvision_file(tmp_path / "p.vhdr", RNG.standard_normal((1000, 3)), LABELS, [])
    marks = path.with_suffix(".vmrk")
    text = marks.read_text(encoding="utf-8").replace("New Segment,,1,1,0", "New Segment,,301,1,0")
    marks.write_text(f"{text}Mk9=Comment,BAD boundary,501,0,0\n", encoding="utf-8")
    assert parts(open_recording(path)) == [(0.0, 300, False), (3.0, 200, True), (5.0, 500, True)]


def test_records_of_a_discontinuous_edf_have_the_times_they_state(tmp_path):
    path = edf_file(
        tmp_path / "d.edf",
        RNG.integers(-500, 500, (1000, 3)),
        LABELS,
        onsets=[0.25, 1.25, 2.25, 5.25, 6.25, 7.25, 9.0, 10.0, 11.0, 12.0],
        annotations=[(2.0, "left"), (10.25, "right")],
        kind="EDF+D",
    )
    recording = open_recording(path)
    assert parts(recording) == [(0.0, 300, False), (5.0, 300, True), (8.75, 400, True)]
    assert labels(recording) == [(1.75, "left"), (10.0, "right")]


@pytest.mark.parametrize("kind", ["EDF+C", "BDF+C"])
def test_a_continuous_edf_stays_one(tmp_path, kind):
    path = edf_file(
        tmp_path / f"c.{kind[:3].lower()}",
        RNG.integers(-500, 500, (500, 3)),
        LABELS,
        onsets=range(5),
        annotations=[(2.0, "left")],
        kind=kind,
    )
    recording = open_recording(path)
    assert parts(recording) == [(0.0, 500, False)]
    assert labels(recording) == [(2.0, "left")]


def test_records_of_a_discontinuous_bdf_have_the_times_they_state(tmp_path):
    path = edf_file(
        tmp_path / "d.bdf", RNG.integers(-500, 500, (400, 3)), LABELS, onsets=[0, 1, 2.5, 3.5], kind="BDF+D"
    )
    assert parts(open_recording(path)) == [(0.0, 200, False), (2.5, 200, True)]


def test_records_that_overlap_do_not_follow_each_other(tmp_path):
    path = edf_file(
        tmp_path / "d.edf", RNG.integers(-500, 500, (400, 3)), LABELS, onsets=[0, 1, 1.5, 2.5], kind="EDF+D"
    )
    assert parts(open_recording(path)) == [(0.0, 200, False), (1.5, 200, True)]


@pytest.mark.parametrize("kind", ["EDF+C", "BDF+C"])
@pytest.mark.parametrize(
    ("onsets", "expected"),
    [
        ([0, 1, 12, 13], [(0.0, 200, False), (12.0, 200, True)]),
        ([0, 1.004, 1.996, 3.004], [(0.0, 400, False)]),  # rounded times are no pauses
        ([0, 1, None, 3], [(0.0, 400, False)]),
    ],
)
def test_a_continuous_file_whose_records_leave_time_out_has_pauses(tmp_path, kind, onsets, expected):
    path = edf_file(
        tmp_path / f"c.{kind[:3].lower()}",
        RNG.integers(-500, 500, (400, 3)),
        LABELS,
        onsets,
        [(13.5, "cue")],
        kind=kind,
    )
    recording = open_recording(path)
    assert parts(recording) == expected
    if len(expected) == 2:
        assert labels(recording) == [(13.5, "cue")]


def test_lost_samples_that_brainvision_tells_as_a_comment_are_a_break(tmp_path):
    path = brainvision_file(tmp_path / "p.vhdr", RNG.standard_normal((1000, 3)), LABELS, [])
    marks = path.with_suffix(".vmrk")
    marks.write_text(marks.read_text() + "Mk99=Comment,LostSamples: 250,301,1,0\n")
    assert parts(open_recording(path)) == [(0.0, 300, False), (5.5, 700, True)]


@pytest.mark.parametrize("onsets", [[0, 1, None, 3], [0, 3, 2, 4]])
def test_records_without_a_time_or_in_disorder_are_refused(tmp_path, onsets):
    path = edf_file(tmp_path / "d.edf", RNG.integers(-5, 5, (400, 3)), LABELS, onsets=onsets, kind="EDF+D")
    with pytest.raises(RecordingError, match=r"record 3"):
        open_recording(path)


@pytest.mark.parametrize(
    ("unit", "scale"), [("uV", 1.0), ("\xb5V", 1.0), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3), ("uVolt", 1.0)]
)
@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_values_are_in_the_unit_that_the_file_states(tmp_path, unit, scale, suffix):
    values = RNG.integers(-500, 500, (200, 3))
    kind = f"{suffix.upper()}+C"
    path = edf_file(tmp_path / f"u.{suffix}", values, LABELS, onsets=range(2), unit=unit, kind=kind)
    signal = open_recording(path).signal()
    samples = np.concatenate([chunk.samples for chunk in signal.chunks()])
    montage = resolve_montage(small_contract(), signal.info)
    np.testing.assert_allclose(montage.apply(samples)[:, [0, 1, 2]], values * scale, atol=0.02 * scale)
    if unit in ("uV", "mV"):
        given = resolve_montage(small_contract(), signal.info, unit="uV")
        np.testing.assert_allclose(given.apply(samples), values, atol=0.02)
        assert bool(given.note) == (unit == "mV")


@pytest.mark.parametrize("unit", ["", "counts"])
def test_a_unit_that_is_not_stated_is_asked_for(tmp_path, unit):
    values = RNG.integers(-500, 500, (200, 3))
    signal = open_recording(edf_file(tmp_path / "u.edf", values, LABELS, onsets=range(2), unit=unit)).signal()
    with pytest.raises(ContractError, match="--unit"):
        resolve_montage(small_contract(), signal.info)
    samples = np.concatenate([chunk.samples for chunk in signal.chunks()])
    montage = resolve_montage(small_contract(), signal.info, unit="uV")
    np.testing.assert_allclose(montage.apply(samples), values, atol=0.02)


def test_events_of_a_stimulus_channel_are_markers_where_nothing_else_is(tmp_path):
    raw = raw_of(10.0, [*LABELS, "STI 014"], ["eeg"] * 3 + ["stim"])
    level = np.zeros(1000)
    level[200:250], level[500:502], level[502:520], level[800] = 1, 2, 3, 1
    raw._data[3] = level
    recording = saved(raw, tmp_path / "stim_raw.fif")
    assert labels(recording) == [(2.0, "1"), (5.0, "2"), (5.02, "3"), (8.0, "1")]
    assert recording.signal().info.labels == LABELS
    raw.set_annotations(mne.Annotations([3.0, 5.0], [0.0, 0.0], ["left", "BAD_x"]))
    recording = saved(raw, tmp_path / "both_raw.fif")
    assert labels(recording) == [(3.0, "left"), (5.0, "BAD_x")]
    assert len(recording.markers("STI 014")) == 4
    with pytest.raises(StreamNotFoundError, match="'STI 014'"):
        recording.markers("nobody")


def test_biosemis_status_channel_is_read_without_its_own_bits(tmp_path):
    status = np.full(500, 0x10000)
    status[100:110] |= 7
    status[300:310] |= 9
    values = np.column_stack([RNG.integers(-500, 500, (500, 3)), status])
    path = edf_file(tmp_path / "s.bdf", values, [*LABELS, "Status"], onsets=range(5), kind="BDF+C")
    assert labels(open_recording(path)) == [(1.0, "7"), (3.0, "9")]


@pytest.mark.parametrize("name", ["a.mat", "a.eeg", "a.edf", "a.vhdr", "a.set", "a_raw.fif", "a.cnt", "a.gdf", "a.csv"])
def test_noise_is_refused_in_one_readable_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(RNG.integers(0, 256, 5000, dtype=np.uint8)))
    with pytest.raises(RecordingError, match="XDF or another format that MNE-Python reads") as caught:
        open_recording(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("seed", [4, 18, 20, 104])
def test_damage_that_ends_the_process_of_scipys_reader_is_told(tmp_path, seed):
    path = eeglab(np.random.default_rng(1), tmp_path).path
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for _ in range(6):
        data[rng.integers(0, 2000)] = rng.integers(0, 256)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="damaged file"):
        open_recording(path)


def test_a_folder_is_refused_with_the_files_in_it(tmp_path):
    (tmp_path / "run1.xdf").write_bytes(b"XDF:")
    with pytest.raises(RecordingError, match=r"found a folder; give the files in it, for example .*run1\.xdf"):
        open_recording(tmp_path)


def test_a_header_of_more_channels_than_the_file_holds_is_refused_at_once(tmp_path):
    path = gdf_file(tmp_path / "r.gdf", np.zeros((100, 3)), LABELS, [(50, 769)])
    data = bytearray(path.read_bytes())
    data[252:256] = b"\xff" * 4
    path.write_bytes(bytes(data))
    with pytest.raises(RecordingError, match="damaged header"):
        open_recording(path)


def test_a_file_that_ends_the_process_of_its_reader_is_refused(tmp_path, monkeypatch):
    path = eeglab_file(tmp_path / "b.set", RNG.standard_normal((1000, 3)), LABELS, [])
    assert open_recording(path).signal().n_samples == 1000
    monkeypatch.setattr(mne_file, "_READ_MAT", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(RecordingError, match="found a damaged file, which cannot be read; use another copy"):
        open_recording(path)


def test_an_eeglab_file_is_probed_without_mne(tmp_path):
    path = eeglab_file(tmp_path / "b.set", RNG.standard_normal((1000, 3)), LABELS, [])
    code = mne_file._READ_MAT + "\nassert 'mne' not in sys.modules and 'h5py' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code, str(path)], check=True, timeout=60)
