"""Windows to train on: one at least of every trial that has the signal, and a reason for every other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mindwire.errors import ArgumentError, RecordingError
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.recording import open_recording
from mindwire.training import fit as calibration
from mindwire.training import run as calibration_run
from mindwire.training.contract import make_contract
from mindwire.training.data import RecordedTrials, TrialSpan, collect_trials, open_trials
from mindwire.types import Window
from mindwire_models.contract import Contract
from tests.support.xdf_writer import eeg_file

SFREQ = 125.0
CHANNELS = ("C3", "Cz", "C4")
CLASSES = ("left", "right")
# Trials of four seconds, and a cue that falls between hops.
CUES = 12.003 + 7.0 * np.arange(6)


def recording(path: Path, cues: np.ndarray, duration: float = 60.0, *, gap: tuple[float, float] | None = None) -> Path:
    """Noise; what lies between the ends of ``gap`` is missing."""
    times = np.arange(round(duration * SFREQ)) / SFREQ
    samples = 20 * np.random.default_rng(0).standard_normal((len(times), len(CHANNELS)))
    if gap is not None:
        kept = (times < gap[0]) | (times >= gap[1])
        times, samples = times[kept], samples[kept]
    markers = [(1000 + cue, CLASSES[i % 2]) for i, cue in enumerate(cues.tolist())]
    return eeg_file(path, samples.astype(np.float32), SFREQ, CHANNELS, markers=markers, times=1000 + times)


def collect(path: Path, span: TrialSpan, window_s: float = 4.0) -> tuple[RecordedTrials, Contract]:
    recordings, trials, _ = open_trials([path], CLASSES, RunSettings())
    info = recordings[0].signal().info
    contract = make_contract(None, info, CLASSES, window_s=window_s)
    return collect_trials(recordings, trials, contract, span, settings=RunSettings())[0], contract


def test_every_trial_that_has_the_signal_gives_a_window(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.xdf", CUES)
    data, _ = collect(path, TrialSpan(0.0, 4.0, 4.0))
    assert data.usable.tolist() == list(range(6))
    assert len(data.windows) == 6
    assert data.left_out == {}
    # Sliding by 0.6 s, a tenth of a second apart.
    data, _ = collect(path, TrialSpan(0.0, 4.0, 4.0, slide=0.6))
    assert np.bincount(data.trial).tolist() == [7] * 6
    # A window that is longer than the trial has all of it inside.
    data, _ = collect(path, TrialSpan(0.0, 2.0, 2.0))
    assert np.bincount(data.trial).tolist() == [1] * 6


@pytest.mark.parametrize(
    ("span", "window_s", "ends"),
    [
        (TrialSpan(0.0, 4.0, 4.0, 0.6), 4.0, (4.0, 4.6)),
        (TrialSpan(0.0, 4.1, 4.1, 0.6), 4.0, (4.0, 4.6)),
        (TrialSpan(0.0, 5.0, 5.0, 0.6), 4.0, (4.0, 5.0)),
        (TrialSpan(0.5, 4.0, 4.5, 0.3), 2.0, (2.5, 4.5)),
        (TrialSpan(0.0, 2.0, 2.0, 0.6), 4.0, (2.0, 2.6)),
    ],
)
def test_windows_reach_beyond_a_trial_only_where_they_are_about_as_long(
    span: TrialSpan, window_s: float, ends: tuple[float, float]
) -> None:
    contract = Contract(
        channels=CHANNELS, sfreq=SFREQ, window_samples=round(window_s * SFREQ), hop_samples=5, classes=CLASSES
    )
    assert span.window_ends(contract) == pytest.approx(ends)


def test_windows_do_not_slide_backwards() -> None:
    with pytest.raises(ArgumentError, match="at least 0 s beyond"):
        TrialSpan(0.0, 4.0, 4.0, -0.1)


@pytest.mark.parametrize(
    ("cues", "gap", "left_out"),
    [
        (CUES, (20.0, 20.5), {"gap": 1}),
        # Filters settle after the gap.
        (CUES, (26.1, 26.45), {"gap": 1}),
        (np.append(CUES, 57.0), None, {"end_of_recording": 1}),
        (np.append(-2.0, CUES), None, {"start_of_recording": 1}),
        # The alignment has seen too little.
        (np.append(0.5, CUES), None, {"aligning": 1}),
    ],
)
def test_trials_without_a_window_are_counted_by_their_reason(
    cues: np.ndarray, gap: tuple[float, float] | None, left_out: dict[str, int], tmp_path: Path
) -> None:
    data, _ = collect(recording(tmp_path / "run.xdf", cues, gap=gap), TrialSpan(0.0, 4.0, 4.0, 0.6))
    assert data.left_out == left_out
    assert len(data.usable) == len(cues) - 1
    assert data.why_left_out == f"{next(iter(left_out)).replace('_', ' ')} 1"


def test_recordings_without_any_window_are_refused_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="None of the 2 trials has a valid window of 4 s: end of recording 2"):
        collect(recording(tmp_path / "run.xdf", np.array([57.0, 58.0])), TrialSpan(0.0, 4.0, 4.0))


class _Listener:
    """A decoder that keeps all windows of a live run."""

    engine = device = reason = ""

    def __init__(self) -> None:
        self.windows: dict[float, np.ndarray] = {}

    def session(self) -> None:
        """Nothing."""

    def decode(self, sessions: Sequence[None], windows: Sequence[Window]) -> np.ndarray:
        for window in windows:
            self.windows[window.time] = window.alignment @ window.samples.T
        return np.zeros((len(windows), 2), dtype=np.float32)


def test_trials_are_decided_and_windows_aligned_as_live(tmp_path: Path) -> None:
    path = recording(tmp_path / "run.xdf", CUES)
    data, contract = collect(path, TrialSpan(0.0, 4.0, 4.0, 0.6))
    signal = open_recording(path).signal()
    live = _Listener()
    pipeline = Pipeline(contract, signal.info, live)
    for chunk in signal.chunks():
        pipeline.process(chunk)
    pipeline.finish()
    times = np.array(list(live.windows))
    assert data.decided.tolist() == list(range(6))
    for cue, window in zip(CUES, data.deciding, strict=True):
        newest = times[times <= 1000 + cue + 4.0 + 0.5 / SFREQ].max()
        np.testing.assert_array_equal(window, live.windows[newest])
    # Windows to train on lie between the hops too; those that fall on one are the same.
    known = [window.tobytes() for window in live.windows.values()]
    on_a_hop = [window.tobytes() in known for window in data.windows]
    assert 0 < sum(on_a_hop) < len(on_a_hop)


@pytest.mark.parametrize(("n_lost", "warned"), [(0, False), (1, False), (2, True)])
def test_the_summary_counts_trials_and_warns_when_many_gave_no_window(
    n_lost: int, warned: bool, tmp_path: Path
) -> None:
    cues = np.concatenate([10.003 + 4.2 * np.arange(11), 58.0 + np.arange(n_lost)])
    path = recording(tmp_path / "run.xdf", cues)
    plan = calibration_run.Plan([path], CLASSES, RunSettings(), n_folds=0)
    first, *notes = calibration_run.describe(calibration_run.prepare(plan)).split("\n")
    assert first.startswith(f"11 of {len(cues)} trials (left 6, right 5) gave 88 windows of 4 s, which end 4 to 4.72 s")
    assert "A trial ends 4.2 s after its cue (by 'the next cue') and is decided at 4.2 s." in first
    [*others] = [note for note in notes if "gave no window" in note]
    lost = f"{n_lost} of {len(cues)} trials gave no window: end of recording {n_lost}."
    assert others == ([] if not n_lost else [others[0]])
    assert all(note.startswith(f"Warning: {lost}" if warned else lost) for note in others)


def test_a_person_whose_trials_are_as_long_as_the_window(data_dir: Path) -> None:
    pytest.importorskip("pyriemann")
    files = sorted((data_dir / "people" / "grasp-S05").glob("*.edf"))
    settings = RunSettings(
        markers={"OVTK_GDF_Right": "grasp", "OVTK_GDF_Tongue": "rest"}, pipeline=PipelineOptions(unit="uV")
    )
    prepared = calibration_run.prepare(calibration_run.Plan(files, ("grasp", "rest"), settings))
    assert (len(prepared.data.usable), len(prepared.data.decided)) == (160, 160)
    validation = calibration.validate(prepared.data, calibration.baseline_logits(prepared.data, prepared.folds))
    overall = validation.overall
    assert (overall.n_cued, overall.n_undecided) == (160, 0)
    assert overall.n_correct >= 134
