"""Small recordings with one fault each give what an undisturbed reader would expect, or a sentence that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ContractError, MindwireError, RecordingError, StreamNotFoundError
from mindwire.evaluation.pseudo_online import RunSettings, run_recordings
from mindwire.offline.replay import Replay
from mindwire.offline.trials import parse_marker_map, trials_from_markers
from mindwire.options import PipelineOptions
from mindwire.sources.recording import open_recording
from mindwire.training.contract import make_contract
from mindwire.training.data import TrialSpan, collect_trials, open_trials
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import NoNormalisation
from mindwire_models.zoo import zoo_bundle_path
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import small_contract

CUES = (5.0, 9.5, 14.0, 18.5)
BEHIND = (5.0, 9.5, 24.0, 28.5)


@pytest.fixture(scope="module")
def faulty(data_dir) -> Path:
    folder = data_dir / "faulty"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def replayed(path: Path, window_samples: int = 1000, **options) -> Replay:
    contract = load_bundle(zoo_bundle_path()).contract.model_copy(update={"window_samples": window_samples})
    replay = Replay(
        open_recording(path).signal(), contract, LinearDecoder(len(contract.classes)), PipelineOptions(**options)
    )
    replay.found = list(replay.predictions())  # type: ignore[attr-defined]
    return replay


def cues(path: Path, stream: str | None = None) -> list[float]:
    """Times of the cues since the recording's first sample; what tells a cut is none."""
    recording = open_recording(path)
    first = next(iter(recording.signal().chunks())).times[0]
    return [
        round(marker.time - first, 3)
        for marker in recording.markers(stream)
        if not marker.label.casefold().startswith(("new segment", "boundary", "bad", "edge"))
    ]


@pytest.mark.parametrize(
    "name",
    [
        "reference.xdf",
        "marker-spaces.xdf",
        "marker-commas.xdf",
        "marker-type-stim.xdf",
        "marker-stream-twice.xdf",
        "unit-latin1.xdf",
    ],
)
def test_what_is_odd_about_markers_and_units_changes_nothing(faulty, name):
    summary = replayed(faulty / name).summary
    assert (summary.windows, summary.valid, sum(summary.events.values())) == (501, 400, 0)
    np.testing.assert_allclose(cues(faulty / name), CUES, atol=0.01)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("truth-joined.xdf", BEHIND),
        ("pause.vhdr", BEHIND),
        ("boundary-duration.set", BEHIND),
        ("discontinuous.edf", BEHIND),
        ("joined_raw.fif", CUES),
        ("boundary-nan.set", CUES),
    ],
)
def test_no_window_lies_across_a_cut(faulty, name, times):
    if not name.endswith("xdf"):
        pytest.importorskip("mne")
    replay = replayed(faulty / name)
    assert (replay.summary.windows, replay.summary.valid) == (402, 249)
    assert replay.summary.events == {"gap": 1}
    assert replay.summary.samples == 6000
    np.testing.assert_allclose(cues(faulty / name), times, atol=0.01)


@pytest.mark.parametrize("name", ["truth-joined.xdf", "pause.vhdr", "boundary-duration.set", "discontinuous.edf"])
def test_a_gap_of_known_length_is_told_with_its_length(faulty, name):
    if not name.endswith("xdf"):
        pytest.importorskip("mne")
    replay = Replay(open_recording(faulty / name).signal(), load_bundle(zoo_bundle_path()).contract, LinearDecoder(4))
    pipeline = replay.pipeline
    told = []
    for chunk in open_recording(faulty / name).signal().chunks():
        pipeline.advance(chunk)
        told += pipeline.drain_events()
    assert [round(event.data["seconds"], 2) for event in told] == [10.0]


def test_marker_labels_are_what_can_be_mapped(faulty):
    def labels(name, stream=None):
        return [marker.label for marker in open_recording(faulty / name).markers(stream)]

    assert labels("marker-spaces.xdf") == ["Stimulus/S  1", "Stimulus/S  2"] * 2
    assert labels("marker-commas.xdf") == ["switch,2,0,2", "switch,2,1,2"] * 2
    assert labels("marker-type-stim.xdf") == labels("marker-type-stim.xdf", "Cues") == ["1", "2"] * 2


def test_a_rate_that_cannot_be_read_is_told(faulty):
    with pytest.raises(StreamNotFoundError, match=r"'Cap' \(type 'EEG'\).*nominal sampling rate, found '250,0'"):
        open_recording(faulty / "rate-comma.xdf").signal()


def test_an_unknown_unit_is_asked_for(faulty):
    pytest.importorskip("mne")
    with pytest.raises(ContractError, match="states no unit; say what it is with --unit"):
        replayed(faulty / "no-unit.edf")
    summary = replayed(faulty / "no-unit.edf", unit="uV").summary
    assert (summary.windows, summary.valid) == (501, 400)


def test_only_eeg_is_taken(faulty):
    info = open_recording(faulty / "eog-typed.xdf").signal().info
    contract = make_contract(None, info, ("a", "b"))
    assert contract.channels == tuple(f"E{i}" for i in range(1, 9))


def test_the_data_file_of_a_recording_names_its_header(faulty):
    with pytest.raises(MindwireError, match=r"give .*pause\.vhdr"):
        open_recording(faulty / "pause.eeg")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stamps-ms.xdf", "cannot be seconds: they seem to be milliseconds"),
        ("stamps-unix-ms.xdf", "can be seconds, .*they seem to be milliseconds since 1970"),
        ("half-nominal.xdf", "by them the signal runs at 500 Hz, and it is taken to have 250 Hz"),
    ],
)
def test_stamps_that_contradict_the_rate_are_one_sentence(faulty, name, says):
    ran = CliRunner().invoke(app, ["replay", str(faulty / name)], catch_exceptions=True)
    assert isinstance(ran.exception, RecordingError)
    assert re.search(says, str(ran.exception))
    assert ran.output.count("\n") <= 1


