"""Files of BCI Competition IV 2a are read correctly, and other files are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.wimpff2024.bcic2a import CLASSES, read_session, read_sessions
from mindwire.errors import RecordingError, UsageError
from tests.support.bcic2a_files import SFREQ, make_runs, write_gdf, write_labels, write_mat

RUNS = make_runs(0)


def test_mat_files_of_bnci_horizon(tmp_path):
    session = read_session(write_mat(tmp_path / "A01T.mat", RUNS))
    assert (session.person, session.day, session.sfreq) == (1, "T", SFREQ)
    assert len(session.runs) == 2  # the calibration run has no trials
    for run, written in zip(session.runs, RUNS, strict=True):
        np.testing.assert_array_equal(run.samples, written.samples[:, :22])
        np.testing.assert_array_equal(run.cues, written.starts + 2 * SFREQ)
        np.testing.assert_array_equal(run.labels, written.classes - 1)


def test_gdf_files_of_the_competition(tmp_path):
    pytest.importorskip("mne")
    first = write_gdf(tmp_path / "A03T.gdf", RUNS)
    second = write_gdf(tmp_path / "A03E.gdf", RUNS, with_classes=False)
    write_labels(tmp_path / "A03E.mat", RUNS)
    [(train, test)] = read_sessions([second, first])
    assert (train.day, test.day, train.person) == ("T", "E", 3)
    for session in (train, test):
        assert len(session.runs) == 2
        for run, written in zip(session.runs, RUNS, strict=True):
            assert len(run.samples) == len(written.samples)
            np.testing.assert_allclose(run.samples, written.samples[:, :22], atol=100 / 2**15)
            np.testing.assert_array_equal(run.cues, written.starts + 2 * SFREQ)
            np.testing.assert_array_equal(run.labels, written.classes - 1)


def test_a_session_is_a_recording_with_its_runs_apart(tmp_path):
    session = read_session(write_mat(tmp_path / "A01T.mat", RUNS))
    chunks = list(session.signal().chunks())
    assert sum(len(chunk) for chunk in chunks) == session.n_samples == sum(len(run.samples) for run in RUNS)
    assert [bool(chunk.discontinuity) for chunk in chunks].count(True) == 1
    times = np.concatenate([chunk.times for chunk in chunks])
    assert np.diff(times).max() > 10
    samples = np.concatenate([chunk.samples for chunk in chunks])
    for marker in session.markers():
        at = int(np.searchsorted(times, marker.time - 1e-6))
        power = (samples[at : at + 4 * SFREQ] ** 2).mean(axis=0)
        assert CLASSES[int(power.argmax()) // 5] == marker.label


def test_the_second_day_of_gdf_needs_the_true_labels(tmp_path):
    pytest.importorskip("mne")
    path = write_gdf(tmp_path / "A01E.gdf", RUNS, with_classes=False)
    with pytest.raises(RecordingError, match="true labels into the same folder"):
        read_session(path)
    write_labels(tmp_path / "A01E.mat", RUNS[:1])
    with pytest.raises(RecordingError, match="a class for each of 12 trials, found 6"):
        read_session(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["B01T.mat"], "expected a file of BCI Competition IV 2a"),
        (["A01T.xdf"], "expected a file of BCI Competition IV 2a"),
        (["A02T.mat"], "A02E is missing"),
        (["A02T.mat", "A2T.mat"], "given twice"),
    ],
)
def test_files_must_say_whose_they_are_and_come_in_pairs(tmp_path, names, message):
    paths = [write_mat(tmp_path / name, RUNS[:1]) if name.endswith(".mat") else tmp_path / name for name in names]
    with pytest.raises(UsageError, match=message):
        read_sessions(paths)


@pytest.mark.parametrize("name", ["A01T.mat", "A01T.gdf"])
def test_damaged_files_are_refused(tmp_path: Path, name):
    pytest.importorskip("mne")
    path = tmp_path / name
    path.write_bytes(b"GDF 1.25" + bytes(40))
    with pytest.raises(RecordingError, match=r"A01T\.(mat|gdf): expected"):
        read_session(path)


def test_other_mat_files_are_refused(tmp_path):
    path = write_labels(tmp_path / "A01E.mat", RUNS)
    with pytest.raises(RecordingError, match="cell array 'data'"):
        read_session(path)
