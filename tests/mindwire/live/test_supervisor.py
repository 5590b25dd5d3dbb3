"""Threads that die are reported, restarted with back-off, and given up; the others go on."""

from __future__ import annotations

import threading
import time

import numpy as np

from mindwire.errors import ResourceError, StreamNotFoundError
from mindwire.live import search
from mindwire.live.loop import LiveLoop
from mindwire.live.supervisor import RestartPolicy, Supervisor
from mindwire.options import AdaptationCommand
from mindwire.status import StreamState
from mindwire.types import Reason
from tests.support.linear_decoder import LinearDecoder
from tests.support.scripted_source import Scripted
from tests.support.streaming import eventually, make_stream
from tests.support.supervised import QUICK, Failing, supervised


def test_a_stream_that_dies_is_reported_and_restarted():
    source = Scripted()
    source.feed(600)
    stream, memory = make_stream(connector=source, decoder=Failing(1))
    with supervised(stream):
        eventually(lambda: stream.state is StreamState.LIVE)
    (error,) = memory.of("error")
    assert "ZeroDivisionError" in error.message
    assert stream.counters.restarts == 1
    assert stream.state is StreamState.STOPPED
    assert memory.closed


def test_a_restart_keeps_what_was_learnt_and_that_learning_was_stopped():
    source = Scripted()
    source.feed(600)
    decoder = Failing(0)
    stream, memory = make_stream(connector=source, decoder=decoder)
    with supervised(stream):
        eventually(lambda: stream.state is StreamState.LIVE and len(memory.predictions) >= 51)
        stream.command(AdaptationCommand("freeze"))
        source.feed(10)
        eventually(lambda: memory.of("adaptation"))
        learnt = stream.saved_adaptation()
        assert learnt.alignment.good_samples >= 400
        count, decoder.failures = len(memory.predictions), 1
        source.feed(500)
        eventually(lambda: stream.counters.restarts == 1 and len(memory.predictions) >= count + 30)
    again = memory.predictions[count:]
    assert not any(prediction.reasons & Reason.ALIGNING for prediction in again)
    assert [event.data["action"] for event in memory.of("adaptation")] == ["freeze", "freeze"]
    np.testing.assert_array_equal(stream.saved_adaptation().alignment.covariance, learnt.alignment.covariance)


def test_what_a_stream_had_learnt_that_is_given_up_is_still_to_be_kept():
    source = Scripted()
    source.feed(600)
    decoder = Failing(0)
    stream, memory = make_stream(connector=source, decoder=decoder)
    with supervised(stream):
        eventually(lambda: len(memory.predictions) >= 51)
        decoder.failures = 10**6
        source.feed(2000)
        eventually(lambda: stream.state is StreamState.FAILED)
    assert stream.saved_adaptation().alignment.good_samples >= 400


def test_after_repeated_failure_it_has_failed_and_the_others_go_on():
    bad_source, good_source = Scripted(), Scripted()
    bad_source.feed(2000)
    good_source.feed(300)
    bad, bad_memory = make_stream(connector=bad_source, decoder=Failing(10**6), name="bad")
    good, good_memory = make_stream(connector=good_source, name="good")
    with supervised(bad, good):
        eventually(lambda: bad.state is StreamState.FAILED)
        before = len(good_memory.predictions)
        good_source.feed(200)
        eventually(lambda: len(good_memory.predictions) >= max(before, 21) + 1)
        assert good.ready
    assert len(bad_memory.of("error")) == 3
    assert "4 failures" in bad_memory.events[-1].message
    assert not bad.ready


def test_a_refusal_at_the_start_is_handed_up_and_the_stream_tried_again():
    refused_source, good_source = Scripted(), Scripted()
    refused_source.there = StreamNotFoundError("2 streams match.")
    good_source.feed(300)
    stream, memory = make_stream(connector=refused_source)
    good, _ = make_stream(connector=good_source, name="good")
    with supervised(stream, good, policy=RestartPolicy(refused_s=0.05)) as refused:
        eventually(lambda: refused and good.state is StreamState.LIVE)
        assert refused[0][0] is stream
        assert "failed" in memory.states()
        eventually(lambda: stream.state is StreamState.SEARCHING and refused_source.finds >= 2)
        assert stream.reason == "2 streams match."
        refused_source.there = refused_source.info
        refused_source.feed(300)
        eventually(lambda: stream.state is StreamState.LIVE)
    assert len(refused) == 1