def test_one_stamp_half_a_period_early_changes_nothing(faulty):
    replay = replayed(faulty / "one-stamp-half-period-early.xdf")
    assert (replay.summary.samples, sum(replay.summary.events.values())) == (500, 0)


def test_the_rate_may_be_accepted_against_the_stamps(faulty):
    summary = replayed(faulty / "stamps-ms.xdf", sfreq=250.0).summary
    assert (summary.windows, summary.valid, summary.events) == (501, 400, {"rate": 1})


@pytest.mark.parametrize("name", ["half-nominal.xdf", "stamps-ms.xdf"])
def test_stamps_that_contradict_the_rate_are_told_and_nothing_of_them_is_valid(faulty, name):
    summary = replayed(faulty / name).summary
    assert summary.valid == 0
    assert "contradict" in summary.remarks["rate"]


def test_stamps_that_cannot_be_seconds_are_refused(faulty):
    with pytest.raises(MindwireError, match="milliseconds since 1970"):
        replayed(faulty / "stamps-unix-ms.xdf")


def test_one_early_stamp_changes_nothing(faulty):
    summary = replayed(faulty / "one-stamp-half-period-early.xdf", window_samples=250).summary
    assert (summary.windows, sum(summary.events.values())) == (26, 0)
    assert "gap" not in summary.reasons


def test_after_stamps_that_jump_and_return_predictions_go_on(faulty):
    replay = replayed(faulty / "stamps-jump-and-return.xdf")
    assert any(1018.5 + 4 < one.time <= 1024 and one.valid for one in replay.found)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("reference.xdf", []),
        ("marker-spaces.xdf", ["Stimulus/S  1=left_hand", "Stimulus/S  2=right_hand"]),
        ("marker-commas.xdf", ["switch,2,0,2=left_hand", "switch,2,1,2=right_hand"]),
        ("marker-type-stim.xdf", ["1=left_hand", "2=right_hand"]),
        ("marker-stream-twice.xdf", []),
        ("unit-latin1.xdf", []),
        ("boundary-duration.set", []),
        ("discontinuous.edf", []),
        ("pause.vhdr", ["S1=left_hand", "S2=right_hand"]),
    ],
)
def test_the_four_cues_are_trials(faulty, name, entries):
    if not name.endswith("xdf"):
        pytest.importorskip("mne")
    markers = open_recording(faulty / name).markers()
    trials = trials_from_markers(markers, ("left_hand", "right_hand"), parse_marker_map(entries))
    assert [trial.label for trial in trials] == ["left_hand", "right_hand"] * 2


def test_cues_of_another_clock_are_told(faulty):
    settings = RunSettings(markers={}, marker_stream=None, stream=None, pipeline=PipelineOptions())
    contract = load_bundle(zoo_bundle_path()).contract.model_copy(update={"classes": ("left_hand", "right_hand")})
    recordings, trials, _ = open_trials([faulty / "eeg-unix-markers-lsl.xdf"], contract.classes, settings)
    with pytest.raises(RecordingError, match="none of the 4 cues lies within the EEG's time"):
        collect_trials(recordings, trials, contract, TrialSpan(0.0, 4.0, 4.0), settings=settings)


@pytest.mark.parametrize(("run", "least"), [("day1-run2", 0.98), ("day1-run4", 0.95), ("day2-run3", 0.98)])
def test_a_cap_whose_stamps_come_in_bursts_and_stall_stays_usable(data_dir, run, least):
    path = data_dir / "a" / f"a-{run}.xdf"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    labels = ("Fz", "FC1", "FC2", "C3", "Cz", "C4", "CP1", "CP2")
    contract = small_contract(channels=labels, sfreq=125.0, normalisation=NoNormalisation(), window_samples=500)
    options = PipelineOptions(channels=labels, unit="uV")
    replay = Replay(open_recording(path).signal(), contract, LinearDecoder(2), options)
    assert sum(prediction.valid for prediction in replay.predictions()) > least * replay.summary.windows
    assert replay.summary.events["rate"] < 20


def test_training_says_that_the_stamps_are_why_no_trial_has_a_window(faulty, caplog):
    settings = RunSettings(markers={}, marker_stream=None, stream=None, pipeline=PipelineOptions())
    contract = load_bundle(zoo_bundle_path()).contract.model_copy(update={"classes": ("left_hand", "right_hand")})
    recordings, trials, _ = open_trials([faulty / "stamps-ms.xdf"], contract.classes, settings)
    with pytest.raises(RecordingError, match=r"None of the 4 trials .* Mend what is said above"):
        collect_trials(recordings, trials, contract, TrialSpan(0.0, 4.0, 4.0), settings=settings)
    assert caplog.text.count("they seem to be milliseconds") == 1
    accepted = RunSettings(markers={}, marker_stream=None, stream=None, pipeline=PipelineOptions(sfreq=250.0))
    assert collect_trials(recordings, trials, contract, TrialSpan(0.0, 4.0, 4.0), settings=accepted)


def test_evaluation_says_that_the_stamps_are_why_nothing_is_valid(faulty, caplog):
    settings = RunSettings(markers={}, marker_stream=None, stream=None, pipeline=PipelineOptions())
    contract = load_bundle(zoo_bundle_path()).contract
    (run,) = run_recordings(
        [faulty / "stamps-ms.xdf"], contract, LinearDecoder(4), classes=contract.classes, settings=settings
    )
    assert not run.trace.valid.any()
    assert caplog.text.count("they seem to be milliseconds") == 1
