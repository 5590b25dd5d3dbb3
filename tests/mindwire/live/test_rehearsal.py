"""A rehearsal leaves no trace: the same predictions, and a decoder that still knows the stream."""

from __future__ import annotations

import time

import numpy as np

from mindwire.inference.load import load_decoder
from mindwire.live.rehearsal import Rehearsal
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, SignalInfo
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import signal_info, small_contract


def test_what_is_rehearsed_changes_no_prediction():
    bundle = load_bundle(zoo_bundle_path())
    law = bundle.contract
    info = SignalInfo("cap", "EEG", law.sfreq, law.n_channels, law.channels, (law.unit,) * law.n_channels)
    samples = np.random.default_rng(1).standard_normal((3000, law.n_channels)) * 20
    times = np.arange(3000) / law.sfreq

    def run(*, rehearsed: bool):
        decoder = load_decoder(bundle, device="cpu")
        pipeline = Pipeline(law, info, decoder)
        rehearsal = Rehearsal(pipeline, decoder) if rehearsed else None
        found = []
        for start in range(0, 3000, 10):
            found += pipeline.process(Chunk(samples[start : start + 10], times[start : start + 10]))
            if rehearsal:
                rehearsal.run()
        return found

    plain, rehearsed = run(rehearsed=False), run(rehearsed=True)
    assert len(plain) > 100
    for one, other in zip(rehearsed, plain, strict=True):
        assert (one.seq, one.time, one.reasons) == (other.seq, other.time, other.reasons)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_decoder_that_takes_long_is_not_kept_busy_when_the_samples_come():
    class Slow(LinearDecoder):
        def decode(self, sessions, windows):
            end = time.perf_counter() + 0.02
            while time.perf_counter() < end:
                pass
            return super().decode(sessions, windows)

    law = small_contract()
    decoder = Slow(2)
    rehearsal = Rehearsal(Pipeline(law, signal_info(), decoder), decoder)
    for _ in range(10):
        rehearsal.run()
    rehearsal.window_came(time.monotonic() - 1.0)
    assert not rehearsal.due
    assert rehearsal.pause(0.25) == 0.25


def test_it_is_due_once_a_little_before_the_next_window_and_never_while_nothing_comes():
    bundle = load_bundle(zoo_bundle_path())
    law = bundle.contract
    info = SignalInfo("cap", "EEG", law.sfreq, law.n_channels, law.channels, (law.unit,) * law.n_channels)
    decoder = load_decoder(bundle, device="cpu")
    rehearsal = Rehearsal(Pipeline(law, info, decoder), decoder)
    assert rehearsal.pause(0.25) == 0.25
    assert not rehearsal.due
    hop = law.hop_samples / law.sfreq
    rehearsal.window_came(time.monotonic() + 10.0)
    assert not rehearsal.due
    assert rehearsal.pause(60.0) < 10.0 + hop
    rehearsal.window_came(time.monotonic() - hop)
    assert rehearsal.due
    assert 0 < rehearsal.pause(0.25) < 0.001
    rehearsal.run()
    assert not rehearsal.due
