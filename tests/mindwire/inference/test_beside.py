"""Decoding in a process of its own gives the same logits, and its end is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mindwire.errors import BundleError, MindwireError, ServiceError
from mindwire.inference.beside import DecoderBeside
from mindwire.inference.load import load_decoder
from mindwire.offline.replay import Replay
from mindwire.options import PipelineOptions
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.signals import cut, noise, signal_info, small_contract

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("beside") / "bundle", small_contract(window_samples=200)))


class Signal:
    def __init__(self, seconds: int) -> None:
        samples, times = noise(seconds * 100), 100.0 + np.arange(seconds * 100) / 100
        times[2100:] += 1.7
        self.info = signal_info()
        self.n_samples = len(times)
        self._chunks = cut(samples, times, [130, 1, 70])

    def chunks(self):
        yield from self._chunks


def probabilities(decoder, bundle, hop):
    replay = Replay(Signal(90), bundle.contract, decoder, PipelineOptions(hop_samples=hop))
    return np.concatenate([run.probabilities for run in replay.runs()])


@pytest.mark.parametrize("hop", [7, 10, 250])
def test_the_other_process_says_bit_for_bit_the_same(bundle, hop):
    here = probabilities(load_decoder(bundle, purpose="recording"), bundle, hop)
    with DecoderBeside(bundle) as decoder:
        there = probabilities(decoder, bundle, hop)
    np.testing.assert_array_equal(there, here)


def test_its_death_is_told_in_a_sentence(bundle):
    with DecoderBeside(bundle) as decoder:
        decoder._process.kill()
        decoder._process.wait(10)
        with pytest.raises(ServiceError, match="has ended unexpectedly"):
            probabilities(decoder, bundle, 10)


def test_it_ends_with_whoever_started_it(bundle):
    with DecoderBeside(bundle) as decoder:
        process = decoder._process
    assert process.returncode == 0


def test_what_the_other_process_refuses_is_raised_here(bundle, tmp_path):
    broken = replace(bundle, path=tmp_path / "gone")
    with DecoderBeside(broken) as decoder, pytest.raises(MindwireError, match="gone"):
        probabilities(decoder, bundle, 10)


def test_a_bundle_without_a_graph_for_recordings_is_refused(bundle):
    with pytest.raises(BundleError, match="export the bundle again"):
        DecoderBeside(replace(bundle, records=False))


def test_single_windows_are_refused(bundle):
    with DecoderBeside(bundle) as decoder, pytest.raises(ServiceError, match="decodes runs"):
        decoder.decode([decoder.session()], [])


def test_whoever_stops_in_the_middle_does_not_wait_for_the_rest(bundle):
    with DecoderBeside(bundle) as decoder:
        next(Replay(Signal(3600), bundle.contract, decoder, PipelineOptions(hop_samples=10)).runs())
    assert decoder._process.returncode == 0
    assert not decoder._sender.is_alive()


def test_an_error_in_the_middle_ends_the_other_process_at_once(bundle):
    def fail():
        for _ in Replay(Signal(3600), bundle.contract, decoder, PipelineOptions(hop_samples=10)).runs():
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"), DecoderBeside(bundle) as decoder:
        fail()
    assert decoder._process.returncode is not None
    assert not decoder._sender.is_alive()
