"""Loops that hang or whose thread ends: told, replaced, fenced off, and no other stream's business."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mindwire.live.loop import LiveLoop
from mindwire.live.reporter import StreamReporter
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.supervisor import RestartPolicy, Supervisor
from mindwire.loops import LoopThread
from mindwire.status import StreamState
from tests.support.bundles import random_bundle
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import Cap
from tests.support.scripted_source import Scripted, replayed
from tests.support.streaming import Memory, contract, eventually, make_stream, unique

ROOT = Path(__file__).parents[3]
QUICK = RestartPolicy(delays_s=(0.01, 0.01), hung_after_s=1.0, loop_hung_after_s=1.0)


class Gate:
    """Where a thread hangs until the test lets it go on; all are let go at the test's end."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.hanging: list[threading.Thread] = []

    def hang(self) -> None:
        self.hanging.append(threading.current_thread())
        self.open.wait(120)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()
    for thread in made.hanging:
        thread.join(10)
        assert not thread.is_alive()


class HangingSource(Scripted):
    """Hangs in the next ``hangs`` reads."""

    def __init__(self, gate, hangs=0) -> None:
        super().__init__()
        self.gate = gate
        self.hangs = hangs
        self.action = gate.hang

    def read(self, timeout):
        if self.hangs:
            self.hangs -= 1
            self.action()
        return super().read(timeout)


class Sessioned(LinearDecoder):
    """Whose sessions tell the streams apart; calls ``action`` for windows of those in ``bad``."""

    def __init__(self, action=None) -> None:
        super().__init__(2)
        self.action = action
        self.made: list[object] = []
        self.bad: set[int] = set()

    def session(self):
        self.made.append(object())
        return self.made[-1]

    def decode(self, sessions, windows):
        if self.bad & set(map(id, sessions)):
            self.action()
        return super().decode(sessions, windows)


@contextmanager
def supervised(*streams, policy=QUICK):
    supervisor = Supervisor(streams, on_refused=lambda *_: None, policy=policy)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop(2.0)


def seqs_since_restart(memory):
    seqs = [prediction.seq for prediction in memory.predictions]
    return seqs[seqs.index(0, 1) :]


def assert_undisturbed(stream, memory, count):
    """All that the samples give was published, once, and nothing happened to the stream."""
    expected = replayed(count)
    assert [p.seq for p in memory.predictions] == [p.seq for p in expected]
    for got, want in zip(memory.predictions, expected, strict=True):
        np.testing.assert_array_equal(got.probabilities, want.probabilities)
    assert (stream.counters.restarts, stream.counters.reconnects, stream.counters.gaps) == (0, 0, 0)
    assert not memory.of("error")


def test_a_source_that_hangs_is_reported_and_replaced_and_what_it_then_says_is_not_heard(gate):
    source = HangingSource(gate)
    stream, memory = make_stream(connector=source)
    with supervised(stream):
        source.feed(300)
        eventually(lambda: stream.state is StreamState.LIVE)
        source.hangs = 1
        eventually(lambda: memory.of("error"))
        assert "has not moved" in memory.of("error")[0].message
        eventually(lambda: stream.state is not StreamState.LIVE)
        source.feed(300)
        eventually(lambda: stream.state is StreamState.LIVE)
        assert "stale" in memory.states()
        assert stream.counters.restarts == 1
        assert not stream.hung
        gate.open.set()
        gate.hanging[0].join(10)
        assert not gate.hanging[0].is_alive()
        source.feed(100)
        eventually(source.fed.empty)
        assert seqs_since_restart(memory) == list(range(len(seqs_since_restart(memory))))
        assert stream.state is StreamState.LIVE


def test_a_loop_that_spins_in_python_is_ended(gate):
    def spin():
        gate.hanging.append(threading.current_thread())
        while not gate.open.is_set():
            time.sleep(0)

    source = HangingSource(gate, hangs=1)
    source.action = spin
    stream, _ = make_stream(connector=source)
    with supervised(stream):
        eventually(lambda: stream.counters.restarts == 1)
        gate.hanging[0].join(10)
        assert not gate.hanging[0].is_alive()
        source.feed(400)
        eventually(lambda: stream.state is StreamState.LIVE)


