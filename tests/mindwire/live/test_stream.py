"""The stream's states, backlog and refusals, with a source that does exactly what the test says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mindwire.errors import (
    ContractError,
    ResourceError,
    SourceError,
    StreamChangedError,
    StreamLostError,
    StreamNotFoundError,
)
from mindwire.live import search
from mindwire.options import AdaptationCommand
from mindwire.sources.live import Presence
from mindwire.status import Sink, StreamState
from mindwire.types import Chunk, Reason
from mindwire_models.contract import NoNormalisation
from tests.support.lsl_cap import samples_of
from tests.support.scripted_source import INFO, Scripted, replayed
from tests.support.streaming import Memory, contract, eventually, make_stream, running


class Recording(Sink):
    """Of a recorder, what the status needs."""

    def __init__(self, path) -> None:
        self.path = path

    def attach(self, emit):
        pass


def test_the_status_names_the_recording_without_its_folder(tmp_path):
    stream, _ = make_stream(Scripted(), recorder=Recording(tmp_path / "cap-1.xdf"))
    assert stream.status().recording == "cap-1.xdf"
    assert stream.status().valid_in_s is None


def test_predictions_equal_the_pipelines_own():
    source = Scripted()
    source.feed(500)
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 41)
    expected = replayed(500)
    assert [p.seq for p in memory.predictions] == [p.seq for p in expected]
    assert [p.reasons for p in memory.predictions] == [p.reasons for p in expected]
    for got, want in zip(memory.predictions, expected, strict=True):
        np.testing.assert_array_equal(got.probabilities, want.probabilities)
    assert memory.samples == 500
    assert memory.closed


def test_the_way_from_searching_to_live_and_stopped():
    source = Scripted()
    stream, memory = make_stream(connector=source)
    assert not stream.ready
    with running(stream):
        eventually(lambda: stream.state is StreamState.SETTLING)
        assert not stream.ready
        source.feed(400)
        eventually(lambda: stream.counters.predictions == 31)
        assert stream.ready
        status = stream.status()
    assert memory.states() == ["searching", "connecting", "settling", "live", "stopped"]
    assert all(event.message for event in memory.events)
    assert status.state is StreamState.LIVE
    assert status.source.unit == "uV"
    assert status.counters.samples == 400
    assert status.counters.valid == len(memory.valid)
    assert {"condition", "decode", "publish"} <= set(status.latency_ms)
    assert stream.hello().classes == ["left_hand", "right_hand"]


def test_the_age_of_a_sample_is_told_only_when_the_clocks_compare():
    source = Scripted()
    source.feed(100)
    source.clock = 1000.99 + 0.005
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 1)
        source.clock = 5000.0
        source.fed.put(Chunk(samples_of(100, 10), 1000.0 + (100 + np.arange(10)) / 100.0))
        eventually(lambda: len(memory.predictions) == 2)
    assert memory.predictions[0].latency_ms["receive"] == pytest.approx(5.0, abs=0.5)
    assert "receive" not in memory.predictions[1].latency_ms


def test_a_backlog_is_skipped_to_the_newest_window_but_conditioned_whole():
    source = Scripted()
    source.feed(300)
    source.feed(400, size=400)
    source.feed(100)
    stream, memory = make_stream(connector=source, max_backlog_s=1.0)
    with running(stream):
        eventually(lambda: memory.predictions and memory.predictions[-1].seq == 70)
    expected = {p.seq: p for p in replayed(800)}
    got = {p.seq: p for p in memory.predictions}
    assert set(expected) - set(got) == set(range(21, 60))
    assert stream.counters.skipped == 39
    (skipped,) = memory.of("skipped")
    assert skipped.data["windows"] == 39
    for seq, prediction in got.items():
        np.testing.assert_array_equal(prediction.probabilities, expected[seq].probabilities)


def test_a_normal_burst_is_published_whole():
    source = Scripted()
    source.feed(400, size=100)
    stream, memory = make_stream(connector=source, max_backlog_s=1.0)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 31)
    assert stream.counters.skipped == 0


def test_without_descriptors_it_goes_on_trying_with_growing_pauses_and_says_so(monkeypatch):
    monkeypatch.setattr(search, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(search, "_LAST_PAUSE_S", 0.04)
    source = Scripted()
    source.feed(400)
    source.there = ResourceError("LSL fails (could not create continuous resolver).")
    stream, memory = make_stream(connector=source, wait=False)
    with running(stream) as errors:
        eventually(lambda: source.finds >= 8)
        assert stream.state is StreamState.SEARCHING
        assert "Tried again in 0.04 s; attempts go on until one succeeds." in stream.reason
        source.there = INFO
        source.open_error = ResourceError("LSL fails (could not create stream inlet).")
        eventually(lambda: "stream inlet" in stream.reason)
        source.open_error = None
        eventually(lambda: stream.state is StreamState.LIVE)
    assert not errors
    assert stream.counters.restarts == 0
    told = [event.message for event in memory.of("state") if "Tried again" in event.message]
    assert "0.01 s" in told[0]


def test_after_a_loss_no_window_mixes_before_and_after():
    source = Scripted()
    source.feed(300)
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 21)
        source.fed.put(StreamLostError("gone"))
        eventually(lambda: "lost" in memory.states())
        eventually(lambda: stream.counters.reconnects == 1)
        resumed = source.index
        source.feed(300)
        eventually(lambda: len(memory.predictions) == 42)
    way = ["searching", "connecting", "settling", "live"]
    assert memory.states() == [*way, "lost", *way, "stopped"]
    after = memory.predictions[21:]
    assert after[0].time >= 1000.0 + (resumed + 99) / 100.0 - 1e-6
    assert not after[0].valid
    assert [p.seq for p in memory.predictions] == list(range(42))
    assert memory.of("gap")


def test_a_silent_source_is_stale_and_comes_back():
    source = Scripted()
    source.feed(400)
    stream, memory = make_stream(connector=source, stale_after_s=0.2)
    with running(stream):
        source.presence_answer = None
        eventually(lambda: stream.state is StreamState.STALE and source.watches == 1)
        assert not stream.ready
        source.feed(100)
        eventually(lambda: stream.state is StreamState.LIVE)
    assert memory.states().count("live") == 2
    assert "lost" not in memory.states()
    assert source.watches == 0


@pytest.mark.parametrize(
    ("answer", "why"), [(Presence.REPLACED, "another outlet"), (Presence.ABSENT, "no longer answers")]
)
def test_a_silent_source_that_is_gone_is_lost(answer, why):
    source = Scripted()
    source.feed(200)
    source.presence_answer = answer
    stream, memory = make_stream(connector=source, stale_after_s=0.1, give_up_after_s=0.3)
    with running(stream):
        eventually(lambda: "lost" in memory.states())
    lost = next(event for event in memory.of("state") if event.data["state"] == "lost")
    assert why in lost.message


def test_a_source_that_is_only_silent_is_kept():
    source = Scripted()
    source.feed(200)
    stream, memory = make_stream(connector=source, stale_after_s=0.05, give_up_after_s=0.1)
    with running(stream):
        eventually(lambda: source.asked >= 4)
        assert stream.state is StreamState.STALE
    assert memory.states().count("stale") == 1


def test_a_changed_device_is_refused_visibly_and_once():
    source = Scripted()
    source.feed(220)
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: stream.state is StreamState.LIVE)
        source.open_error = StreamChangedError("It came back changed: nominal rate 100.0 became 200.0.")
        source.there = replace(INFO, uid="2")
        source.fed.put(StreamLostError("gone"))
        eventually(lambda: "became 200.0" in stream.status().state_reason)
        eventually(lambda: stream.state is StreamState.SEARCHING)
        finds = source.finds
        eventually(lambda: source.finds >= finds + 2)  # the same outlet is found again and again
        assert len(memory.of("refused")) == 1
        source.open_error = None
        source.there = replace(INFO, uid="3")
        eventually(lambda: stream.state is StreamState.SETTLING)


def test_twins_after_a_loss_are_refused_until_one_is_left():
    source = Scripted()
    source.feed(220)
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: stream.state is StreamState.LIVE)
        source.there = StreamNotFoundError("2 live streams have the identity of the cap.")
        source.fed.put(StreamLostError("gone"))
        eventually(lambda: memory.of("refused"))
        assert stream.state is StreamState.SEARCHING
        source.there = INFO
        eventually(lambda: stream.state is StreamState.SETTLING)


def test_what_is_refused_at_the_very_start_ends_the_stream():
    source = Scripted()
    source.there = StreamNotFoundError("2 streams match.")
    stream, _ = make_stream(connector=source)
    with running(stream) as errors:
        eventually(lambda: errors)
    assert isinstance(errors[0], StreamNotFoundError)
    assert not stream.connected_once


def test_an_absent_source_is_waited_for_visibly():
    source = Scripted()
    source.there = None
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: stream.status().state_reason == "There is nothing here.")
        source.there = INFO
        eventually(lambda: stream.state is StreamState.SETTLING)
    assert memory.events[0].kind == "state"


def test_an_absent_source_is_refused_when_nobody_waits():
    source = Scripted()
    source.there = None
    stream, _ = make_stream(connector=source, wait=False)
    with running(stream) as errors:
        eventually(lambda: errors)
    assert "nothing here" in str(errors[0])


def test_a_signal_that_cannot_meet_the_contract_is_refused():
    source = Scripted(replace(INFO, labels=("X", "Y", "Z")))
    stream, _ = make_stream(connector=source)
    with running(stream) as errors:
        eventually(lambda: errors)
    assert "C3" in str(errors[0])
    assert source.closed == 1


def test_later_faults_of_connecting_are_tried_again():
    source = Scripted()
    source.there = None
    stream, _ = make_stream(connector=source)
    with running(stream) as errors:
        eventually(lambda: stream.status().state_reason == "There is nothing here.")
        source.open_error = SourceError("It hangs.")
        source.there = INFO
        eventually(lambda: stream.status().state_reason == "It hangs.")
        source.open_error = None
        eventually(lambda: stream.state is StreamState.SETTLING)
        assert not errors


class Broken(Memory):
    def publish(self, prediction):
        msg = "this sink is broken"
        raise RuntimeError(msg)


def test_a_sink_that_raises_harms_no_other():
    source = Scripted()
    stream, memory = make_stream(connector=source)
    broken = Broken()
    stream.reporter.add_sink(broken)
    source.feed(300)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 21)
    assert len(memory.of("error")) == 1
    assert "Broken" in memory.of("error")[0].message


def test_a_clock_reset_of_the_source_is_told():
    source = Scripted()
    source.feed(300)
    stream, memory = make_stream(connector=source)
    with running(stream):
        eventually(lambda: len(memory.predictions) == 21)
        times = 1000.0 + (300 + np.arange(200)) / 100.0
        source.fed.put(Chunk(samples_of(300, 200), times, Reason.CLOCK_JUMP))
        eventually(lambda: memory.of("clock_reset"))


def test_adaptation_is_commanded_between_chunks_and_told():
    source = Scripted()
    stream, memory = make_stream(connector=source)
    with pytest.raises(ContractError, match="seen no signal yet"):
        stream.command(AdaptationCommand("freeze"))
    with running(stream):
        source.feed(400)
        eventually(lambda: memory.samples == 400)
        stream.command(AdaptationCommand("freeze"))
        source.feed(400)
        eventually(lambda: memory.samples == 800)
        status = stream.status().adaptation
        assert status is not None
        assert status.frozen
        assert status.good_seconds < 4.5
        told = [event for event in memory.events if event.kind == "adaptation"]
        assert [event.data["action"] for event in told] == ["freeze"]
        assert [channel.label for channel in stream.status().quality] == list(contract().channels)


def test_there_is_nothing_to_command_where_nothing_adapts():
    bare = contract().model_copy(update={"normalisation": NoNormalisation()})
    stream, _ = make_stream(connector=Scripted(), contract_=bare)
    with pytest.raises(ContractError, match="aligns nothing online"):
        stream.command(AdaptationCommand("freeze"))
