"""The length of a trial, from markers of many kinds."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.offline.trial_end import TrialEnd, find_trial_end
from mindwire.offline.trials import Trial
from mindwire.training.data import open_trials
from mindwire.types import Marker

CUES = np.arange(10) * 10.0


def ended(markers: list[tuple[float, str]], cues: np.ndarray = CUES) -> TrialEnd:
    trials = [Trial(cue, name) for cue, name in zip(cues, cycle("ab"), strict=False)]
    cued = [Marker(trial.cue, trial.label) for trial in trials]
    return find_trial_end([[*cued, *(Marker(time, label) for time, label in markers)]], [trials])


def after_each(*markers: tuple[float, str]) -> list[tuple[float, str]]:
    return [(cue + delay, label) for cue in CUES.tolist() for delay, label in markers]


@pytest.mark.parametrize(
    ("markers", "seconds", "marker"),
    [
        # OpenViBE: errors at random times, then two markers at the trial's end.
        (
            [
                *after_each((4.0, "OVTK_GDF_Feedback_Continuous"), (4.0, "OVTK_GDF_End_Of_Trial"), (9.0, "Beep")),
                *((cue + 1.7, "OVTK_GDF_Incorrect") for cue in CUES[:6].tolist()),
            ],
            4.0,
            "OVTK_GDF_End_Of_Trial",
        ),
        # Feedback begins within the trial, whose end is named.
        (
            after_each((1.25, "OVTK_GDF_Feedback_Continuous"), (4.9, "OVTK_GDF_End_Of_Trial")),
            4.9,
            "OVTK_GDF_End_Of_Trial",
        ),
        (after_each((1.25, "cue_off"), (3.5, "TrialEnd")), 3.5, "TrialEnd"),
        # A number, and one that belongs to the cue.
        (after_each((0.001, "1111"), (3.5, "9.000000")), 3.5, "9"),
        # A clock beside the trials, as bci-essentials sends.
        ([*((float(t), "ping") for t in np.arange(0.1, 100, 0.2)), *after_each((3.0, "rest"))], 3.0, "rest"),
        # Cues of classes that are not asked for have ends of their own.
        (after_each((3.2, "9"), (4.5, "3"), (7.7, "9")), 3.2, "9"),
        # Nothing within five seconds.
        (after_each((5.5, "9")), 5.0, None),
        ([], 5.0, None),
    ],
)
def test_what_ends_a_trial(markers: list[tuple[float, str]], seconds: float, marker: str | None) -> None:
    assert ended(markers) == TrialEnd(seconds, marker)


def test_without_an_end_a_trial_lasts_until_the_next_cue() -> None:
    assert ended([], CUES / 2.5) == TrialEnd(4.0, "the next cue")
    assert ended([], CUES[:1]) == TrialEnd(5.0, None)


def test_recordings_are_pooled_and_the_median_counts() -> None:
    trials = [[Trial(cue, "a") for cue in CUES.tolist()] for _ in range(3)]
    delays = [(4.0, 4.1, 4.2)[i] for i in range(3)]
    markers = [[Marker(cue + delay, "end") for cue in CUES.tolist()] for delay in delays]
    assert find_trial_end(markers, trials) == TrialEnd(4.1, "end")


GRASP = {"OVTK_GDF_Right": "right", "OVTK_GDF_Tongue": "rest"}
NUMBERS = {"1": "idle", "2": "left", "3": "right"}


@pytest.mark.parametrize(
    ("files", "markers", "end"),
    [
        # Half of S04's trials have an error marker inside.
        ("people/grasp-S04/*.edf", GRASP, TrialEnd(3.999, "OVTK_GDF_End_Of_Trial")),
        ("people/grasp-S05/S05R1.edf", GRASP, TrialEnd(4.005, "OVTK_GDF_End_Of_Trial")),
        ("people/physionet-S002/S002R*[48].edf", {"T1": "left", "T2": "right"}, TrialEnd(4.1, "T0")),
        ("people/course-s/*run1.xdf", NUMBERS, TrialEnd(5.0, None)),
        ("a/a-day1-run2.xdf", NUMBERS, TrialEnd(5.0, None)),
        ("s1/s1-run04-22ch*.xdf", {"left_hand": "left", "right_hand": "right"}, TrialEnd(4.1, "rest")),
        ("s1/s1-run04-22ch*.xdf", {"rest": "rest", "left_hand": "l", "right_hand": "r"}, TrialEnd(4.2, "the next cue")),
        (
            "essentials/p1-miswitch-run2.xdf",
            {"switch,3,1,2": "one", "switch,3,2,2": "two", "switch,3,0,2": "none"},
            TrialEnd(2.004, "the next cue"),
        ),
    ],
)
def test_the_end_of_trials_in_real_recordings(
    files: str, markers: dict[str, str], end: TrialEnd, data_dir: Path
) -> None:
    settings = RunSettings(markers=markers)
    assert open_trials(sorted(data_dir.glob(files)), tuple(dict.fromkeys(markers.values())), settings)[2] == end