def test_a_stream_that_hangs_again_and_again_has_failed(gate):
    stream, memory = make_stream(connector=HangingSource(gate, hangs=100))
    with supervised(stream):
        eventually(lambda: stream.state is StreamState.FAILED)
        assert "Given up after 3 failures in a row" in stream.reason
        assert stream.hung
        assert stream.status().hung
        eventually(lambda: memory.events[-1].data.get("state") == "failed")
    assert memory.closed
    assert len(gate.hanging) == 3


def test_a_sink_that_hangs_hangs_nothing_but_its_stream(gate):
    class Hanging:
        def __getattr__(self, name):
            return lambda *_: gate.hang()

    source = HangingSource(gate)
    stream, _ = make_stream(connector=source)
    stream.reporter.add_sink(Hanging())
    other_source = HangingSource(gate)
    other, other_memory = make_stream(connector=other_source, name="other")
    with supervised(stream, other) as supervisor:
        other_source.feed(400)
        eventually(lambda: stream.state is StreamState.FAILED)
        assert stream.hung
        eventually(lambda: len(other_memory.predictions) == 31)
        begin = time.monotonic()
        assert not supervisor.stop(0.5)
        assert time.monotonic() - begin < 8
        assert other_memory.closed


def test_a_thread_that_ends_without_a_word_is_replaced(monkeypatch):
    source = Scripted()
    source.feed(600)
    stream, memory = make_stream(connector=source)
    ends = [SystemExit("a library ends the thread")]
    run = stream.run
    monkeypatch.setattr(stream, "run", lambda: run() if not ends else (_ for _ in ()).throw(ends.pop()))
    with supervised(stream):
        eventually(lambda: stream.state is StreamState.LIVE)
    assert "a library ends the thread" in memory.of("error")[0].message


def shared_decoder(first=None):
    """A shared decoder whose first engine is the one given; any other is a linear one."""
    engines = [first or LinearDecoder(2)]
    return SharedDecoder(lambda: engines.pop() if engines else LinearDecoder(2))


@contextmanager
def many(connectors, decoders, policy=QUICK):
    loop = LiveLoop()
    made = [
        make_stream(connector=connector, decoder=decoder, name=f"s{k}", loop=loop)
        for k, (connector, decoder) in enumerate(zip(connectors, decoders, strict=True))
    ]
    with supervised(*(stream for stream, _ in made), policy=policy):
        yield made


@pytest.mark.parametrize("where", ["read", "decode", "sink"])
def test_among_many_streams_one_that_hangs_ends_at_most_itself(gate, where):
    sources = [HangingSource(gate) for _ in range(6)]
    shared = shared_decoder()
    own = Sessioned(gate.hang)
    decoders = [shared_decoder(own), *[shared] * 5]
    with many(sources, decoders) as made:
        bad, bad_memory = made[0]
        loop = bad.loop
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 11 for _, memory in made))
        if where == "read":
            sources[0].hangs = 1
        elif where == "decode":
            own.bad = set(map(id, own.made))
        else:
            hanging, hang_once = Memory(), [gate.hang]
            hanging.publish = lambda _: hang_once.pop()() if hang_once else None
            bad.reporter.add_sink(hanging)
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 31 for _, memory in made[1:]))
        eventually(lambda: bad_memory.of("error"))
        assert "other streams go on" in bad_memory.of("error")[0].message
        sources[0].feed(400)
        eventually(lambda: bad.state is StreamState.LIVE)
        assert bad.counters.restarts == 1
        assert bad.loop is not loop
        gate.open.set()
        gate.hanging[0].join(10)
        after = seqs_since_restart(bad_memory)
        assert after == sorted(after)
        for source in sources[1:]:
            source.feed(100)
        eventually(lambda: all(len(memory.predictions) == 41 for _, memory in made[1:]))
        for stream, memory in made[1:]:
            assert_undisturbed(stream, memory, 500)


def test_a_batch_that_hangs_holds_up_no_stream_outside_it(gate):
    sources = [Scripted() for _ in range(6)]
    hanging = Sessioned(gate.hang)
    shared, other = shared_decoder(hanging), shared_decoder()
    with many(sources, [*[shared] * 3, *[other] * 3]) as made:
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 11 for _, memory in made))
        hanging.bad = set(map(id, hanging.made))
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 31 for _, memory in made[3:]))
        for source in sources:
            source.feed(400)
        eventually(lambda: all(stream.state is StreamState.LIVE for stream, _ in made))
        eventually(lambda: all(len(memory.predictions) == 71 for _, memory in made[3:]))
        for stream, memory in made[3:]:
            assert_undisturbed(stream, memory, 800)


