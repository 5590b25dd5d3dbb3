"""Many streams in one thread: the same predictions, batches, and faults that stay with the stream they concern."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mindwire.errors import StreamLostError
from mindwire.inference.decoder import MAX_BATCH, StatelessSession
from mindwire.live.decode_loop import Worker
from mindwire.live.runner import Look, Runner, SharedDecoder
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, SignalInfo
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.streaming import contract, eventually

INFO = SignalInfo("cap", "EEG", 100.0, 3, ("C3", "Cz", "C4"), ("uV",) * 3)


class Counting(LinearDecoder):
    """Remembers how many windows each call had, and of how many streams."""

    def __init__(self, n_classes: int) -> None:
        super().__init__(n_classes)
        self.sizes: list[int] = []
        self.streams: list[int] = []

    def session(self):
        return StatelessSession()

    def decode(self, sessions, windows):
        self.sizes.append(len(windows))
        self.streams.append(len(set(map(id, sessions))))
        return super().decode(sessions, windows)


class Scripted:
    """A member whose chunks are there when the test says so."""

    def __init__(self, decoder, seed: int, n: int = 400, step: int = 10) -> None:
        self.pipeline = Pipeline(contract(), INFO, decoder)
        self.worker = Worker(self.pipeline, decoder, max_backlog_s=1e9)
        rows = samples_of(seed, n)
        times = np.arange(n) / 100.0
        self.chunks = [Chunk(rows[i : i + step], times[i : i + step]) for i in range(0, n, step)]
        self.whole = Chunk(rows, times)
        self.given = 0
        self.open = threading.Event()
        self.fails_at: int | None = None
        self.error: Exception | None = None
        self.stopping = False
        self.predictions: list = []
        self.settled = 0

    def look(self):
        if not self.open.is_set() or self.given == len(self.chunks):
            return None
        if self.given == self.fails_at:
            raise self.error
        self.given += 1
        chunk = self.chunks[self.given - 1]
        # All but the first are late, so that the next is due at once.
        return Look(self.worker.collect(chunk), 0.0, time.perf_counter(), 0.0 if self.given == 1 else 1e3)

    def publish(self, due, probabilities, decode_ms):
        self.predictions.append(self.worker.complete(due, probabilities, decode_ms))

    def settle(self):
        self.settled += 1

    @property
    def done(self) -> bool:
        return self.given == len(self.chunks) and len(self.predictions) == 31


class Opening(Runner):
    """Lets the members' chunks be there from the first turn on in which all take part, and not in the midst of one."""

    def __init__(self, members) -> None:
        super().__init__(batch_wait_s=0.1)
        self.members = members

    def _turn(self, places):
        if len(places) == len(self.members):
            for member in self.members:
                member.open.set()
        super()._turn(places)


def drive(runner: Runner, members):
    """Drive members as their streams' threads would; returns the threads and what they ended with."""
    ends: dict[int, object] = {}

    def target(index, member):
        try:
            runner.drive(member)
            ends[index] = None
        except Exception as error:  # noqa: BLE001 - what the test looks at
            ends[index] = error

    threads = [threading.Thread(target=target, args=pair, daemon=True) for pair in enumerate(members)]
    for thread in threads:
        thread.start()
    return threads, ends


def stop(members, threads):
    for member in members:
        member.stopping = True
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def alone(member, seed):
    return Pipeline(contract(), INFO, LinearDecoder(2)).process(Scripted(LinearDecoder(2), seed).whole)


def test_streams_driven_together_predict_what_they_predict_alone():
    decoder = Counting(2)
    shared = SharedDecoder(decoder)
    members = [Scripted(shared, seed) for seed in range(12)]
    threads, ends = drive(Runner(batch_wait_s=0.05), members)
    for member in members:
        member.open.set()
    eventually(lambda: all(member.done for member in members))
    stop(members, threads)
    assert ends == dict.fromkeys(range(12))
    for seed, member in enumerate(members):
        expected = alone(member, seed)
        assert [p.seq for p in member.predictions] == [p.seq for p in expected]
        for ours, theirs in zip(member.predictions, expected, strict=True):
            np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
            assert ours.reasons == theirs.reasons
            assert ours.latency_ms["wait"] >= 0
    assert max(decoder.sizes) <= MAX_BATCH
    assert max(decoder.sizes) > 1


def test_streams_that_are_behind_are_decoded_in_full_batches():
    decoder = Counting(2)
    shared = SharedDecoder(decoder)
    members = [Scripted(shared, seed, step=400) for seed in range(MAX_BATCH)]  # all that is due comes in one look
    threads, ends = drive(Opening(members), members)
    eventually(lambda: all(member.done for member in members))
    stop(members, threads)
    assert ends == dict.fromkeys(range(MAX_BATCH))
    assert decoder.sizes == decoder.streams == [MAX_BATCH] * 31
    for seed, member in enumerate(members):
        expected = alone(member, seed)
        assert [p.seq for p in member.predictions] == [p.seq for p in expected]
        for ours, theirs in zip(member.predictions, expected, strict=True):
            np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)


@pytest.mark.parametrize("error", [StreamLostError("gone"), RuntimeError("a bug")])
def test_what_ends_one_stream_reaches_its_thread_and_no_other(error):
    shared = SharedDecoder(LinearDecoder(2))
    members = [Scripted(shared, seed) for seed in range(3)]
    members[1].fails_at, members[1].error = 20, error
    threads, ends = drive(Runner(), members)
    for member in members:
        member.open.set()
    eventually(lambda: 1 in ends and members[0].done and members[2].done)
    assert ends == {1: error}
    assert len(members[1].predictions) == 11  # what had fallen due before is still told
    stop(members, threads)
    assert ends == {0: None, 1: error, 2: None}


def test_a_decoder_that_fails_ends_the_streams_it_served_and_no_other():
    class Broken(LinearDecoder):
        def decode(self, sessions, windows):
            raise RuntimeError("no memory")

    good, bad = Scripted(SharedDecoder(LinearDecoder(2)), 0), Scripted(SharedDecoder(Broken(2)), 1)
    threads, ends = drive(Runner(), [good, bad])
    good.open.set()
    bad.open.set()
    eventually(lambda: 1 in ends and good.done)
    assert str(ends[1]) == "no memory"
    stop([good, bad], threads)
    assert ends[0] is None


def test_a_runner_that_everybody_left_takes_newcomers():
    runner = Runner()
    for seed in (0, 1):
        member = Scripted(SharedDecoder(LinearDecoder(2)), seed)
        member.open.set()
        threads, _ = drive(runner, [member])
        eventually(lambda member=member: member.done)
        stop([member], threads)
