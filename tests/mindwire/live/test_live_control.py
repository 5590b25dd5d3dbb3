"""A stream decides as its pipeline alone does, and keeps policy and pause whatever happens to it."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import asdict

from mindwire.control.controller import ControlCommand
from mindwire.control.policy import ControlPolicy
from mindwire.control.setting import ControlSetting
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.errors import PolicyError, StreamLostError
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.status import StreamState
from mindwire.types import Chunk
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.scripted_source import INFO, Scripted
from tests.support.streaming import contract, eventually, make_stream, running
from tests.support.supervised import Failing, supervised

POLICY = ControlPolicy(
    evidence=Latest(),
    decide=Decide(commit=0.7, release=0.6, dwell_s=0, refractory_s=0.3),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)
OTHER = POLICY.model_copy(update={"decide": Decide(commit=0.55, release=0.5, dwell_s=0, refractory_s=0.1)})
OPTIONS = PipelineOptions(policy=POLICY)


def alone(count: int, *commands: ControlCommand) -> list:
    pipeline = Pipeline(contract(), INFO, LinearDecoder(2), PipelineOptions(policy=POLICY, control=commands))
    return [p.control for p in pipeline.process(Chunk(samples_of(0, count), 1000.0 + np.arange(count) / 100.0))]


def command_of(event) -> ControlCommand:
    policy = event.data["policy"]
    return ControlCommand(
        event.data["seq"],
        None if policy is None else ControlPolicy.model_validate(policy, strict=False),
        event.data["paused"],
    )


def test_decisions_and_changes_are_those_of_the_pipeline_alone():
    source = Scripted()
    stream, memory = make_stream(connector=source, options=OPTIONS)
    with running(stream):
        for n, change in ((600, {"policy": OTHER}), (1200, {"paused": True}), (1500, {"paused": False})):
            source.feed(n - source.index)
            eventually(lambda n=n: len(memory.predictions) == (n - 100) // 10 + 1)
            stream.control(**change)
            assert stream.control_setting.policy == (OTHER if n >= 600 else POLICY)
        source.feed(500)
        eventually(lambda: len(memory.predictions) == 191)
        status = stream.status().control
    commands = [command_of(event) for event in memory.of("control")]
    assert [(c.policy, c.paused) for c in commands] == [(OTHER, None), (None, True), (None, False)]
    assert [event.data["hash"] for event in memory.of("control")] == [OTHER.hash, None, None]
    outputs = [prediction.control for prediction in memory.predictions]
    assert outputs == alone(2000, *commands)
    for command, state in zip(commands[1:], (True, False), strict=True):
        assert (outputs[command.seq].state == "paused") is state
        assert (outputs[command.seq - 1].state == "paused") is not state
    decisions = [output.decision for output in outputs if output.decision]
    assert len({decision.label for decision in decisions}) == 2
    assert status.decisions == {
        label: sum(decision.label == label for decision in decisions) for label in contract().classes
    }
    assert (status.last.label, status.last.seq, status.last.confidence) == (
        decisions[-1].label,
        decisions[-1].seq,
        decisions[-1].confidence,
    )
    assert 0 <= status.last.age_s < 60
    assert (status.state, status.paused, status.hash) == (outputs[-1].state, False, OTHER.hash)


def test_a_reconnection_keeps_policy_and_pause_and_takes_commands_given_meanwhile():
    source = Scripted()
    source.feed(300)
    stream, memory = make_stream(connector=source, options=OPTIONS)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 21)
        stream.control(OTHER)
        source.feed(10)
        eventually(lambda: len(memory.predictions) == 22)
        source.there = None
        source.fed.put(StreamLostError("gone"))
        eventually(lambda: "lost" in memory.states())
        stream.control(paused=True)
        assert stream.control_setting == ControlSetting(policy=OTHER, paused=True)
        source.there = INFO
        source.feed(300)
        eventually(lambda: len(memory.predictions) == 43)
        assert asdict(stream.hello().control) == {
            "policy": OTHER.model_dump(mode="json"),
            "hash": OTHER.hash,
            "paused": True,
        }
    assert {prediction.control.state for prediction in memory.predictions[22:]} == {"paused"}
    assert memory.predictions[21].control.policy == OTHER
    assert [event.data["seq"] for event in memory.of("control")] == [21, 22]


def test_a_stream_that_died_begins_again_with_its_policy_and_paused():
    source = Scripted()
    source.feed(300)
    decoder = Failing(0)
    stream, memory = make_stream(connector=source, decoder=decoder, options=OPTIONS)
    with supervised(stream):
        eventually(lambda: len(memory.predictions) == 21)
        stream.control(OTHER, paused=True)
        source.feed(10)
        eventually(lambda: len(memory.predictions) == 22)
        decoder.failures = 1
        source.feed(500)
        eventually(lambda: stream.counters.restarts == 1 and len(memory.predictions) >= 40)
    again = memory.predictions[22:]
    assert {(p.control.state, p.control.policy.hash) for p in again} == {("paused", OTHER.hash)}
    changes = [(e.data["seq"], e.data["hash"], e.data["paused"]) for e in memory.of("control")]
    assert changes == [(21, OTHER.hash, True), (0, OTHER.hash, True)]


def test_a_command_to_a_pipeline_that_was_replaced_before_it_is_not_given_to_the_next():
    source = Scripted()
    source.feed(300)
    stream, memory = make_stream(connector=source, options=OPTIONS)
    with supervised(stream):
        eventually(lambda: len(memory.predictions) == 21)
        source.there = None
        source.fed.put(StreamLostError("gone"))
        eventually(lambda: "lost" in memory.states())
        stream.control(paused=True)  # waits for the next connection
        stream.abandon(StreamState.STALE, "The thread hung.")
        stream.control(paused=False)
        source.there = INFO
        source.feed(300)
        eventually(lambda: len(memory.predictions) == 42)
        assert stream.control_setting == ControlSetting(policy=POLICY)
    assert "paused" not in {prediction.control.state for prediction in memory.predictions}


def test_a_stream_without_a_signal_takes_commands_for_its_first_pipeline():
    source = Scripted()
    source.there = None
    stream, memory = make_stream(connector=source)
    with running(stream):
        assert stream.status().control is None
        assert stream.hello().control is None
        stream.control(POLICY)
        stream.control(paused=True)
        status = stream.status().control
        assert (status.state, status.last) == ("paused", None)
        assert status.decisions == {"left_hand": 0, "right_hand": 0}
        source.there = INFO
        source.feed(300)
        eventually(lambda: len(memory.predictions) == 21)
    assert {prediction.control.state for prediction in memory.predictions} == {"paused"}
    assert stream.control_setting == ControlSetting(policy=POLICY, paused=True)


def test_a_policy_that_does_not_fit_changes_nothing():
    stream, _ = make_stream(connector=Scripted(), options=OPTIONS)
    with pytest.raises(PolicyError, match="the model has no class tongue"):
        stream.control(ControlPolicy(idle="tongue"), paused=True)
    assert stream.control_setting == ControlSetting(policy=POLICY)
