"""Export to BIDS: valid by the validator, and read back with the same trials and the same signal."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from mindwire.errors import RecordingError, UsageError
from mindwire.offline.bids import ExportOptions, export_bids, label, sources_in
from mindwire.sessions.completion import complete_run
from mindwire.sessions.document import Moment, Run, change_run
from mindwire.sessions.folder import open_session
from mindwire.sources.recording import open_recording
from tests.support.signals import noise
from tests.support.xdf_writer import XdfWriter, eeg_file

LABELS = ("C3", "Cz", "C4")
SAMPLES = (noise(1200) * 10).astype(np.float32)
CUES = [(1001.0, "left"), (1003.5, "right"), (1007.25, "left"), (1010.2, "rest")]
VALIDATOR = Path(__file__).parents[2] / "bids" / "node_modules" / ".bin" / "bids-validator"


@pytest.fixture
def mne_bids():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("mne_bids")


def valid(folder: Path) -> None:
    """No error of the validator, which runs everywhere where it is installed, and always in CI."""
    if not VALIDATOR.exists() and not os.environ.get("CI"):
        pytest.skip("the validator is not installed: npm ci in tests/bids")
    done = subprocess.run([VALIDATOR, "--json", folder], capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["issues"]["errors"] == []


def read_back(mne_bids, root: Path, run: str = "01", **which):
    path = mne_bids.BIDSPath(task="imagery", run=run, datatype="eeg", suffix="eeg", root=root, **which)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mne_bids.read_raw_bids(path, verbose="ERROR")


def trials(raw) -> list[tuple[float, str]]:
    found = raw.annotations
    return [
        (round(float(one["onset"]), 6), str(one["description"]))
        for one in found
        if one["description"] != "BAD_ACQ_SKIP"
    ]


@pytest.fixture
def sessions(tmp_path):
    """A session of two runs, and one that is being recorded."""
    session = open_session(tmp_path / "sessions", "P-01", "2026-11-29")
    for number in (1, 2, 3):
        run = session.begin_run(None, lambda n, file: Run(n, file, "cap", "recording", Moment(1.79e9, 1000.0)))
        path = session.folder / run.file
        eeg_file(path, SAMPLES, 100.0, LABELS, markers=CUES)
        if number < 3:
            change_run(session.folder, run.run, status="complete", ended=Moment(1.79e9 + 12, 1012.0))
            complete_run(session.folder, run.run, "complete", "ended on request")
    yield tmp_path / "sessions"
    session.close()


def test_a_session_becomes_a_valid_data_set_with_the_same_trials_and_signal(tmp_path, sessions, mne_bids):
    out = tmp_path / "bids"
    options = ExportOptions(line_freq=50.0, reference="Cz", duration_s=1.5)
    lines = list(export_bids(sources_in(sessions), out, options))
    assert len(lines) == 2  # not the one that is being recorded
    for run in ("01", "02"):
        raw = read_back(mne_bids, out, run, subject="P01", session="20261129")
        assert trials(raw) == [(round(time - 1000, 6), text) for time, text in CUES]
        assert set(raw.annotations.duration.tolist()) == {1.5}
        assert raw.ch_names == list(LABELS)
        assert set(raw.get_channel_types()) == {"eeg"}
        assert raw.info["sfreq"] == 100
        assert raw.info["line_freq"] == 50
        np.testing.assert_allclose(raw.get_data().T * 1e6, SAMPLES, rtol=5e-7, atol=1e-9)
    sidecar = next(out.glob("sub-P01/ses-20261129/eeg/*run-01_eeg.json"))
    assert json.loads(sidecar.read_text())["EEGReference"] == "Cz"
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Name"] == "Mindwire"
    assert "sub-P01" in (out / "participants.tsv").read_text()
    valid(out)


def test_what_is_there_is_not_replaced_without_force(tmp_path, sessions, mne_bids):
    out, sources = tmp_path / "bids", sources_in(sessions)[:1]
    list(export_bids(sources, out, ExportOptions()))
    written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"run-01_eeg\.vhdr is there already; give another --out, or --force"):
        list(export_bids(sources, out, ExportOptions()))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == written
    list(export_bids(sources, out, ExportOptions(force=True)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there and no BIDS data set"):
        list(export_bids(sources, tmp_path / "other", ExportOptions()))


def test_recordings_of_others_with_gaps_and_decisions_are_exported(tmp_path, mne_bids):
    writer = XdfWriter()
    writer.stream(1, n_channels=3, sfreq=100.0, labels=LABELS)
    times = 1000.0 + np.arange(1200) / 100
    times[500:] += 3.0  # three seconds were lost
    for at in range(0, 1200, 50):
        writer.samples(SAMPLES[at : at + 50], times[at : at + 50].tolist())
    writer.stream(2, name="Cues", type="Markers", sfreq=0.0, dtype="string", n_channels=1, source_id="m")
    writer.samples([["1"], ["2"]], [1002.0, 1010.0], 2)
    writer.stream(
        3, name="Mindwire-cap-Decisions", type="Markers", sfreq=0.0, dtype="string", n_channels=1, source_id="d"
    )
    writer.samples([["left"]], [1011.5], 3)
    folder = tmp_path / "Jo's runs"
    folder.mkdir()
    writer.write(folder / "a.xdf")
    [line] = export_bids(sources_in(folder), tmp_path / "bids", ExportOptions())
    assert "1 decision, 1 gap marked BAD_ACQ_SKIP" in line
    raw = read_back(mne_bids, tmp_path / "bids", subject="Josruns")
    assert trials(raw) == [(2.0, "1"), (10.0, "2"), (11.5, "decision/left")]
    [skip] = [one for one in raw.annotations if one["description"] == "BAD_ACQ_SKIP"]
    assert (skip["onset"], skip["duration"]) == (5.0, 3.0)
    data = raw.get_data().T * 1e6
    assert not data[500:800].any()
    np.testing.assert_allclose(data[800:], SAMPLES[500:], rtol=5e-7, atol=1e-9)
    valid(tmp_path / "bids")


def test_what_a_recording_lacks_is_asked_for(tmp_path):
    eeg_file(tmp_path / "a.xdf", SAMPLES, 100.0, LABELS, unit="")
    sources = sources_in(tmp_path, "P1")
    pytest.importorskip("mne_bids")
    with pytest.raises(RecordingError, match="states no unit for C3; give it with --unit"):
        list(export_bids(sources, tmp_path / "bids", ExportOptions()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="expected sessions or recordings, found none"):
        sources_in(tmp_path / "empty")
    with pytest.raises(UsageError, match="letters or digits"):
        label("–")


def test_participants_that_would_be_one_are_refused(tmp_path):
    for name in ("P-1", "P1"):
        open_session(tmp_path, name).close()
    with pytest.raises(RecordingError, match="P-1 and P1 would both be sub-P1 in BIDS"):
        sources_in(tmp_path)


@pytest.mark.parametrize(("name", "unit"), [("s1/s1-run04-22ch-250hz.xdf", None), ("a/a-day1-run1.xdf", "uV")])
def test_real_recordings_read_back_with_their_trials_and_their_signal(tmp_path, data_dir, mne_bids, name, unit):
    out, path = tmp_path / "bids", data_dir / name
    [_] = export_bids(sources_in(path, "P1"), out, ExportOptions(unit=unit))
    raw = read_back(mne_bids, out, subject="P1")
    recording = open_recording(path)
    signal = recording.signal()
    times, samples = (
        np.concatenate(parts) for parts in zip(*((c.times, c.samples) for c in signal.chunks()), strict=True)
    )
    cues = recording.markers()
    found = trials(raw)
    assert sorted(text for _, text in found) == sorted(cue.label for cue in cues)
    data = raw.get_data().T * 1e6
    kept = np.ones(len(data), bool)
    for skip in raw.annotations[raw.annotations.description == "BAD_ACQ_SKIP"]:
        begin = round(skip["onset"] * signal.info.sfreq)
        kept[begin : begin + round(skip["duration"] * signal.info.sfreq)] = False
    assert kept.sum() == len(samples)
    np.testing.assert_allclose(data[kept], samples, rtol=5e-7, atol=1e-9)
    place = np.cumsum(kept) - 1
    for cue in cues:  # an event of this text at the sample nearest to the cue, but for jitter of its stamp
        near = [times[place[round(at * signal.info.sfreq)]] for at, text in found if text == cue.label]
        assert min(abs(np.array(near) - cue.time)) < 0.3
