"""The websocket endpoints: which stream, which encoding, which goodbye."""

from __future__ import annotations

import contextlib
import json

import msgspec
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.status import StreamState
from tests.support.protocol import connect
from tests.support.standin import StandIn, probabilities, served


@pytest.fixture
def stream():
    one = StandIn()
    yield one
    one.stop()


def messages(websocket, n, decode=json.loads):
    return [decode(websocket.recv(timeout=5)) for _ in range(n)]


def to_the_end(websocket):
    """The last message, and the frame that closed the connection."""
    last = None
    while True:
        try:
            last = json.loads(websocket.recv(timeout=5))
        except ConnectionClosed as closed:
            return last, closed.rcvd


def goodbye(url):
    with connect(url) as websocket:
        return to_the_end(websocket)[1]


@pytest.mark.parametrize("path", ["/ws", "/v1/streams/eeg/predictions"])
@pytest.mark.parametrize(
    ("offered", "accepted", "decode"),
    [
        (None, None, json.loads),
        (["mindwire.v1+json"], "mindwire.v1+json", json.loads),
        (["chat", "mindwire.v1+msgpack", "mindwire.v1+json"], "mindwire.v1+msgpack", msgspec.msgpack.decode),
    ],
    ids=["plain", "json", "msgpack"],
)
def test_hello_state_predictions(address, path, offered, accepted, decode):
    with connect(f"ws://{address}{path}", subprotocols=offered) as websocket:
        assert websocket.subprotocol == accepted
        assert not websocket.protocol.extensions, "compression costs more than it saves"
        hello, state, *predictions = messages(websocket, 12, decode)
    assert hello["type"] == "hello"
    assert hello["version"] == 1
    assert state["kind"] == "state"
    assert state["data"] == {"state": "live"}
    first = predictions[0]["seq"]
    for seq, prediction in enumerate(predictions, first):
        assert prediction["seq"] == seq
        assert prediction["valid"] is True
        np.testing.assert_array_equal(prediction["probabilities"], probabilities(seq))
        assert set(prediction["latency_ms"]) == {"receive", "condition", "decode", "publish"}
        assert prediction["unix_time"] > prediction["time"]


def test_signal_blocks(address):
    with connect(f"ws://{address}/v1/streams/eeg/signal") as websocket:
        hello = json.loads(websocket.recv(timeout=5))
        assert hello["unit"] == "uV"
        assert len(hello["channels"]) == 22
        times = []
        for _ in range(5):
            block = websocket.recv(timeout=5)
            n_samples, n_channels = np.frombuffer(block, "<u4", 2, 8)
            assert n_channels == 22
            assert len(block) == 16 + 4 * n_samples * n_channels
            times.append(np.frombuffer(block, "<f8", 1)[0])
    assert times == sorted(times)


@pytest.mark.parametrize("feed", ["predictions", "signal"])
def test_unknown_stream_is_one_sentence(address, feed):
    assert goodbye(f"ws://{address}/v1/streams/nope/{feed}").code == 4404
    assert goodbye(f"ws://{address}/v1/streams/nope/{feed}").reason == "There is no stream 'nope'; there are: eeg."


def test_unknown_stream_of_any_length_is_answered(address):
    assert goodbye(f"ws://{address}/v1/streams/{'é' * 200}/predictions").code == 4404


def test_alias_needs_exactly_one_stream():
    with served(StandIn("left"), StandIn("right")) as address:
        closed = goodbye(f"ws://{address}/ws")
    assert closed.code == 4404
    assert closed.reason == "/ws needs exactly one stream, but there are 2: left, right."


def test_stream_that_stops_says_goodbye(stream, address):
    with connect(f"ws://{address}/ws") as websocket:
        messages(websocket, 3)
        stream.become(StreamState.STOPPED, "Stopped by the user.")
        stream.stop()
        last, closed = to_the_end(websocket)
    assert last["data"] == {"state": "stopped"}
    assert closed.code == 1001


def test_server_that_stops_says_goodbye():
    stream = StandIn()
    with contextlib.ExitStack() as stack:
        with served(stream) as address:
            websocket = stack.enter_context(connect(f"ws://{address}/ws"))
            messages(websocket, 1)
        assert to_the_end(websocket)[1].code == 1012
    assert stream.hub.n_clients == 0
