"""A recording in runs says what the same samples say live, and no thread is left behind."""

from __future__ import annotations

import io
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mindwire.errors import RecordingError
from mindwire.inference.load import load_decoder
from mindwire.offline.replay import PredictedRun, Replay, write_csv
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Reason
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.contract import NoNormalisation
from tests.support.bundles import random_bundle
from tests.support.signals import cut, noise, signal_info, small_contract

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("runs") / "bundle", small_contract(window_samples=200)))


class Signal:
    """A recorded signal; ends with an error if it has one."""

    def __init__(self, chunks: list[Chunk], error: Exception | None = None) -> None:
        self.info = signal_info()
        self.n_samples = sum(map(len, chunks))
        self._chunks, self._error = chunks, error

    def chunks(self):
        yield from self._chunks
        if self._error:
            raise self._error


def eventful(sizes) -> list[Chunk]:
    """Forty seconds with a gap that is bridged, one that is not, an artefact, a flat channel and a bad sample."""
    samples, times = noise(4000), 100.0 + np.arange(4000) / 100
    times[800:] += 0.03
    times[2100:] += 1.7
    samples[1200:1260] += 2000.0
    samples[2700:2800, 1] = 5.0
    samples[3300, 0] = np.nan
    return cut(samples, times, sizes)


def live(bundle: Bundle, chunks: list[Chunk], options: PipelineOptions):
    pipeline = Pipeline(bundle.contract, signal_info(), load_decoder(bundle), options)
    found = [prediction for chunk in chunks for prediction in pipeline.process(chunk)] + pipeline.finish()
    return found, [event.kind for event in pipeline.drain_events()]


@pytest.mark.parametrize(
    "options",
    [
        PipelineOptions(),
        PipelineOptions(hop_samples=1, alignment="off"),
        PipelineOptions(hop_samples=150),
        PipelineOptions(
            commands=(
                AdaptationCommand("freeze", segment=0, at=1011),
                AdaptationCommand("resume", segment=1, at=300),
                AdaptationCommand("rollback", updates=3, segment=1, at=777),
            )
        ),
    ],
)
@pytest.mark.parametrize("sizes", [(10,), (50, 1, 133)])
def test_runs_say_what_single_windows_say(bundle: Bundle, options: PipelineOptions, sizes: tuple[int, ...]) -> None:
    expected, events = live(bundle, eventful((10,)), options)
    replay = Replay(Signal(eventful(sizes)), bundle.contract, load_decoder(bundle, purpose="recording"), options)
    runs = list(replay.runs())
    found = [prediction for run in runs for prediction in run.predictions()]
    assert [(p.seq, p.time, p.reasons) for p in found] == [(p.seq, p.time, p.reasons) for p in expected]
    np.testing.assert_allclose([p.probabilities for p in found], [p.probabilities for p in expected], atol=1e-5)
    assert replay.summary.windows == len(expected)
    assert replay.summary.valid == sum(p.valid for p in expected) > 0
    counts = Counter(p.reasons for p in expected)
    assert replay.summary.reasons == sum((Counter(dict.fromkeys(r.labels, n)) for r, n in counts.items()), Counter())
    assert sorted(replay.summary.events.elements()) == sorted(events)


def test_a_model_that_aligns_nothing(tmp_path, bundle: Bundle) -> None:
    contract = small_contract(window_samples=200, normalisation=NoNormalisation())
    other = load_bundle(random_bundle(tmp_path / "b", contract))
    expected, _ = live(other, eventful((10,)), PipelineOptions())
    replay = Replay(Signal(eventful((99,))), contract, load_decoder(other, purpose="recording"))
    found = list(replay.predictions())
    np.testing.assert_allclose([p.probabilities for p in found], [p.probabilities for p in expected], atol=1e-5)


def test_what_cannot_be_read_is_said_and_no_thread_stays(bundle: Bundle) -> None:
    before = threading.active_count()
    decoder = load_decoder(bundle, purpose="recording")
    broken = Replay(Signal(eventful((100,)), RecordingError("the disk is gone")), bundle.contract, decoder)
    with pytest.raises(RecordingError, match="disk is gone"):
        list(broken.runs())
    given_up = Replay(Signal(eventful((100,)) * 5), bundle.contract, decoder).runs()
    next(given_up)
    given_up.close()
    assert threading.active_count() == before


def test_numbers_that_are_none_are_written_too() -> None:
    run = PredictedRun(7, np.array([1.5]), np.zeros(1, np.uint32), np.array([[0.25, 1e-17]]))
    nothing = replace(run, probabilities=np.array([[np.nan, np.inf]]))
    file = io.StringIO()
    write_csv([run, nothing], ["a", "b"], file)
    lines = file.getvalue().splitlines()
    assert lines[1:] == ["7,1.5,true,0.25,1e-17,,a", "7,1.5,true,nan,inf,,"]


def test_logits_that_are_no_numbers_are_invalid_in_a_run_as_they_are_live(bundle):
    decoder = load_decoder(bundle, purpose="recording")
    decode = decoder.decode

    def failing(sessions, windows):
        logits = decode(sessions, windows)
        logits[20:25, 0] = np.inf
        return logits

    decoder.decode = failing
    replay = Replay(Signal(cut(noise(2000), 100.0 + np.arange(2000) / 100, [2000])), bundle.contract, decoder)
    found = list(replay.predictions())
    failed = [prediction.seq for prediction in found if prediction.reasons & Reason.DECODER]
    assert failed == [20, 21, 22, 23, 24]
    assert all(np.isnan(found[seq].probabilities).all() and not found[seq].valid for seq in failed)
    assert replay.summary.events == {"error": 1}
    assert "no numbers" in replay.summary.remarks["error"]
