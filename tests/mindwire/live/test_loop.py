"""One loop for any number of connections: each predicts what it predicts alone, and faults stay with their connection."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mindwire.errors import StreamLostError
from mindwire.inference.decoder import MAX_BATCH
from mindwire.live import loop as live_loop
from mindwire.live.connection import Connection, StreamLimits
from mindwire.live.loop import LiveLoop
from mindwire.live.reporter import StreamReporter
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.loops import LoopStop
from mindwire.pipeline import Pipeline
from mindwire.sources.live import Presence
from mindwire.types import Chunk, SignalInfo
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.streaming import Memory, contract, eventually

INFO = SignalInfo("cap", "EEG", 100.0, 3, ("C3", "Cz", "C4"), ("uV",) * 3)
UNITS = {"uV": 1.0, "mV": 1e-3, "V": 1e-6}


class Counting(LinearDecoder):
    """Counts the windows of each call, and the streams that they are of."""

    def __init__(self) -> None:
        super().__init__(2)
        self.sizes: list[int] = []
        self.streams: list[int] = []

    def session(self):
        return object()

    def decode(self, sessions, windows):
        self.sizes.append(len(windows))
        self.streams.append(len(set(map(id, sessions))))
        return super().decode(sessions, windows)


class Cap:
    """A source that gives the same samples as every other of its seed, once the test lets it; its own connector."""

    clock_offset_s = 0.0

    def __init__(self, seed=0, *, info=INFO, step=10, n=400, unit=1.0, dtype=np.float64) -> None:
        self.info = info
        rows = (samples_of(seed, n, info.n_channels) * unit).astype(dtype)
        times = np.arange(n) / info.sfreq
        self.chunks = [Chunk(rows[i : i + step], times[i : i + step]) for i in range(0, n, step)]
        self.whole = Chunk(rows, times)
        self.open = threading.Event()
        self.given = 0
        self.fails_at: int | None = None
        self.error: Exception | None = None
        self.clock = 0.0
        self.timeouts: list[float] = []

    def read(self, timeout):
        self.timeouts.append(timeout)
        if not self.open.wait(min(timeout, 0.02)) or self.given == len(self.chunks):
            time.sleep(min(timeout, 0.02))
            return None
        if self.given == self.fails_at:
            raise self.error
        self.given += 1
        return self.chunks[self.given - 1]

    def now(self):
        # every chunk but the first is late, so that the next is due at once
        self.clock += 1e3
        return self.clock

    def watch(self, uid):
        return self

    def verdict(self):
        return Presence.THERE

    def close(self):
        pass


class Member:
    """A connection and what it published."""

    def __init__(self, cap, decoder) -> None:
        self.cap = cap
        self.stop = LoopStop()
        self.memory = Memory()
        self.connection = Connection(
            cap,
            cap,
            Pipeline(contract(), cap.info, decoder),
            reporter=StreamReporter("test", [self.memory]),
            limits=replace(StreamLimits(), max_backlog_s=1e9),
            stop=self.stop,
            commands=SimpleQueue(),
        )
        self.expected = Pipeline(contract(), cap.info, LinearDecoder(2)).process(cap.whole)

    @property
    def done(self) -> bool:
        return self.cap.given == len(self.cap.chunks) and len(self.memory.predictions) == len(self.expected)

    def assert_as_alone(self) -> None:
        assert [p.seq for p in self.memory.predictions] == [p.seq for p in self.expected]
        for ours, alone in zip(self.memory.predictions, self.expected, strict=True):
            np.testing.assert_array_equal(ours.probabilities, alone.probabilities)
            assert (ours.time, ours.reasons) == (alone.time, alone.reasons)
            assert ours.latency_ms["wait"] >= 0


class Running:
    """Runs members in a loop, each from a thread of its own as streams do; what each ended with."""

    def __init__(self, loop, members) -> None:
        self.ends: dict[int, Exception | None] = {}
        self.members = members
        self.threads = [
            threading.Thread(target=self._run, args=(loop, index), daemon=True) for index in range(len(members))
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, loop, index) -> None:
        try:
            loop.run(self.members[index].connection)
            self.ends[index] = None
        except Exception as error:  # noqa: BLE001 - what the test looks at
            self.ends[index] = error

    def __enter__(self):
        for member in self.members:
            member.cap.open.set()
        return self

    def __exit__(self, *_) -> None:
        for member in self.members:
            member.stop.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def shared(decoder=None):
    return SharedDecoder(lambda: decoder or LinearDecoder(2))


@pytest.mark.parametrize("count", [1, 2, 12])
def test_each_connection_predicts_what_it_predicts_alone(count):
    decoder = Counting()
    members = [Member(Cap(seed), shared(decoder)) for seed in range(count)]
    with Running(LiveLoop(batch_wait_s=0.05), members) as running:
        eventually(lambda: all(member.done for member in members))
    assert running.ends == dict.fromkeys(range(count))
    for member in members:
        member.assert_as_alone()
    assert max(decoder.sizes) <= MAX_BATCH


def test_one_connection_waits_in_its_read_and_several_are_polled():
    alone, other = Member(Cap(0), shared()), Member(Cap(1), shared())
    loop = LiveLoop()
    with Running(loop, [alone]):
        eventually(lambda: alone.done)
        assert min(alone.cap.timeouts) > 0
        with Running(loop, [other]):
            eventually(lambda: other.done and alone.cap.timeouts[-1] == 0)
            assert max(other.cap.timeouts) == 0
        eventually(lambda: alone.cap.timeouts[-1] > 0)


@st.composite
def caps(draw):
    """A cap with the contract's channels in any order among others."""
    labels = tuple(draw(st.permutations([*INFO.labels, *("Fz", "Pz", "Oz")[: draw(st.integers(0, 3))]])))
    unit = draw(st.sampled_from(sorted(UNITS)))
    sfreq = draw(st.sampled_from([100.0, 128.0, 250.0]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return labels, unit, sfreq, dtype


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(kinds=st.lists(caps(), min_size=2, max_size=4))
@example(kinds=[(INFO.labels, "uV", 100.0, np.float32), ((*INFO.labels, "Fz", "Pz"), "uV", 100.0, np.float32)])
def test_connections_that_differ_in_any_field_of_their_description(kinds):
    decoder, members = shared(), []
    for seed, (labels, unit, sfreq, dtype) in enumerate(kinds):
        info = replace(INFO, n_channels=len(labels), labels=labels, units=(unit,) * len(labels), sfreq=sfreq)
        members.append(Member(Cap(seed, info=info, unit=UNITS[unit], dtype=dtype, n=round(4 * sfreq)), decoder))
    with Running(LiveLoop(), members) as running:
        eventually(lambda: all(member.done for member in members))
    assert set(running.ends.values()) == {None}
    for member in members:
        member.assert_as_alone()


def test_a_backlog_of_many_is_decoded_in_full_batches():
    decoder = Counting()
    shared_one = shared(decoder)
    members = [Member(Cap(seed, step=400), shared_one) for seed in range(MAX_BATCH)]  # all is due at the first read
    polled, reported = [], []

    def open_together(cap, connection) -> None:
        """Let all caps send after a turn in which all took part."""
        read, report = cap.read, connection.report

        def counted_read(timeout):
            if reported:
                polled.clear()
                reported.clear()
            polled.append(cap)
            return read(timeout)

        def counted_report() -> None:
            report()
            reported.append(cap)
            if len(reported) == len(polled) == len(members):
                for member in members:
                    member.cap.open.set()

        cap.read, connection.report = counted_read, counted_report

    for member in members:
        open_together(member.cap, member.connection)
    running = Running(LiveLoop(batch_wait_s=0.1), members)
    eventually(lambda: all(member.done for member in members))
    running.__exit__()
    assert decoder.sizes == decoder.streams == [MAX_BATCH] * 31
    for member in members:
        member.assert_as_alone()


@pytest.mark.parametrize("error", [StreamLostError("gone"), RuntimeError("a bug")])
def test_an_error_ends_its_connection_and_no_other(error):
    decoder = shared()
    members = [Member(Cap(seed), decoder) for seed in range(3)]
    members[1].cap.fails_at, members[1].cap.error = 20, error
    with Running(LiveLoop(), members) as running:
        eventually(lambda: 1 in running.ends and members[0].done and members[2].done)
        assert running.ends == {1: error}
        assert len(members[1].memory.predictions) == 11  # what had fallen due before is published
    assert running.ends == {0: None, 1: error, 2: None}


def test_a_decoder_that_fails_ends_the_connections_it_served():
    class Failing(LinearDecoder):
        def decode(self, sessions, windows):
            raise RuntimeError("no memory")

    good, bad = Member(Cap(0), shared()), Member(Cap(1), shared(Failing(2)))
    with Running(LiveLoop(), [good, bad]) as running:
        eventually(lambda: 1 in running.ends and good.done)
    assert str(running.ends[1]) == "no memory"
    assert running.ends[0] is None


def test_a_fault_of_the_loop_itself_ends_its_connections_and_the_loop_takes_others(monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    loop, member = LiveLoop(), Member(Cap(0), shared())
    with monkeypatch.context() as patch:
        patch.setattr(live_loop, "_batches", fail)
        with Running(loop, [member]) as running:
            eventually(lambda: isinstance(running.ends.get(0), ZeroDivisionError))
    again = Member(Cap(0), shared())
    with Running(loop, [again]):
        eventually(lambda: again.done)


def test_a_loop_that_all_have_left_takes_new_connections():
    loop = LiveLoop()
    for seed in (0, 1):
        member = Member(Cap(seed), shared())
        with Running(loop, [member]):
            eventually(lambda member=member: member.done)


def test_a_loop_that_is_always_busy_says_so(monkeypatch):
    monkeypatch.setattr(live_loop, "_LOAD_S", 0.1)

    class Slow(LinearDecoder):
        def decode(self, sessions, windows):
            time.sleep(0.02)
            return super().decode(sessions, windows)

    loop, decoder = LiveLoop(), shared(Slow(2))
    members = [Member(Cap(seed, n=4000), decoder) for seed in range(2)]
    with Running(loop, members):
        eventually(lambda: all(member.memory.of("overload") for member in members))
    assert loop.load >= 0.8
    assert "fewer streams" in members[0].memory.of("overload")[0].message
