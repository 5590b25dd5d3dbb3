"""The AsyncAPI document: valid by the official parser, complete, and strict enough to see faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from mindwire.api import websockets
from mindwire.api.asyncapi import CLOCK_MESSAGES, STREAM_MESSAGES, document
from mindwire.api.event_data import EVENT_DATA
from mindwire.sinks.message_types import SignalHello
from mindwire.sinks.messages import Encoding, shadow_message
from mindwire.types import Prediction, Reason
from tests.support.protocol import Contract, checked, connect
from tests.support.standin import StandIn, served
from tests.support.streaming import make_stream

PARSER = Path(__file__).parents[2] / "asyncapi"
PROTOCOL = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")


def parsed(described: dict) -> dict:
    """What the official parser finds, which runs everywhere where it is installed, and always in CI."""
    if not (PARSER / "node_modules" / "@asyncapi").exists() and not os.environ.get("CI"):
        pytest.skip("the parser is not installed: npm ci --ignore-scripts in tests/asyncapi")
    done = subprocess.run(
        [shutil.which("node"), "validate.mjs"],
        input=json.dumps(described),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PARSER,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_official_parser_finds_nothing_wrong():
    found = parsed(document())
    assert found["problems"] == []
    assert found["version"] == "3.1.0"
    assert set(found["channels"]) == {
        "/ws",
        "/v1/streams/{stream}/predictions",
        "/v1/streams/{stream}/signal",
        "/v1/clock",
    }
    kinds = (*STREAM_MESSAGES, SignalHello, *CLOCK_MESSAGES)
    assert set(found["messages"]) == {kind.__name__ for kind in kinds} | {"SignalBlock"}


def test_the_official_parser_finds_a_fault():
    broken = document()
    broken["operations"]["answer_clock"]["action"] = "listen"
    assert [problem for problem in parsed(broken)["problems"] if problem["severity"] == 0]


def test_every_path_of_a_websocket_is_described_and_it_is_served_as_openapi_is():
    described = {channel["address"] for channel in document()["channels"].values()}
    assert described == {route.path for route in websockets.router.routes}
    stream = StandIn()
    with served(stream, token="control-token", read_token="read-token") as address:
        for path in ("/openapi.json", "/asyncapi.json"):
            assert httpx.get(f"http://{address}{path}").status_code == 401
            # The document is built for the first who asks, which takes seconds on a busy machine.
            head = {"Authorization": "Bearer read-token"}
            answer = httpx.get(f"http://{address}{path}", headers=head, timeout=60)
            assert answer.status_code == 200
    assert answer.json() == document(address)
    stream.stop()


def test_it_is_made_when_it_is_asked_for():
    code = "import sys, mindwire.api.app; sys.exit('mindwire.api.asyncapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_kind_of_event_in_the_documentation_is_described():
    kinds = PROTOCOL.partition("Kinds: ")[2].partition("which goes only")[0]
    assert [kind for kind in EVENT_DATA if f"`{kind}`" not in kinds] == []


@pytest.mark.parametrize("encoding", Encoding)
def test_every_message_conforms_in_both_encodings(encoding):
    decode = json.loads if encoding is Encoding.JSON else msgspec.msgpack.decode
    stream, found = StandIn(), set()
    with served(stream) as address, connect(f"ws://{address}/ws", subprotocols=[encoding]) as socket:
        found.add(checked(decode(socket.recv(10)))["type"])
        stream.shadowed = True
        stream.publish_one()
        stream.reasons = Reason.DECODER
        stream.publish_one()
        stream.control(paused=True)
        while "event" not in found:
            found.add(decode(socket.recv(10))["type"])
        with connect(f"ws://{address}/v1/streams/eeg/signal") as signal:
            signal.recv(10)
        with connect(f"ws://{address}/v1/clock") as clock:
            clock.recv(10)
            clock.send('{"type": "clock", "id": 1, "sent": 2.5}')
            clock.recv(10)
    stream.stop()
    assert found >= {"hello", "prediction", "shadow", "event"}
    nowhere = Prediction(1, 2.0, np.full(4, np.nan), Reason.DECODER, {}, None)
    checked(decode(shadow_message(nowhere).encoded(encoding)))
    real, _ = make_stream(connector=None)
    checked(json.loads(msgspec.json.encode(real.hello())))


GOOD = {"type": "axes", "seq": 1, "time": 2.0, "values": {"x": 0.5}}
STATE = {"type": "event", "kind": "state", "stream": "a", "message": "m", "unix_time": 1.0, "data": {"state": "live"}}


@pytest.mark.parametrize(
    "faulty",
    [
        GOOD | {"seq": "1"},
        GOOD | {"more": 1},
        {key: value for key, value in GOOD.items() if key != "time"},
        GOOD | {"type": "axis"},
        STATE | {"kind": "unheard_of"},
        STATE | {"data": {"state": "asleep"}},
        STATE | {"data": {"state": "live", "more": 1}},
        [],
    ],
)
def test_a_faulty_message_is_found(faulty):
    contract = Contract(document())
    assert contract.faults(GOOD) == contract.faults(STATE) == []
    assert contract.faults(faulty)
    with pytest.raises(AssertionError):
        checked(faulty)
