"""A simulated person who follows markers: what is imagined when, alpha, and targets."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ArgumentError
from mindwire.sources.following import FollowingParticipant
from mindwire.sources.simulator import Artefacts, Simulator


def imagined(markers, until, decisions=(), **options):
    """What is imagined at each tenth of a second, as spans."""
    person, spans = FollowingParticipant(1, **options), []
    events = sorted([(*m, person.hear) for m in markers] + [(*d, person.see) for d in decisions], key=lambda e: e[0])
    for step in range(round(until * 10)):
        time = step / 10
        while events and events[0][0] <= time:
            at, label, take = events.pop(0)
            take(at, label)
        label = person.imagined(time)
        if not spans or spans[-1][0] != label:
            spans.append((label, time))
    return spans, person


def labels(spans):
    return [label for label, _ in spans]


@pytest.mark.parametrize("end", ["imagery_end", "rest_start", "trial_aborted", "pause", "task_end"])
def test_a_cue_is_imagined_after_a_reaction_time_until_its_end(end):
    spans, person = imagined([(0.5, "fixation"), (1.0, "left_hand"), (5.0, end)], 8)
    assert labels(spans) == [None, "left_hand", None]
    assert 1.25 <= spans[1][1] <= 1.7
    assert 5.25 <= spans[2][1] <= 5.7
    assert person.followed.cues == 1


def test_without_an_end_an_imagery_lasts_eight_seconds_and_a_later_cue_replaces_it():
    spans, _ = imagined([(1.0, "left_hand"), (20.0, "right_hand"), (22.0, "practice_feet")], 40)
    assert labels(spans) == [None, "left_hand", None, "right_hand", "feet", None]
    assert 9.2 <= spans[2][1] <= 9.8
    assert 30.2 <= spans[-1][1] <= 30.8


def test_a_target_is_steered_to_with_the_classes_that_were_cued_and_the_decisions_seen():
    cues = [(0.0, "left_hand"), (2.0, "imagery_end"), (3.0, "right_hand"), (5.0, "imagery_end")]
    spans, person = imagined(
        [*cues, (10.0, "target 2 1"), (30.0, "reached")], 34, [(14.0, "left_hand"), (18.0, "right_hand")]
    )
    assert labels(spans)[-3:] == [None, "right_hand", None]  # never a class that was not cued
    assert person.followed.targets == person.followed.reached == 1
    assert person.board.cursor == (0, 0)
    spans, _ = imagined([(1.0, "target -1 1")], 20, [(5.0, "left_hand")], classes=("left_hand", "tongue"))
    assert {"left_hand", "tongue"} >= {label for label in labels(spans) if label}
    assert labels(spans)[-1] == "tongue"


def test_nothing_is_imagined_once_the_target_is_reached_by_decisions():
    spans, _ = imagined([(1.0, "target 1 0")], 12, [(4.0, "right_hand")], classes=("left_hand", "right_hand"))
    assert labels(spans) == [None, "right_hand", None]


def test_errors_are_made_as_often_as_asked_for():
    cues = [marker for k in range(200) for marker in ((5.0 * k, "left_hand"), (5.0 * k + 3, "imagery_end"))]
    cues.insert(0, (-5.0, "right_hand"))
    spans, person = imagined(cues, 1000, error=0.3)
    right = sum(label == "left_hand" for label in labels(spans))
    assert 120 <= right <= 160
    assert person.followed.errors in {200 - right, 201 - right}  # the cue before the beginning may have been one
    assert {"right_hand", "left_hand", None} == set(labels(spans))


def test_the_same_markers_at_the_same_times_give_the_same_signal():
    signals = []
    for chunk in (10, 50):
        person = FollowingParticipant(3)
        simulator = Simulator(3, intention=person)
        person.hear(0.2, "left_hand")
        signals.append(np.concatenate([simulator.read(chunk).samples for _ in range(1000 // chunk)]))
    assert np.array_equal(*signals)


def test_closed_eyes_make_the_occipital_alpha_strong_and_nothing_else():
    person = FollowingParticipant(2)
    simulator = Simulator(2, channels=("Oz", "Cz"), artefacts=Artefacts.NONE, line_freq=None, intention=person)
    opened = simulator.read(250 * 60).samples
    person.hear(60.0, "eyes_closed")
    closed = simulator.read(250 * 60).samples[250:]
    person.hear(120.0, "eyes_open")
    again = simulator.read(250 * 60).samples[250:]

    def power(samples, channel, band):
        spectrum = np.abs(np.fft.rfft(samples[:, channel] * np.hanning(len(samples)))) ** 2 / len(samples)
        freqs = np.fft.rfftfreq(len(samples), 1 / 250)
        return spectrum[(freqs >= band[0]) & (freqs < band[1])].mean()

    alpha = [power(part, 0, (8, 12)) for part in (opened, closed, again)]
    assert alpha[1] > 4 * max(alpha[0], alpha[2])
    assert power(closed, 1, (18, 24)) < 1.5 * power(opened, 1, (18, 24))


@pytest.mark.parametrize("options", [{"classes": ("nose",)}, {"error": 1.5}])
def test_what_no_participant_can_do_is_refused(options):
    with pytest.raises(ArgumentError):
        FollowingParticipant(1, **options)
