"""A rehearsal changes no prediction, and is due only while the loop would wait."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from mindwire.inference.load import load_decoder
from mindwire.live import rehearsal as rehearsal_module
from mindwire.live.rehearsal import Rehearsal
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Reason, SignalInfo
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import signal_info, small_contract


def test_what_is_rehearsed_changes_no_prediction():
    bundle = load_bundle(zoo_bundle_path())
    contract = bundle.contract
    info = SignalInfo(
        "cap", "EEG", contract.sfreq, contract.n_channels, contract.channels, (contract.unit,) * contract.n_channels
    )
    samples = np.random.default_rng(1).standard_normal((3000, contract.n_channels)) * 20
    times = np.arange(3000) / contract.sfreq

    def run(*, rehearsed: bool):
        decoder = load_decoder(bundle, device="cpu")
        pipeline = Pipeline(contract, info, decoder)
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

    contract = small_contract()
    decoder = Slow(2)
    rehearsal = Rehearsal(Pipeline(contract, signal_info(), decoder), decoder)
    for _ in range(10):
        rehearsal.run()
    rehearsal.window_arrived(time.monotonic() - 1.0)
    assert not rehearsal.due
    assert rehearsal.limited(0.25) == 0.25


def test_a_hop_that_is_too_short_for_it_is_known():
    pipelines = [Pipeline(small_contract(hop_samples=hop), signal_info(), LinearDecoder(2)) for hop in (1, 10)]
    assert [Rehearsal.fits(pipeline) for pipeline in pipelines] == [True, True]  # 10 and 100 ms
    contract = load_bundle(zoo_bundle_path()).contract
    info = SignalInfo(
        "cap", "EEG", contract.sfreq, contract.n_channels, contract.channels, ("uV",) * contract.n_channels
    )
    pipeline = Pipeline(contract, info, LinearDecoder(len(contract.classes)), PipelineOptions(hop_samples=1))
    assert not Rehearsal.fits(pipeline)  # 4 ms


def test_it_is_due_once_a_little_before_the_next_window_and_never_while_nothing_comes(monkeypatch):
    bundle = load_bundle(zoo_bundle_path())
    contract = bundle.contract
    info = SignalInfo(
        "cap", "EEG", contract.sfreq, contract.n_channels, contract.channels, (contract.unit,) * contract.n_channels
    )
    decoder = load_decoder(bundle, device="cpu")
    hop, now = contract.hop_samples / contract.sfreq, 100.0
    clock = SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: 0.0)
    monkeypatch.setattr(rehearsal_module, "time", clock)
    rehearsal = Rehearsal(Pipeline(contract, info, decoder), decoder)
    assert rehearsal.limited(0.25) == 0.25
    assert not rehearsal.due
    rehearsal.window_arrived(now)
    assert not rehearsal.due
    assert 0.75 * hop <= rehearsal.limited(60.0) < hop - 0.001
    now += hop - 0.001
    assert rehearsal.due
    assert 0 < rehearsal.limited(0.25) < 0.001
    rehearsal.run()
    assert not rehearsal.due


@pytest.mark.parametrize("unit", ["volts", "microvolts"])
def test_the_noise_has_the_size_of_eeg_whatever_the_unit(unit):
    class Recording(LinearDecoder):
        def __init__(self):
            super().__init__(2)
            self.reasons = []

        def decode(self, sessions, windows):
            self.reasons += [window.reasons for window in windows]
            return super().decode(sessions, windows)

    decoder = Recording()
    rehearsal = Rehearsal(Pipeline(small_contract(), signal_info(units=(unit,) * 3), decoder), decoder)
    for _ in range(100):
        rehearsal.run()
    assert decoder.reasons[-1] == Reason.NONE