def test_of_a_batch_that_fails_only_the_stream_whose_window_it_is_ends():
    def fail():
        raise RuntimeError("the bad window")

    decoder = Sessioned(fail)
    sources = [Scripted() for _ in range(6)]
    with many(sources, [shared_decoder(decoder)] * 6) as made:
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 11 for _, memory in made))
        decoder.bad = {id(made[2][0]._pipeline.session)}
        for source in sources:
            source.feed(200)
        eventually(lambda: made[2][0].counters.restarts == 1)
        others = [pair for k, pair in enumerate(made) if k != 2]
        eventually(lambda: all(len(memory.predictions) == 31 for _, memory in others))
        for stream, memory in others:
            assert_undisturbed(stream, memory, 400)
        assert "the bad window" in made[2][1].of("error")[0].message


def test_when_the_thread_of_many_streams_ends_another_goes_on(gate):
    def end():
        raise SystemExit

    sources = [HangingSource(gate) for _ in range(5)]
    sources[1].action = end
    with many(sources, [shared_decoder()] * 5) as made:
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 11 for _, memory in made))
        sources[1].hangs = 1
        for source in sources:
            source.feed(200)
        others = [pair for k, pair in enumerate(made) if k != 1]
        eventually(lambda: all(len(memory.predictions) == 31 for _, memory in others))
        for stream, memory in others:
            assert_undisturbed(stream, memory, 400)
        eventually(lambda: made[1][0].counters.restarts == 1)


def test_many_streams_stop_although_their_thread_hangs(gate):
    sources = [HangingSource(gate) for _ in range(5)]
    patient = RestartPolicy(hung_after_s=60.0, loop_hung_after_s=60.0)
    with many(sources, [shared_decoder()] * 5, policy=patient) as made:
        for source in sources:
            source.feed(200)
        eventually(lambda: all(len(memory.predictions) == 11 for _, memory in made))
        sources[0].hangs = 1
        eventually(lambda: gate.hanging)
    for stream, memory in made:
        assert memory.closed
        assert stream.state is StreamState.STOPPED
    gate.open.set()
    gate.hanging[0].join(10)
    assert all(len(memory.predictions) == 11 for _, memory in made)


def test_an_abandoned_thread_tells_no_sink_anything(gate):
    first, second = Memory(), Memory()
    first.publish = lambda _: gate.hang()
    thread = LoopThread(target=StreamReporter("test", (first, second)).publish, args=(1,))
    thread.start()
    eventually(lambda: gate.hanging)
    thread.abandon()
    gate.open.set()
    thread.join(10)
    assert second.predictions == []


HANGING_SERVICE = """
import sys, time
from functools import partial
from mindwire.live import supervisor
from mindwire.sources.lsl import LslSource
supervisor.RestartPolicy = partial(supervisor.RestartPolicy, hung_after_s=1.0)
LslSource.read = lambda self, timeout: time.sleep(3600)
sys.argv = ["mindwire", *sys.argv[1:]]
from mindwire.__main__ import main
main()
"""


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_service_whose_streams_all_hang_is_not_alive_and_ends_with_ctrl_c(tmp_path):
    pytest.importorskip("torch")
    bundle = random_bundle(tmp_path / "bundle", contract(window_samples=200))
    name = unique("cap")
    with Cap(name, source_id=name):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HANGING_SERVICE,
                *f"serve --port 0 --model {bundle} --stream id=cap,name={name}".split(),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            address = next(m[1] for line in process.stdout if (m := re.search(r"http://(\S+:\d+)", line)))
            eventually(lambda: get(address, "/health/live")[0] == 503, 30)
            status = get(address, "/v1/streams/cap")[1]
            assert status["hung"]
            assert status["state"] != "live"
            events = get(address, "/v1/streams/cap/events")[1]
            assert any(event["kind"] == "error" and "has not moved" in event["message"] for event in events)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()
