"""The Python client against a server with a stream that the test steers."""

from __future__ import annotations

import asyncio
import math
import time

import pylsl
import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.types import Reason
from mindwire_client import (
    Axes,
    ConnectionTimeoutError,
    Decision,
    Missed,
    Prediction,
    ProtocolError,
    RefusedError,
    TokenError,
    UnknownStreamError,
    UnreachableError,
    connect,
)
from mindwire_client.rest import Rest
from tests.support.standin import StandIn, probabilities, served

ALWAYS = ControlPolicy(
    evidence=Latest(),
    decide=Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)
TOKEN, READ_TOKEN = "correct horse", "battery staple"


@pytest.fixture
def stream():
    made = StandIn()
    yield made
    made.stop()


def take(iterator, n):
    return [next(iterator) for _ in range(n)]


@pytest.mark.parametrize("msgpack", [True, False])
def test_messages_are_typed_and_equal_what_was_predicted(address, msgpack):
    with connect(address, msgpack=msgpack) as client:
        assert (client.hello.stream, client.hello.classes[0]) == ("eeg", "feet")
        found = take(client.predictions(), 5)
    assert [one.seq for one in found] == list(range(found[0].seq, found[0].seq + 5))
    assert all(one.probabilities == pytest.approx(probabilities(one.seq).tolist(), abs=0) for one in found)
    with pytest.raises(AttributeError):
        found[0].valid = False


def test_numbers_that_are_none_are_nan_in_both_encodings(stream, monkeypatch):
    monkeypatch.setattr("tests.support.standin.probabilities", lambda _: probabilities(0) * math.nan)
    with served(stream) as where:
        stream.start()
        for msgpack in (True, False):
            with connect(where, msgpack=msgpack) as client:
                assert all(map(math.isnan, next(client.predictions()).probabilities))


def test_decisions_axes_events_and_valid_predictions_are_iterated_alone(stream):
    stream.control(ALWAYS)
    with served(stream) as where:
        stream.start()
        with connect(f"ws://{where}/ws") as client:
            assert client.hello.control.paused is False
            valid = client.predictions(valid=True)
            (decision,), (axes,) = take(client.decisions(), 1), take(client.axes(), 1)
            assert isinstance(decision, Decision)
            assert isinstance(axes, Axes)
            assert set(axes.values) == {"x"}
            assert next(client.events("state")).data["state"] == client.state == "live"
            stream.reasons = Reason.GAP
            everything = client.messages(Prediction)
            while next(everything).valid:
                pass
            stream.reasons = Reason.NONE
            assert all(one.valid for one in take(valid, 10))
            assert client.pause()["paused"]
            assert not client.resume()["paused"]
            changed = client.set_policy({"decide": {"commit": 0.9}})
            assert changed["policy"]["decide"]["commit"] == 0.9
            assert client.adaptation("freeze") is not None
            assert stream.commands[0].action == "freeze"
            with pytest.raises(RefusedError, match="nothing to roll back") as refused:
                client.adaptation("rollback", updates=1)
            assert refused.value.status == 409
            assert client.model()["in_use"]["name"] == "stand-in"
            assert client.status()["name"] == "eeg"


def test_coroutines_iterate_side_by_side(address):
    async def seqs(iterator, newest):
        found = []
        while not found or found[-1] < newest:
            found.append((await anext(iterator)).seq)
        return found

    async def both():
        async with connect(address) as client:
            iterators = (client.predictions(), client.predictions(valid=True))
            begun = [(await anext(one)).seq for one in iterators]  # the first may have begun before the second
            newest = max(begun) + 4
            return begun, newest, await asyncio.gather(*(seqs(one, newest) for one in iterators))

    begun, newest, found = asyncio.run(both())
    assert found == [list(range(first + 1, newest + 1)) for first in begun]


@pytest.mark.parametrize(("token", "sentence"), [(None, "needs a token"), ("wrong token", "was not accepted")])
def test_a_wrong_token_or_none_is_one_error_at_once(stream, token, sentence):
    async def enter(where):
        async with connect(where, token=token):
            pass

    with served(stream, token=TOKEN) as where:
        with pytest.raises(TokenError, match=sentence), connect(where, token=token):
            pass
        with pytest.raises(TokenError, match=sentence):
            asyncio.run(enter(where))


