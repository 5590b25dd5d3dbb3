"""False activations and the time to a right one, on predictions made up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import UsageError
from mindwire.evaluation.idle import ActivationRule, activations, idle_class, idle_figures
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.offline.trials import Trial
from mindwire.types import Reason
from mindwire_models.contract import Contract

CLASSES = ("idle", "left_hand", "right_hand")
CONTRACT = Contract(channels=("C3", "C4"), sfreq=100.0, window_samples=200, hop_samples=10, classes=CLASSES)


def make_trace(leading: str, confidence: float = 0.8, flagged: tuple[int, ...] = ()) -> Trace:
    """A prediction each 0.1 s, the class that leads given by a letter each."""
    probabilities = np.full((len(leading), 3), (1 - confidence) / 2)
    probabilities[np.arange(len(leading)), ["ilr".index(letter) for letter in leading]] = confidence
    reasons = np.zeros(len(leading), dtype=np.int64)
    reasons[list(flagged)] = int(Reason.GAP)
    return Trace(10 + 0.1 * np.arange(len(leading)), probabilities, reasons)


RULE = ActivationRule(probability=0.6, dwell_s=0.3)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (make_trace("iiiiiiii"), []),
        (make_trace("illiilli"), []),  # never long enough
        (make_trace("illlllll"), [(10.4, 1)]),  # counted once
        (make_trace("llllilllliiii"), [(10.3, 1), (10.8, 1)]),
        (make_trace("llrrllrrrr"), [(10.9, 2)]),  # another class begins anew
        (make_trace("llllllll", confidence=0.5), []),
        (make_trace("llllllll", flagged=(2,)), [(10.6, 1)]),  # what is not valid does not count
    ],
)
def test_a_class_acts_once_it_has_led_for_long_enough(trace: Trace, expected: list[tuple[float, int]]) -> None:
    found = activations(trace, 0, RULE)
    assert [name for _, name in found] == [name for _, name in expected]
    np.testing.assert_allclose([time for time, _ in found], [time for time, _ in expected])


def test_figures_count_each_trial_from_its_cue() -> None:
    trace = make_trace("lllllliiiiiilllliiiirrrrlllllliiiiiiiiii")
    cues = [(10.0, "idle"), (11.0, "left_hand"), (12.0, "left_hand"), (13.0, "right_hand")]
    run = EvaluatedRun("a.xdf", "0" * 64, trace, tuple(Trial(*cue) for cue in cues), 4.0)
    figures = idle_figures([run], CONTRACT, CLASSES, idle="idle", at_s=0.9, rule=RULE)
    assert figures.false_activations == 1
    assert figures.idle_minutes == pytest.approx(0.9 / 60)
    assert figures.false_activations_per_minute == pytest.approx(60 / 0.9)
    assert (figures.n_movements, figures.n_reached, figures.n_wrong) == (3, 2, 1)
    assert figures.median_seconds == pytest.approx((0.5 + 0.7) / 2)


def test_without_idle_trials_there_is_no_rate() -> None:
    run = EvaluatedRun("a.xdf", "0" * 64, make_trace("iiii"), (Trial(10.0, "left_hand"),), 1.0)
    figures = idle_figures([run], CONTRACT, CLASSES, idle="idle", at_s=0.3, rule=RULE)
    assert figures.false_activations_per_minute is None
    assert figures.median_seconds is None


def test_the_idle_class_is_found_by_its_name_or_named() -> None:
    assert idle_class(None, CLASSES) == "idle"
    assert idle_class(None, ("feet", "Rest")) == "Rest"
    assert idle_class(None, ("feet", "tongue")) is None
    assert idle_class("feet", ("feet", "tongue")) == "feet"
    with pytest.raises(UsageError, match="one of the classes feet, tongue"):
        idle_class("rest", ("feet", "tongue"))


@pytest.mark.parametrize(("probability", "dwell"), [(0.0, 0.5), (1.1, 0.5), (0.6, -0.1)])
def test_a_rule_that_makes_no_sense_is_refused(probability: float, dwell: float) -> None:
    with pytest.raises(UsageError, match="dwell of at least 0 s"):
        ActivationRule(probability, dwell)
