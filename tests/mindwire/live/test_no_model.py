"""Signal of a stream without a model: the contract made for a source, and what its predictions say."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ContractError
from mindwire.live.no_model import signal_contract, signal_pipeline
from mindwire.live.reporter import StreamReporter
from mindwire.options import PipelineOptions
from mindwire.status import StreamState
from mindwire.types import Chunk, Reason, SignalInfo


def info(labels, sfreq=250.0, **described):
    units = ("microvolts",) * len(labels) if labels else None
    return SignalInfo("cap", "EEG", sfreq, len(labels or "ab"), labels, units, **described)


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        (("C3", "Status", "C4", "EOG1"), {}, ("C3", "C4")),
        (("EEG C3-CPz", "Nose", "", "EEG C4-CPz"), {}, ("C3", "Nose", "C4")),
        (("1", "2", "3"), {}, ("1", "2", "3")),
        (("a", "b", "c"), {"channels": ("C3", "-", "C4")}, ("C3", "C4")),
    ],
)
def test_the_channels_are_the_eeg_of_the_source(labels, options, expected):
    options = PipelineOptions(**options)
    assert signal_contract(info(labels), options).channels == expected
    pipeline = signal_pipeline(options)(info(labels), None)
    assert pipeline.contract.channels == expected


@pytest.mark.parametrize(
    ("sfreq", "expected"), [(2048.0, 250.0), (500.0, 250.0), (256.0, 256.0), (100.0, 100.0), (20.0, 20.0)]
)
def test_the_rate_is_the_source_s_or_250_hz(sfreq, expected):
    found = signal_contract(info(("C3",), sfreq), PipelineOptions())
    assert found.sfreq == expected
    assert found.window_samples == round(expected)


@pytest.mark.parametrize(
    ("described", "says"),
    [
        (info(("C3", "c3")), "more than one channel called"),
        (info(None), "name them in order with --channels"),
        (info(("C3",), 0.0), "has no nominal rate"),
        (SignalInfo("cap", "EEG", 250.0, 1, ("C3",)), "states no unit"),
        (info(("C3", "\x07")), "cannot be used as its description is"),
    ],
)
def test_a_signal_that_cannot_be_used_is_refused_in_a_sentence(described, says):
    with pytest.raises(ContractError, match=says):
        signal_pipeline(PipelineOptions())(described, None)


def test_predictions_have_no_probabilities_and_the_state_says_that_there_is_no_model():
    pipeline = signal_pipeline(PipelineOptions())(info(("C3", "C4")), None)
    reporter = StreamReporter("cap", ())
    samples = np.random.default_rng(1).normal(0, 20, (2500, 2))
    predictions = pipeline.process(Chunk(samples, np.arange(2500) / 250))
    assert len(predictions) == 226  # every 40 ms once the first second is full
    assert not any(prediction.valid or len(prediction.probabilities) for prediction in predictions)
    reporter.publish(predictions[0])
    assert reporter.state is StreamState.SETTLING
    reporter.publish(predictions[-1])
    assert Reason.NO_MODEL in predictions[-1].reasons
    assert (reporter.state, reporter.reason[:43]) == (StreamState.LIVE, "The signal is fresh. There is no model yet:")
    samples[:, 0] = 3.0
    flat = pipeline.process(Chunk(samples, 10 + np.arange(2500) / 250))
    reporter.publish(flat[-1])
    assert (reporter.state, "The signal is not good (flat" in reporter.reason) == (StreamState.LIVE, True)