def test_a_refusal_after_the_start_concerns_its_stream_alone():
    late, good_source = Scripted(), Scripted()
    late.there = None
    good_source.feed(300)
    stream, memory = make_stream(connector=late, name="late")
    good, _ = make_stream(connector=good_source, name="good")
    with supervised(stream, good) as refused:
        eventually(lambda: good.state is StreamState.LIVE and "nothing here" in stream.reason)
        late.there = StreamNotFoundError("2 streams match.")
        eventually(lambda: memory.of("refused"))
        assert (stream.state, stream.reason) == (StreamState.SEARCHING, "2 streams match.")
        assert good.state is StreamState.LIVE
        late.there = late.info
        late.feed(300)
        eventually(lambda: stream.state is StreamState.LIVE)
    assert not refused


def test_stopping_gives_up_on_a_thread_that_hangs():
    release, hangs = threading.Event(), threading.Event()

    class Hanging(LinearDecoder):
        def decode(self, sessions, windows):
            hangs.set()
            release.wait(30)
            return super().decode(sessions, windows)

    source = Scripted()
    source.feed(200)
    stream, memory = make_stream(connector=source, decoder=Hanging(2))
    supervisor = Supervisor([stream], on_refused=lambda *_: None, policy=QUICK)
    supervisor.start()
    eventually(hangs.is_set)
    assert not supervisor.stop(0.2)
    assert memory.closed
    assert stream.state is StreamState.STOPPED
    assert "hung" in memory.events[-1].message
    release.set()


def test_a_stream_that_hangs_is_reported(caplog):
    release = threading.Event()

    class Hanging(LinearDecoder):
        def decode(self, sessions, windows):
            release.wait(30)
            return super().decode(sessions, windows)

    source = Scripted()
    source.feed(200)
    stream, _ = make_stream(connector=source, decoder=Hanging(2))
    with supervised(stream, policy=RestartPolicy(hung_after_s=0.2)):
        eventually(lambda: "has not moved" in caplog.text)
        release.set()


def test_a_stream_that_waits_for_another_attempt_does_not_hang(monkeypatch):
    monkeypatch.setattr(search, "_FIRST_PAUSE_S", 1.0)
    source = Scripted()
    source.there = ResourceError("LSL fails.")
    stream, _ = make_stream(connector=source)
    with supervised(stream, policy=RestartPolicy(hung_after_s=0.2)):
        eventually(lambda: source.finds >= 2)
        assert stream.counters.restarts == 0
        assert not stream.hung


def test_streams_come_and_go_while_another_runs():
    sources = [Scripted(), Scripted()]
    (first, kept), (second, gone) = (make_stream(connector=source) for source in sources)
    supervisor = Supervisor([first], on_refused=lambda *_: None, policy=QUICK)
    supervisor.start()
    try:
        supervisor.add(second)
        for source in sources:
            source.feed(300)
        eventually(lambda: len(gone.predictions) == len(kept.predictions) == 21)
        assert supervisor.remove(second, "The stream was removed.", 5.0)
        assert gone.of("state")[-1].message == "The stream was removed."
        assert gone.states()[-1] == "stopped"
        sources[0].feed(100)
        eventually(lambda: len(kept.predictions) == 31)
        assert first.state is StreamState.LIVE
    finally:
        assert supervisor.stop(5.0)


def test_the_removal_of_a_stream_that_hangs_is_bounded_and_the_others_go_on():
    gate, hangs = threading.Event(), threading.Event()

    class Hanging(LinearDecoder):
        def decode(self, sessions, windows):
            hangs.set()
            gate.wait(60)
            return super().decode(sessions, windows)

    good, bad = Scripted(), Scripted()
    loop = LiveLoop()
    first, memory = make_stream(connector=good, loop=loop)
    second, gone = make_stream(connector=bad, decoder=Hanging(2), loop=loop)
    quick = RestartPolicy(delays_s=(0.01,), loop_hung_after_s=1.0)
    supervisor = Supervisor([first, second], on_refused=lambda *_: None, policy=quick)
    supervisor.start()
    try:
        bad.feed(300)
        assert hangs.wait(30)
        begin = time.monotonic()
        assert not supervisor.remove(second, "The stream was removed.", 0.2)
        assert time.monotonic() - begin < 10
        assert gone.states()[-1] == "stopped"
        good.feed(300)
        eventually(lambda: len(memory.predictions) == 21)
        assert not memory.of("error")
    finally:
        gate.set()
        supervisor.stop(5.0)