def test_a_token_that_reads_may_not_command(stream):
    with served(stream, token=TOKEN, read_token=READ_TOKEN) as where:
        stream.start()
        with connect(f"ws://{where}/ws?token={READ_TOKEN.replace(' ', '%20')}") as client:
            assert next(client.predictions())
            with pytest.raises(TokenError):
                client.pause()
        with connect(where, token=TOKEN) as client:
            assert client.status()


def test_a_token_that_becomes_wrong_ends_the_iteration_with_one_error(stream):
    with served(stream, token=TOKEN) as where:
        stream.start()
        with connect(where, token=TOKEN) as client:
            iterator = client.notices()
            stream.hub.close()
            while True:
                notice = next(iterator)
                if not getattr(notice, "connected", True):
                    break
            client._reader._access = client._reader._access._replace(token="another token")
            with pytest.raises(TokenError):
                list(iterator)
            assert not client.connected


def test_an_unknown_stream_and_an_absent_service_are_one_sentence(address):
    with pytest.raises(UnknownStreamError, match="there are: eeg"), connect(address, stream="cap"):
        pass
    with pytest.raises(ConnectionTimeoutError, match="check address and port"), connect("127.0.0.1:9", timeout_s=0.2):
        pass
    with pytest.raises(ProtocolError, match="check the address"), connect(f"{address}/nowhere"):
        pass
    with pytest.raises(ValueError, match="Expected an address"):
        connect("ftp://127.0.0.1")
    with connect(address) as client:
        absent = Rest(client._access.address, None, None, 1.0)
        object.__setattr__(absent._address, "place", "127.0.0.1:9")
        with pytest.raises(UnreachableError, match="check that it runs"):
            absent.ask("GET", "/v1/streams")


def test_a_slow_program_keeps_decisions_and_counts_what_it_misses(stream):
    once = ALWAYS.decide.model_copy(update={"refractory_s": 1000.0})
    stream.control(ALWAYS.model_copy(update={"decide": once}))
    with served(stream) as where:
        with connect(where) as client:
            slow, fast = client.messages(Prediction, Decision, Missed, capacity=20), client.messages(Prediction, Missed)
            seen = []
            for _ in range(100):
                stream.publish_one()
                seen.append(next(fast))
            found = []
            while (message := slow.poll(1.0)) is not None:
                found.append(message)
        predictions = [one for one in found if isinstance(one, Prediction)]
        (missed,) = [one for one in found if isinstance(one, Missed)]
    assert [one.seq for one in seen] == list(range(seen[0].seq, seen[0].seq + 100))
    assert predictions[-1].seq == seen[-1].seq
    assert missed.dropped == missed.count == predictions[0].seq - seen[0].seq == slow.missed
    assert found[found.index(missed) + 1] is predictions[0]
    assert [one.seq for one in predictions] == list(range(predictions[0].seq, seen[-1].seq + 1))
    assert any(isinstance(one, Decision) and one.seq < predictions[0].seq for one in found)


def test_ages_and_markers_are_on_the_clock_of_lsl(address):
    with connect(address) as client:
        assert client.clock.wait(20)
        before = pylsl.local_clock()
        now = client.clock.now()
        after = pylsl.local_clock()
        slack = client.clock.uncertainty_ms / 1e3
        assert before - slack <= now <= after + slack
        assert client.clock.to_local(client.clock.to_lsl(5.0)) == pytest.approx(5.0)
        prediction = next(client.predictions())
        bound = 1e3 * (pylsl.local_clock() - prediction.time)
        assert prediction.age_ms >= bound - client.clock.uncertainty_ms
        assert prediction.is_fresh(math.inf)
        assert not prediction.is_fresh(-1e6)
        heard = client.events("marker")
        at = client.markers.send("left_hand")
        client.markers.send("bad", at - 3600.0)
        assert client.markers.flush(20)
        assert next(heard).data["time"] == pytest.approx(at, abs=1e-6)
        ((sentence, refused),) = client.markers.refused
        assert refused["label"] == "bad"
        assert "bad" in sentence or "time" in sentence
        assert client.markers.waiting == 0


def test_an_age_without_a_clock_is_that_of_the_message():
    now, unix = time.perf_counter(), time.time()
    common = {"seq": 1, "time": 5.0, "received": now}
    assert Axes(**common, values={}).is_fresh(math.inf) is False
    assert Decision(**common, label="feet", confidence=1.0, sent_age_ms=2.0).age_ms >= 2.0
    assert Prediction(**common, unix_time=unix - 1.0, probabilities=(), valid=False).age_ms >= 990.0
