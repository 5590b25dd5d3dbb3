"""The way between worker and front door, over a real socket on a real event loop."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.config import StreamSpec
from mindwire.errors import ContractError
from mindwire.options import AdaptationCommand
from mindwire.serve.front.door import shared_out
from mindwire.serve.front.mirror import MirroredStream, RelayHub
from mindwire.serve.front.uplink import Uplink
from mindwire.serve.front.wire import (
    SIGNAL,
    Answer,
    Follow,
    Frames,
    Introduction,
    Link,
    Missed,
    News,
    Order,
    Report,
    Told,
)
from mindwire.sinks.feed import Feed
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.messages import Encoding
from mindwire.status import Event, StreamState
from mindwire.types import Prediction, Reason
from mindwire_models.presets import BCIC2A
from tests.mindwire.api.standin import StandIn

HELLO = {"type": "hello", "version": 1}


def prediction(seq):
    return Prediction(seq, 10.0 + seq, np.array([0.1, 0.2, 0.3, 0.4]) + seq / 7, Reason.GAP, {"decode": 0.25})


def event(kind, **data):
    return Event("eeg", kind, f"{kind} happened", 1.0, data)


class Pair:
    """Both ends of a link: a worker's uplink, and the front door's hub."""

    def __init__(self) -> None:
        self.below: Link[Order] = Link(Order, self._order, lambda: None, lambda: self.uplink.catch_up())
        self.above: Link[News] = Link(News, self._news, lambda: None)
        self.uplink = Uplink("eeg", BCIC2A, self.below)
        self.hub = RelayHub("eeg", lambda feed, wanted: self.above.send(Follow("eeg", feed, wanted)))
        self.missed = 0

    def _order(self, order: Order) -> None:
        self.uplink.follow(order.feed, wanted=order.wanted)

    def _news(self, news: News) -> None:
        match news:
            case Told(stream, kind, message, unix_time, data):
                self.hub.event(Event(stream, kind, message, unix_time, data))
            case Frames(_, feed, payloads):
                self.hub.relay(feed, payloads)
            case Missed(_, n):
                self.missed += n
                self.hub.miss(n)


@asynccontextmanager
async def pair():
    loop = asyncio.get_running_loop()
    both = Pair()
    for link, sock in zip((both.above, both.below), socket.socketpair(), strict=True):
        await loop.create_connection(lambda link=link: link, sock=sock)
    both.uplink.attach()
    try:
        yield both
    finally:
        both.above.close()
        both.below.close()
        await asyncio.sleep(0)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the code under test
            await asyncio.sleep(0.001)


async def read(subscription, n):
    async with asyncio.timeout(10):
        return [(await subscription.next()).encoded(subscription.encoding) for _ in range(n)]


def test_clients_of_the_front_door_read_what_clients_of_the_stream_read():
    said = [event("state", state="live"), prediction(0), prediction(1), event("gap", seconds=np.float32(0.5)),
            prediction(2), event("odd", big=2**80), event("state", state="lost")]  # fmt: skip

    async def main():
        direct = PredictionHub("eeg", BCIC2A, to_unix=lambda: 0.0)
        async with pair() as both:
            for feed in (direct, both.uplink):
                feed.event(event("state", state="searching"))
            await until(lambda: both.hub.recent_events())
            read_by = {}
            for n, encoding in enumerate(Encoding, 1):
                clients = [direct.subscribe(HELLO, encoding), both.hub.subscribe(HELLO, encoding)]
                await until(lambda n=n: both.uplink.n_clients == n)
                read_by |= {(encoding, where): client for where, client in enumerate(clients)}
            for item in said:
                for feed in (direct, both.uplink):
                    (feed.event if isinstance(item, Event) else feed.publish)(item)
            return {key: await read(client, 2 + len(said)) for key, client in read_by.items()}

    texts = asyncio.run(main())
    decode = {Encoding.JSON: json.loads, Encoding.MSGPACK: msgspec.msgpack.decode}
    heard = [[decode[encoding](text) for text in each] for (encoding, _), each in texts.items()]
    for messages in heard:
        for message in messages:
            if message["type"] == "prediction":
                assert message.pop("unix_time") is not None
            elif message.get("kind") == "odd":
                message["data"]["big"] = str(message["data"]["big"])
    assert all(messages == heard[0] for messages in heard)
    assert [message.get("seq", message.get("kind")) for message in heard[0]] == [
        None, "state", "state", 0, 1, "gap", 2, "odd", "state",
    ]  # fmt: skip


def test_nothing_is_sent_that_nobody_follows_and_the_signal_is_what_the_stream_shows():
    times, samples = np.arange(1000) / 250.0, np.random.default_rng(0).normal(size=(1000, 22)).astype(np.float32)

    def show(feed: Feed) -> None:
        for start in range(0, 1000, 50):
            feed.signal(times[start : start + 50], samples[start : start + 50])

    async def main():
        async with pair() as both:
            both.uplink.publish(prediction(0))
            show(both.uplink)
            assert not both.uplink._inbox
            direct = PredictionHub("eeg", BCIC2A)
            both.hub.signal_hello = direct.signal_hello()
            viewers = direct.subscribe_signal(), both.hub.subscribe_signal()
            await until(lambda: both.uplink.n_viewers)
            for feed in (direct, both.uplink):
                show(feed)
            blocks = [await read(viewer, 21) for viewer in viewers]
            both.hub.unsubscribe(viewers[1])
            await until(lambda: not both.uplink.n_viewers)
            return blocks

    ours, theirs = asyncio.run(main())
    assert ours == theirs


def test_a_front_door_that_stalls_costs_no_memory_and_its_clients_learn_what_they_missed():
    async def main():
        async with pair() as both:
            client = both.hub.subscribe(HELLO)
            await until(lambda: both.uplink.n_clients)
            both.above._transport.pause_reading()
            n = 0
            while n < 20_000:
                both.uplink.publish(prediction(n))
                n += 1
                if n % 8 == 0:
                    await asyncio.sleep(0)
            assert both.below.full
            assert len(both.uplink._inbox) <= 64
            assert both.below._transport.get_write_buffer_size() < 2 << 20
            both.above._transport.resume_reading()
            heard = []
            while not heard or heard[-1].get("seq") != n - 1:
                heard += [json.loads(text) for text in await read(client, 1)]
            seqs = [message["seq"] for message in heard if message["type"] == "prediction"]
            told = sum(message["data"]["count"] for message in heard if message.get("kind") == "dropped")
            assert seqs == sorted(set(seqs))
            assert both.missed > 0
            assert told == client.dropped == both.hub.dropped == n - len(seqs)

    asyncio.run(main())


def test_a_new_worker_is_asked_for_what_clients_follow():
    asked = []
    hub = RelayHub("eeg", lambda feed, wanted: asked.append((feed, wanted)))

    async def main():
        first = hub.subscribe(HELLO, Encoding.MSGPACK)
        second = hub.subscribe(HELLO, Encoding.MSGPACK)
        hub.unsubscribe(first)
        assert asked == [(Encoding.MSGPACK, True)]
        hub.begin_anew()
        assert asked[1:] == [(Encoding.MSGPACK, True)]
        hub.unsubscribe(second)
        assert asked[2:] == [(Encoding.MSGPACK, False)]
        hub.signal_hello = HELLO
        hub.subscribe_signal()
        assert asked[3:] == [(SIGNAL, True)]

    asyncio.run(main())


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_messages_survive_any_cutting(payloads, cuts):
    sent = [Frames("eeg", SIGNAL, [payload]) for payload in payloads] + [Missed("eeg", 3), Answer(1, {})]
    wire, got = bytearray(), []

    class Wire:
        def is_closing(self):
            return False

        def write(self, data):
            wire.extend(data)

    sender: Link[Order] = Link(Order, lambda _: None, lambda: None)
    sender._transport = Wire()
    for message in sent:
        sender.send(message)
    receiver: Link[News] = Link(News, got.append, lambda: None)
    at = turn = 0
    while at < len(wire):
        step = cuts[turn % len(cuts)]
        receiver.data_received(bytes(wire[at : at + step]))
        at, turn = at + step, turn + 1
    assert got == sent


@given(st.lists(st.sampled_from([None, 1, 5, 10, 50]), min_size=1, max_size=40), st.integers(1, 8))
def test_streams_are_shared_out_evenly(hops, workers):
    specs = tuple(StreamSpec(id=f"s{i}", name="x", hop=hop) for i, hop in enumerate(hops))
    shares = shared_out(specs, workers, 10)
    assert sorted(name for share in shares for name in share) == sorted(spec.id for spec in specs)
    costs = {spec.id: 1 / (spec.hop or 10) for spec in specs}
    work = [sum(costs[name] for name in share) for share in shares]
    assert max(work) - min(work) <= max(costs.values()) + 1e-9


def test_equal_streams_go_round():
    specs = tuple(StreamSpec(id=f"s{i}", name="x") for i in range(5))
    assert shared_out(specs, 2, 10) == [["s0", "s2", "s4"], ["s1", "s3"]]


def test_a_stream_whose_worker_is_silent_for_a_while_is_stale_and_then_what_it_says():
    live = StandIn("eeg")
    live.become(StreamState.LIVE, "Predictions are fresh.")
    report = Report(live.status().model_dump(mode="json"), {"decode": ([1] * 14, 3.5)})
    stream = MirroredStream("eeg", Introduction({}, {}, report), follow=lambda *_: None, adapt=lambda _: None)
    assert stream.status() == live.status()
    assert stream.hub.latency["decode"].total_ms == 3.5
    for _ in range(2):
        stream.unreachable(StreamState.STALE, "It does not answer.")
    assert not stream.ready
    assert stream.status().state is StreamState.STALE
    for _ in range(2):
        stream.report(report)
    assert stream.ready
    states = [event.data["state"] for event in stream.hub.recent_events()]
    assert states == ["stale", "live"]
    with pytest.raises(ContractError, match="no adaptation"):
        stream.command(AdaptationCommand("freeze"))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_message_is_not_encoded_again(encoding):
    hub = RelayHub("eeg", lambda *_: None)

    async def main():
        client = hub.subscribe(HELLO, encoding)
        await client.next()
        written = []
        client.write = lambda frames: written.append(frames) or True
        waiting = asyncio.create_task(client.next())
        await asyncio.sleep(0)
        hub.relay(encoding.value, [b"as it is"])
        waiting.cancel()
        return written

    (frame,) = asyncio.run(main())
    assert frame.endswith(b"as it is")
