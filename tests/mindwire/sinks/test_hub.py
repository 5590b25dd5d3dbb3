"""The hub on a real event loop, fed by a real thread."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.messages import Encoding, Message
from mindwire.sinks.subscription import Subscription
from mindwire.status import Event
from mindwire.types import ControlOutput, Decision, Prediction, Reason
from mindwire_models.presets import BCIC2A

HELLO = {"type": "hello", "version": 1}


def prediction(seq, probabilities=(0.1, 0.2, 0.3, 0.4), reasons=Reason.NONE):
    return Prediction(seq, 10.0 + seq, np.array(probabilities), reasons, {"decode": np.float32(0.25)})


def state(word):
    return Event("eeg", "state", f"now {word}", 1.0, {"state": word})


async def read(subscription, n):
    async with asyncio.timeout(5):
        return decoded([await subscription.next() for _ in range(n)])


async def rest(subscription):
    """All messages that wait, once the subscription is closed."""
    messages = []
    async with asyncio.timeout(5):
        while (message := await subscription.next()) is not None:
            messages.append(message)
    return messages


def decoded(messages):
    return [json.loads(message.encoded(Encoding.JSON)) for message in messages]


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_hello_then_the_latest_state_once_then_the_rest():
    async def main():
        hub = PredictionHub("eeg", BCIC2A)
        in_thread(lambda: [hub.event(state("searching")), hub.event(state("live"))])
        first = hub.subscribe(HELLO)
        # posted, but not yet delivered when the second client arrives
        in_thread(lambda: [hub.publish(prediction(1)), hub.event(state("stale"))])
        second = hub.subscribe(HELLO)
        in_thread(lambda: hub.publish(prediction(2)))
        return await read(first, 5), await read(second, 3)

    one, two = asyncio.run(main())
    assert [m.get("data", {}).get("state", m["type"]) for m in one] == [
        "hello", "live", "prediction", "stale", "prediction",
    ]  # fmt: skip
    assert [m.get("data", {}).get("state", m["type"]) for m in two] == ["hello", "stale", "prediction"]


def test_prediction_on_the_wire():
    async def main():
        hub = PredictionHub("eeg", BCIC2A)
        text, packed = hub.subscribe(HELLO), hub.subscribe(HELLO, Encoding.MSGPACK)
        in_thread(lambda: hub.publish(prediction(7, [1 / 3, 2 / 3, 0.0, 0.0], Reason.GAP | Reason.MUSCLE)))
        await read(text, 1)
        await packed.next()
        return (await read(text, 1))[0], msgspec.msgpack.decode((await packed.next()).encoded(Encoding.MSGPACK))

    text, packed = asyncio.run(main())
    assert text == packed
    assert text.pop("unix_time") == pytest.approx(17.0 + time.time() - time.monotonic(), abs=1.0)
    assert text == {
        "type": "prediction",
        "seq": 7,
        "time": 17.0,
        "probabilities": [1 / 3, 2 / 3, 0.0, 0.0],
        "valid": False,
        "reasons": ["gap", "muscle"],
        "latency_ms": {"decode": 0.25},
    }


def test_slow_client_goes_on_with_the_present_and_is_told():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=8)
        slow, quick = hub.subscribe(HELLO), hub.subscribe(HELLO)
        await read(slow, 1)
        seen = await read(quick, 1)
        for seq in range(50):
            in_thread(lambda seq=seq: hub.publish(prediction(seq)))
            if seq == 20:
                in_thread(lambda: hub.event(state("stale")))
                seen += await read(quick, 1)
            seen += await read(quick, 1)
        assert hub.dropped == slow.dropped > 0
        hub.unsubscribe(slow)
        return seen, decoded(await rest(slow)), slow.dropped, quick.dropped

    quick, slow, dropped, none = asyncio.run(main())
    assert [m["seq"] for m in quick if m["type"] == "prediction"] == list(range(50))
    assert none == 0
    assert slow[0]["kind"] == "state", "events outlive predictions"
    assert slow[1]["kind"] == "dropped"
    assert slow[1]["data"] == {"count": dropped, "total": dropped}
    kept = [m["seq"] for m in slow[2:]]
    assert kept == list(range(50 - len(kept), 50))
    assert dropped == 50 - len(kept)


def test_a_stalled_loop_bounds_the_inbox_and_publishing_does_not_wait_for_it():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=16)
        client = hub.subscribe(HELLO)
        hello = await read(client, 1)

        def publish():
            for seq in range(5000):
                hub.publish(prediction(seq))

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        thread.join(60)  # the loop does not run meanwhile: a publisher that waited for it would never end
        assert not thread.is_alive()
        messages = hello
        while not messages or messages[-1].get("seq") != 4999:
            messages += await read(client, 1)
        assert len(messages) <= 2 + 16
        return messages

    messages = asyncio.run(main())
    assert messages[0] == HELLO
    kept = len(messages) - 2
    assert messages[1]["data"]["count"] == 5000 - kept
    assert [message["seq"] for message in messages[2:]] == list(range(5000 - kept, 5000))


def test_publishing_without_a_loop_or_after_it_has_gone():
    hub = PredictionHub("eeg", BCIC2A)
    hub.publish(prediction(0))
    hub.event(state("live"))

    async def main():
        await read(hub.subscribe(HELLO), 2)

    asyncio.run(main())
    for seq in range(200):
        hub.publish(prediction(seq))
        hub.event(state("live"))
    asyncio.run(main())
    hub.close()
    hub.close()


def test_close_ends_subscriptions_old_and_new():
    async def main():
        hub = PredictionHub("eeg", BCIC2A)
        before = hub.subscribe(HELLO)
        in_thread(hub.close)
        await asyncio.sleep(0)
        after = hub.subscribe(HELLO)
        async with asyncio.timeout(5):
            while await before.next() is not None:
                pass
            while await after.next() is not None:
                pass

    asyncio.run(main())


def test_odd_messages_do_not_stop_the_others(caplog):
    class Unprintable:
        def __str__(self):
            raise ValueError

    async def main():
        hub = PredictionHub("eeg", BCIC2A)
        client = hub.subscribe(HELLO)
        hub.event(Event("eeg", "odd", "odd", 0.0, {"x": Unprintable()}))
        hub.event(Event("eeg", "fine", "fine", np.float64(0.0), {np.int64(1): np.float32(2.0), "big": 2**80}))
        messages = await read(client, 2)
        assert caplog.text.count("could not be encoded") == 1
        return messages[-1]

    assert asyncio.run(main())["data"] == {"1": 2.0, "big": 2**80}


def test_hello_comes_first_even_to_a_client_that_is_slow_from_the_start():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=4)
        client = hub.subscribe(HELLO)
        for seq in range(20):
            in_thread(lambda seq=seq: hub.publish(prediction(seq)))
            await asyncio.sleep(0)
        return await read(client, 3)

    hello, dropped, first = asyncio.run(main())
    assert hello == HELLO
    assert dropped["data"]["count"] == first["seq"]


@pytest.mark.parametrize("chunk", [1, 7, 10, 250])
def test_signal_is_halved_in_rate_and_keeps_time(chunk):
    n = 1000
    times = 50.0 + np.arange(n) / 250.0
    samples = np.random.default_rng(0).normal(size=(n, 22)).astype(np.float32)

    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=1000)
        hub.signal(times, samples)  # nobody watches
        viewer = hub.subscribe_signal()
        (hello,) = await read(viewer, 1)
        assert hello["sfreq"] == 125.0
        assert hello["channels"] == list(BCIC2A.channels)
        for start in range(0, n, chunk):
            hub.signal(times[start : start + chunk], samples[start : start + chunk])
        hub.close()
        return [message.payload for message in await rest(viewer)]

    shown, at = [], []
    for block in asyncio.run(main()):
        rows, columns = np.frombuffer(block, "<u4", 2, 8)
        shown.append(np.frombuffer(block, "<f4", offset=16).reshape(rows, columns))
        at.append(np.frombuffer(block, "<f8", 1)[0] + np.arange(rows) / 125.0)
    shown, at = np.concatenate(shown), np.concatenate(at)
    assert len(shown) >= n // 2 - 8
    np.testing.assert_allclose(shown, samples.reshape(-1, 2, 22).mean(axis=1)[: len(shown)], atol=1e-6)
    np.testing.assert_allclose(at, times[::2][: len(at)], atol=1e-9)


def test_the_signals_hello_has_the_places_of_its_channels():
    async def main():
        contract = BCIC2A.model_copy(update={"channels": ("Cz", "EEG C4-Ref", "EOG1")})
        return (await PredictionHub("eeg", contract).subscribe_signal().next()).payload.positions

    vertex, right, nowhere = asyncio.run(main())
    assert vertex == [0.0, 0.0, 1.0]
    assert right == pytest.approx([np.sin(np.radians(36.0)), 0.0, np.cos(np.radians(36.0))], abs=1e-4)
    assert nowhere is None


def test_signal_does_not_average_across_a_gap():
    async def main():
        hub = PredictionHub("eeg", BCIC2A)
        viewer = hub.subscribe_signal()
        await viewer.next()
        hub.signal(np.array([1.0]), np.full((1, 22), 1e6, np.float32))
        hub.signal(5.0 + np.arange(10) / 250.0, np.zeros((10, 22), np.float32))
        return (await viewer.next()).payload

    block = asyncio.run(main())
    assert np.frombuffer(block, "<f8", 1)[0] == 5.0
    assert not np.frombuffer(block, "<f4", offset=16).any()


scalars = st.one_of(
    st.floats(allow_nan=False, width=32).map(np.float32),
    st.floats(allow_nan=False).map(np.float64),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.booleans().map(np.bool_),
    st.text(max_size=5).map(np.str_),
    st.integers(),
    st.floats(allow_nan=False),
    st.none(),
    st.just(np.arange(3)),
    st.just(object()),
    st.just(2**70),
)


@given(st.dictionaries(st.text(max_size=4), scalars))
@settings(max_examples=200)
def test_any_payload_is_encoded(payload):
    message = Message(payload)
    text = json.loads(message.encoded(Encoding.JSON))
    assert set(text) == set(payload)
    packed = msgspec.msgpack.decode(message.encoded(Encoding.MSGPACK))
    for key, value in payload.items():
        if isinstance(value, float | np.floating):
            assert packed[key] == float(value)
            assert text[key] is None if math.isinf(value) else text[key] == float(value)


@given(st.lists(st.sampled_from(["offer", "event", "take"]), max_size=120), st.integers(1, 9))
def test_queue_is_bounded_ordered_and_counts_what_it_loses(actions, capacity):
    async def main():
        subscription = Subscription("eeg", Encoding.JSON, capacity)
        offered, messages = 0, []
        for action in actions:
            if action == "take":
                taking = asyncio.ensure_future(subscription.next())
                await asyncio.sleep(0)
                if taking.done():
                    messages.append(taking.result())
                taking.cancel()
            else:
                subscription.offer(Message({"seq": offered}, expendable=action == "offer"))
                offered += 1
        subscription.close()
        waiting = await rest(subscription)
        assert sum(isinstance(message.payload, dict) for message in waiting) <= capacity
        messages = [json.loads(message.encoded(Encoding.JSON)) for message in (*messages, *waiting)]
        taken = [message["seq"] for message in messages if "seq" in message]
        reported = sum(message["data"]["count"] for message in messages if message.get("kind") == "dropped")
        assert taken == sorted(set(taken))
        assert len(taken) + reported == offered
        assert reported == subscription.dropped
        assert subscription.sent == len(taken)

    asyncio.run(main())


CONTROL = ControlPolicy(axes=(Axis(name="x", positive="feet"),))


def decided(seq, *, made=True):
    decision = Decision(seq, 10.0 + seq, "feet", 0.9) if made else None
    control = ControlOutput(decision, (0.5,), (0.9, 0.05, 0.03, 0.02), "active", CONTROL)
    return Prediction(seq, 10.0 + seq, np.array([0.1, 0.2, 0.3, 0.4]), control=control)


def kinds(messages):
    return [(message["type"], message["seq"]) for message in messages if "seq" in message]


def test_a_slow_client_gets_all_decisions_and_only_predictions_and_axes_are_dropped():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=8)
        slow = hub.subscribe(HELLO)
        await read(slow, 1)
        for seq in range(50):
            in_thread(lambda seq=seq: hub.publish(decided(seq, made=seq % 10 == 0)))
            await asyncio.sleep(0)
        hub.unsubscribe(slow)
        return decoded(await rest(slow)), slow.dropped

    messages, dropped = asyncio.run(main())
    assert [seq for kind, seq in kinds(messages) if kind == "decision"] == [0, 10, 20, 30, 40]
    (event,) = [message for message in messages if message["type"] == "event"]
    assert event["data"]["total"] == dropped == 105 - len(kinds(messages))
    assert kinds(messages)[-1] == ("axes", 49)


def test_more_decisions_than_a_client_takes_are_bounded_and_counted():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=8)
        slow = hub.subscribe(HELLO)
        await read(slow, 1)
        for seq in range(50):
            in_thread(lambda seq=seq: hub.publish(decided(seq)))
            await asyncio.sleep(0)
        hub.unsubscribe(slow)
        return decoded(await rest(slow)), slow.dropped

    messages, dropped = asyncio.run(main())
    assert len(messages) <= 9
    assert dropped == 150 - len(kinds(messages))
    decisions = [seq for kind, seq in kinds(messages) if kind == "decision"]
    assert decisions == list(range(50 - len(decisions), 50))


def test_a_stalled_loop_delays_decisions_and_loses_none():
    async def main():
        hub = PredictionHub("eeg", BCIC2A, capacity=16)
        client = hub.subscribe(HELLO)
        await read(client, 1)
        in_thread(lambda: [hub.publish(decided(seq, made=seq % 1000 == 0)) for seq in range(5000)])
        messages = []
        while not messages or messages[-1].get("seq") != 4999 or messages[-1]["type"] != "axes":
            messages += await read(client, 1)
        return messages

    assert [seq for kind, seq in kinds(asyncio.run(main())) if kind == "decision"] == [0, 1000, 2000, 3000, 4000]


def test_an_age_is_given_only_where_the_clocks_compare():
    async def main(time_):
        hub = PredictionHub("eeg", BCIC2A)
        client = hub.subscribe(HELLO)
        await read(client, 1)
        in_thread(lambda: hub.publish(msgspec.structs.replace(decided(0), time=time_)))
        return (await read(client, 2))[1]["age_ms"]

    assert 20 <= asyncio.run(main(time.monotonic() - 0.02)) < 10_000
    assert asyncio.run(main(time.monotonic() + 1e6)) is None
