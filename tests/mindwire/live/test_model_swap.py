"""A stream's model changes while it runs: when it is ready, in the shadow, and back; and stays where the new one will not do."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.errors import BundleError, ModelConflictError
from mindwire.live import model_swap
from mindwire.live.loaded_model import LoadedModel
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk
from mindwire_models.contract import Butterworth, Filters, NoNormalisation
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.scripted_source import INFO, Scripted
from tests.support.streaming import MODEL, contract, eventually, make_stream, running
from tests.support.supervised import supervised

POLICY = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.7, release=0.6, dwell_s=0, refractory_s=0.3))
OWN = POLICY.model_copy(update={"decide": Decide(commit=0.55, release=0.5, dwell_s=0, refractory_s=0.1)})
OTHER_FILTERS = {"filters": Filters(lowpass=Butterworth(order=4, freq=20.0)), "normalisation": NoNormalisation()}


class Slow(LinearDecoder):
    def decode(self, sessions, windows):
        time.sleep(0.08)
        return super().decode(sessions, windows)


class Raising(LinearDecoder):
    def __init__(self) -> None:
        super().__init__(2)
        self.n = 0

    def decode(self, sessions, windows):
        self.n += len(windows)
        if self.n > 6:
            msg = "no"
            raise RuntimeError(msg)
        return super().decode(sessions, windows)


def model(name="other", decoder=None, policy=None, **changes) -> LoadedModel:
    contract_ = contract(**changes)
    decoder = decoder or LinearDecoder(2, seed=1)
    return LoadedModel(
        MODEL.model_copy(update={"name": name, "sha256": "1" * 64}),
        contract_,
        decoder,
        lambda info, learnt: Pipeline(
            contract_, info, decoder, PipelineOptions(policy=policy, state=learnt.to_text() if learnt else None)
        ),
        contract_.hop_samples,
        policy,
        Path(name),
    )


class Rig:
    """A stream that is fed by hand, and what it publishes."""

    def __init__(self, other: LoadedModel | Exception, policy=None, connector=None) -> None:
        self.source = connector or Scripted()
        self.stream, self.memory = make_stream(connector=self.source, options=PipelineOptions(policy=policy))
        self.shadows = []
        self.memory.shadow = self.shadows.append
        self.stream.load_model = self.load
        self.changes = []
        self.stream.on_model_changed = self.changes.append
        self.other = other

    def load(self, path):
        if isinstance(self.other, Exception):
            raise self.other
        return self.other

    def feed(self, count):
        counters = self.stream.counters
        self.source.feed(count)
        eventually(lambda: counters.samples == self.source.index and self.source.fed.empty())

    def states(self):
        return [event.data["state"] for event in self.memory.of("model")]

    def until(self, state, most=200):
        """Feed until the model is in a state."""
        for _ in range(most):
            if state in self.states():
                return self.memory.of("model")[self.states().index(state)]
            self.feed(20)
            time.sleep(0.002)
        raise AssertionError((state, self.memory.of("model")))

    def swap(self, when="ready"):
        self.stream.swap.request(Path("other"), when)
        eventually(lambda: self.stream.swap.active or self.states()[-1] != "loading")


def alone(contract_, seed, count):
    pipeline = Pipeline(contract_, INFO, LinearDecoder(2, seed))
    return pipeline.process(Chunk(samples_of(0, count), 1000.0 + np.arange(count) / 100.0))


def assert_predicted(predictions, contract_, seed, count, tolerance=0.0):
    expected = {round(p.time, 6): p for p in alone(contract_, seed, count)}
    for prediction in predictions:
        same = expected[round(prediction.time, 6)]
        assert np.abs(prediction.probabilities - same.probabilities).max() <= tolerance
        assert prediction.reasons == same.reasons


def assert_unbroken(predictions):
    assert [p.seq for p in predictions] == list(range(len(predictions)))
    assert np.allclose(np.diff([p.time for p in predictions]), 0.1)


def test_a_model_takes_over_between_two_hops_and_goes_back_at_once():
    rig = Rig(model())
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        swapped = rig.until("swapped")
        rig.feed(200)
        assert rig.stream.hello().model.name == "other"
        assert rig.stream.status().model.sha256 == "1" * 64
        assert rig.stream.swap.status().previous.warm_for_s > 250
        rig.stream.command(AdaptationCommand("freeze"))
        rig.feed(100)
        rig.stream.command(AdaptationCommand("resume"))
        rig.stream.swap.rollback()
        back = rig.until("rolled_back")
        rig.feed(200)
        eventually(lambda: len(rig.memory.predictions) == (rig.source.index - 100) // 10 + 1)
    predictions = rig.memory.predictions
    assert_unbroken(predictions)
    first, last = swapped.data["seq"], back.data["seq"]
    assert rig.states() == ["loading", "warming", "swapped", "rolled_back"]
    assert rig.memory.of("model")[1].data["carried"] == ["signal", "alignment"]
    assert [event.data.get("pipeline", 0) for event in rig.memory.of("adaptation")] in ([1, 0, 1, 0], [0, 1, 0, 1])
    assert_predicted(predictions[:first], contract(), 0, 3000)
    until_frozen = (rig.memory.of("adaptation")[0].data["at"] - 100) // 10 + 1
    assert_predicted(predictions[first:until_frozen], contract(), 1, 3000)
    assert predictions[first].valid
    assert first < until_frozen <= last
    assert rig.changes == [Path("other"), None]


def test_a_model_with_other_filters_takes_over_once_its_windows_are_valid():
    rig = Rig(model(**OTHER_FILTERS, hop_samples=25))
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        swapped = rig.until("swapped")
        rig.feed(600)
    predictions, first = rig.memory.predictions, swapped.data["seq"]
    assert [p.seq for p in predictions] == list(range(len(predictions)))
    assert predictions[first].time > predictions[first - 1].time
    assert all(p.valid for p in predictions[first:])
    assert_predicted(predictions[first + 3 :], contract(**OTHER_FILTERS, hop_samples=25), 1, 5000, 1e-6)


def test_a_shadow_is_compared_and_promoted():
    rig = Rig(model(policy=OWN), policy=POLICY)
    with running(rig.stream):
        rig.feed(600)
        rig.swap("shadow")
        rig.until("shadow")
        rig.feed(500)
        eventually(lambda: rig.stream.swap.status().candidate.comparison.pairs >= 49)
        with pytest.raises(ModelConflictError, match="promote or drop"):
            rig.stream.swap.request(Path("third"), "ready")
        status = rig.stream.swap.status().candidate
        assert rig.stream.hello().model.name == "linear"
        rig.stream.swap.promote()
        swapped = rig.until("swapped")
        rig.feed(200)
        assert rig.stream.control_setting.policy == OWN
        rig.stream.swap.rollback()
        rig.until("rolled_back")
        rig.feed(100)
        assert rig.stream.control_setting.policy == POLICY
    shadow = {round(p.time, 6): p for p in rig.shadows}
    used = [p for p in rig.memory.predictions if round(p.time, 6) in shadow]
    pairs = [(p.probabilities, shadow[round(p.time, 6)].probabilities) for p in used][: status.comparison.pairs]
    assert status.comparison.agreement == np.mean([a.argmax() == b.argmax() for a, b in pairs])
    assert np.isclose(status.comparison.difference, np.mean([abs(a - b).mean() for a, b in pairs]))
    assert np.allclose(status.comparison.confidence, np.mean([(a.max(), b.max()) for a, b in pairs], axis=0))
    assert sum(status.comparison.decisions[1].values()) > 0
    assert_predicted(rig.shadows, contract(), 1, 5000)
    assert_unbroken(rig.memory.predictions)
    assert rig.memory.of("control")[0].data["seq"] == swapped.data["seq"]
    assert rig.states() == ["loading", "warming", "shadow", "swapped", "rolled_back"]


def test_a_policy_that_the_user_set_stays():
    rig = Rig(model(policy=OWN), policy=POLICY)
    with running(rig.stream):
        rig.feed(600)
        mine = POLICY.model_copy(update={"decide": Decide(commit=0.9)})
        rig.stream.control(mine)
        rig.swap()
        rig.until("swapped")
        assert rig.stream.control_setting.policy == mine


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (BundleError("The bundle is damaged."), "The bundle is damaged."),
        (ValueError("odd"), "it could not be loaded (ValueError: odd)"),
        (model(classes=("feet", "tongue")), "set 'model' with PATCH"),
        (model(channels=("C3", "Cz", "Pz")), "Pz"),
        (model(decoder=Slow(2)), "of the time between two windows"),
        (model(decoder=Raising()), "it failed (RuntimeError: no)"),
    ],
)
def test_a_model_that_will_not_do_is_refused_and_the_present_one_stays(other, why):
    rig = Rig(other)
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        refused = rig.until("refused")
        rig.feed(100)
        assert not rig.stream.swap.active
        eventually(lambda: len(rig.memory.predictions) == (rig.source.index - 100) // 10 + 1)
        with pytest.raises(ModelConflictError, match="no model to go back to"):
            rig.stream.swap.rollback()
    assert why in refused.message
    assert_unbroken(rig.memory.predictions)
    assert_predicted(rig.memory.predictions, contract(), 0, 5000)


def test_a_model_that_does_not_become_valid_in_time_is_refused(monkeypatch):
    monkeypatch.setattr(model_swap, "_LATE_S", 1.0)
    rig = Rig(
        model(
            reference="the mastoids", normalisation=contract().normalisation.model_copy(update={"ready_samples": 300})
        )
    )
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        while "warming" not in rig.states():
            rig.feed(10)
        pipeline = next(rig.stream.swap.others)
        pipeline.alignment.frozen = True
        assert "not valid after" in rig.until("refused").message


def test_a_load_that_hangs_is_refused_and_another_can_begin(monkeypatch):
    monkeypatch.setattr(model_swap, "LOAD_S", 0.2)
    rig, hangs = Rig(model()), threading.Event()
    load, rig.stream.load_model = rig.stream.load_model, lambda path: hangs.wait(20) and rig.other
    with running(rig.stream):
        rig.feed(300)
        rig.stream.swap.request(Path("hangs"), "ready")
        eventually(lambda: "refused" in rig.states())
        rig.stream.load_model = load
        hangs.set()
        rig.swap()
        rig.until("swapped")
    assert rig.states()[:2] == ["loading", "refused"]


def test_a_candidate_can_be_dropped_at_any_time():
    rig = Rig(model())
    with running(rig.stream):
        rig.feed(600)
        with pytest.raises(ModelConflictError, match="no candidate"):
            rig.stream.swap.drop()
        rig.swap("shadow")
        rig.until("shadow")
        rig.stream.swap.drop()
        rig.feed(100)
        assert rig.states()[-1] == "dropped"
        assert not rig.stream.swap.active


def test_before_any_signal_a_model_is_used_at_once():
    rig = Rig(model())
    with pytest.raises(ModelConflictError, match="no signal yet"):
        rig.stream.swap.request(Path("other"), "shadow")
    rig.stream.swap.request(Path("other"), "ready")
    eventually(lambda: "swapped" in rig.states())
    with running(rig.stream):
        rig.feed(600)
        eventually(lambda: len(rig.memory.predictions) == 51)
    assert_predicted(rig.memory.predictions, contract(), 1, 600)


def test_the_model_before_is_dropped_after_its_time(monkeypatch):
    monkeypatch.setattr(model_swap, "WARM_S", 0.3)
    rig = Rig(model())
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        rig.until("swapped")
        time.sleep(0.35)
        rig.until("dropped")
        assert rig.stream.swap.status().previous is None
        assert not rig.stream.swap.active


def test_a_stream_that_dies_keeps_the_model_in_use_and_drops_the_candidate():
    rig = Rig(model())
    stream = rig.stream
    with supervised(stream):
        rig.feed(600)
        rig.swap()
        rig.until("swapped")
        rig.other = model("third")
        rig.swap("shadow")
        rig.until("shadow")
        rig.source.fed.put(RuntimeError("the driver died"))
        eventually(lambda: stream.counters.restarts == 1)
        eventually(lambda: "dropped" in rig.states())
        assert stream.model.name == "other"
        n = len(rig.memory.predictions)
        rig.feed(600)
        eventually(lambda: len(rig.memory.predictions) > n + 40)
    after = [p for p in rig.memory.predictions[n:] if p.valid]
    assert after


def test_a_model_kept_warm_that_fails_is_dropped_and_the_present_one_goes_on(monkeypatch):
    rig = Rig(model())
    with running(rig.stream):
        rig.feed(600)
        rig.swap()
        rig.until("swapped")
        [warm] = rig.stream.swap.others
        monkeypatch.setattr(warm, "advance", lambda chunk: 1 / 0)
        assert "ZeroDivisionError" in rig.until("dropped").message
        rig.feed(100)
        eventually(lambda: len(rig.memory.predictions) == (rig.source.index - 100) // 10 + 1)
    assert_unbroken(rig.memory.predictions)
