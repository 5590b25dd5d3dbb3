"""Long rest moves the alignment no further than its limit, whatever the chunks; what is balanced is learnt as without it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.adaptation import SavedAdaptation, signal_hash
from mindwire.live.warm_start import NoDecoder
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.signal.alignment import OnlineAlignment
from mindwire.signal.rest_limit import LIMIT
from mindwire.types import Chunk, SignalInfo
from mindwire_models.contract import Alignment, Contract

SFREQ, N = 50, 3
AXIS = tuple(map(tuple, np.diag([-1.0, 0.0, 0.0]).tolist()))


def contract(axis=AXIS, kind="riemannian"):
    return Contract(
        channels=("C3", "Cz", "C4"),
        sfreq=SFREQ,
        normalisation=Alignment(
            kind=kind, scale="sample_mean", update_samples=SFREQ, ready_samples=5 * SFREQ, rest_axis=axis
        ),
        window_samples=2 * SFREQ,
        hop_samples=25,
        classes=("idle", "left"),
    )


def signal(seconds, rest, seed=0):
    """Seconds of noise, at rest with three times the power in the first channel in this share of each ten seconds."""
    at_rest = np.arange(seconds) % 10 < 10 * rest
    samples = np.random.default_rng(seed).standard_normal((seconds, SFREQ, N))
    samples[at_rest, :, 0] *= 3**0.5
    return samples.reshape(-1, N).astype(np.float32)


def learn(samples, axis=AXIS, kind="riemannian"):
    one = contract(axis, kind)
    alignment = OnlineAlignment(one.normalisation, N, one.window_samples, SFREQ)
    for first in range(0, len(samples), SFREQ):
        alignment.update(samples[first : first + SFREQ])
    return alignment


@pytest.mark.parametrize("kind", ["euclidean", "riemannian"])
def test_balanced_use_is_learnt_bit_for_bit_as_without_the_limit(kind):
    samples = signal(400, 0.5)
    limited, plain = learn(samples, kind=kind), learn(samples, None, kind)
    assert limited.rest_left_out == 0
    assert not limited.alarm
    np.testing.assert_array_equal(limited.state.covariance, plain.state.covariance)
    np.testing.assert_array_equal(limited.matrix, plain.matrix)


@pytest.mark.parametrize("kind", ["euclidean", "riemannian"])
def test_long_rest_stays_within_the_limit_and_raises_the_alarm(kind):
    samples = np.concatenate([signal(150, 0.5), signal(1200, 0.95, 1)])
    limited, plain = learn(samples, kind=kind), learn(samples, None, kind)
    reference = limited.state.reference
    assert reference is not None
    moved, moved_plain = (np.log(one.state.covariance[0, 0] / reference[0, 0]) for one in (limited, plain))
    assert moved < LIMIT + 0.02 < 0.2 < moved_plain
    assert limited.alarm
    assert limited.rest_left_out > 120 * SFREQ
    limited.accept_rest()
    assert not limited.alarm
    limited.update(signal(1, 1.0, 2))
    assert limited.rest_left_out == 0


def test_activity_after_a_beginning_at_rest_is_learnt():
    samples = np.concatenate([signal(150, 1.0), signal(600, 0.5, 1)])
    limited, plain = learn(samples), learn(samples, None)
    assert limited.rest_left_out < 0.02 * len(samples)
    assert np.log(limited.state.covariance[0, 0] / plain.state.covariance[0, 0]) < 0.02


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_chunks_change_nothing(seed):
    rng = np.random.default_rng(seed)
    samples = np.concatenate([signal(130, 0.4), signal(150, 1.0, 1)])
    info = SignalInfo("eeg", "EEG", SFREQ, N, ("C3", "Cz", "C4"), ("uV",) * N)
    ends = np.sort(rng.integers(1, len(samples), 40))
    found = []
    for cuts in ([len(samples)], [*ends.tolist(), len(samples)]):
        pipeline = Pipeline(contract(), info, NoDecoder(2))
        start, windows, events = 0, [], []
        for stop in cuts:
            if stop > start:
                times = np.arange(start, stop) / SFREQ
                windows += pipeline.advance(Chunk(samples[start:stop], times))
                start = stop
        pipeline.finish()
        events = [event for event in pipeline.drain_events() if event.data.get("alarm")]
        found.append((pipeline.saved_adaptation().to_bytes(), [w.alignment.tobytes() for w in windows], len(events)))
    assert found[0] == found[1]
    assert found[0][2] == 1


def test_resuming_accepts_the_rest():
    info = SignalInfo("eeg", "EEG", SFREQ, N, ("C3", "Cz", "C4"), ("uV",) * N)
    pipeline = Pipeline(contract(), info, NoDecoder(2))
    samples = np.concatenate([signal(130, 0.4), signal(150, 1.0, 1)])
    pipeline.advance(Chunk(samples, np.arange(len(samples)) / SFREQ))
    pipeline.catch_up()
    assert pipeline.alignment is not None
    assert pipeline.alignment.alarm
    pipeline.adapt(AdaptationCommand("resume"))
    assert not pipeline.alignment.alarm


def test_the_saved_state_round_trips_and_old_ones_load():
    state = learn(signal(200, 0.5)).state
    saved = SavedAdaptation(signal_hash(contract()), state)
    again = SavedAdaptation.from_bytes(saved.to_bytes())
    assert again.to_bytes() == saved.to_bytes()
    assert again.alignment is not None
    assert again.alignment.most_active == state.most_active
    np.testing.assert_array_equal(again.alignment.reference, state.reference)
    old = SavedAdaptation(saved.signal, replace(state, reference=None, most_active=0.0))
    loaded = SavedAdaptation.from_bytes(old.to_bytes()).alignment
    assert loaded is not None
    assert loaded.reference is None
    assert again.warm_start(contract()).reference is None


def test_an_axis_of_another_size_is_refused():
    with pytest.raises(ValueError, match="axis of rest"):
        contract(((1.0, 0.0), (0.0, 1.0)))
