"""The control policy over REST, and decisions on the websocket, with real sockets."""

from __future__ import annotations

import json
import re

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, EstimatedPrior, Latest, Leaky
from mindwire.sinks.messages import Encoding
from mindwire.status import ControlStatus
from tests.support.protocol import connect
from tests.support.standin import StandIn, served

POLICY = ControlPolicy(
    evidence=Latest(),
    decide=Decide(commit=0.4, release=0.3, dwell_s=0, refractory_s=0.12),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)
EACH = dict.fromkeys(("feet", "left_hand", "right_hand", "tongue"), 0.5)
JSON = {"Content-Type": "application/json"}
PATH = "/v1/streams/eeg/control"


@pytest.fixture
def stream():
    stream = StandIn()
    stream.control(POLICY)
    return stream


@pytest.fixture
def http(stream):
    with served(stream) as address, httpx.Client(base_url=f"http://{address}", headers=JSON) as client:
        yield client


def ask(http: httpx.Client, change: object) -> httpx.Response:
    return http.put(PATH, content=change if isinstance(change, bytes) else json.dumps(change))


def test_the_policy_is_shown_with_its_hash(http):
    answer = http.get(PATH)
    assert answer.status_code == 200
    assert answer.json() == {"policy": json.loads(POLICY.to_json()), "hash": POLICY.hash, "paused": False}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"decide": {"commit": 0.9}}, {"decide": POLICY.decide.model_copy(update={"commit": 0.9})}),
        (
            {"decide": {"commit": EACH}},
            {"decide": POLICY.decide.model_copy(update={"commit": EACH})},
        ),
        ({"evidence": {"kind": "leaky", "time_constant_s": None}}, {"evidence": Leaky(time_constant_s=None)}),
        ({"evidence": {"prior": {"time_constant_s": 60.0}}}, {"evidence": Latest(prior=EstimatedPrior(time_constant_s=60.0))}),
        ({"axes": []}, {"axes": ()}),
        ({"idle": "tongue"}, {"idle": "tongue"}),
        ({}, {}),
    ],
)  # fmt: skip
def test_a_change_names_the_fields_that_change(http, stream, change, expected):
    answer = ask(http, change)
    policy = POLICY.model_copy(update=expected)
    assert answer.status_code == 200, answer.text
    assert answer.json()["hash"] == policy.hash
    assert stream.control_setting.policy == policy


def test_one_class_of_thresholds_by_class_changes_alone(http, stream):
    ask(http, {"decide": {"commit": {"feet": 0.4, "left_hand": 0.5, "right_hand": 0.6, "tongue": 0.7}}})
    assert ask(http, {"decide": {"commit": {"feet": 0.9}}}).status_code == 200
    assert stream.control_setting.policy.decide.commit == {
        "feet": 0.9,
        "left_hand": 0.5,
        "right_hand": 0.6,
        "tongue": 0.7,
    }


def test_a_document_with_a_version_replaces_the_policy(http, stream):
    answer = ask(http, {"version": 1, "decide": {"commit": 0.7}})
    assert answer.json()["policy"]["axes"] == []
    assert stream.control_setting.policy == ControlPolicy(decide=Decide(commit=0.7))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"evidence": {"kind": "magic"}}, "evidence: .*magic"),
        ({"stage": {}}, "stage: extra inputs"),
        ({"decide": {"comit": 0.9}}, "decide.comit: extra inputs"),
        ({"decide": {"release": 0.9}}, "decide.release: expected at most 0.4, the commit threshold of feet"),
        ({"evidence": {"kind": "leaky", "time_constant_s": 0}}, "greater than 0"),
        ({"evidence": {"kind": "leaky", "time_constant_s": -1.5}}, "greater than 0"),
        ({"idle": "foot"}, "idle: the model has no class foot, it has feet"),
        ({"axes": [{"name": "x", "positive": "up"}]}, "axis x: the model has no class up"),
        ({"decide": {"commit": {"feet": 0.9}}}, "decide.commit: expected a value for each class, missing left_hand"),
        (b'{"decide": {"commit": NaN}}', "not valid JSON"),
        (b'{"version": 1, "decide": {"commit": NaN}}', "JSON"),
        (b'{"decide": {"commit": 1e999}}', "."),
        ({"version": 2}, "version: input should be 1"),
        ({"version": None}, "version"),
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 60_000, "not valid JSON"),
        (b'{"decide":' * 6_000, "not valid JSON"),
        (b"[1]", "expected a JSON object"),
        (b'"\xed\xa0\x80"', "not valid JSON"),
        (b'{"idle": "\\ud800"}', "."),
        ({"decide": {"commit": "0.9"}}, "commit"),
    ],
)
def test_bad_policies_are_refused_in_a_sentence_and_change_nothing(http, stream, change, sentence):
    answer = ask(http, change)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert list(answer.json()) == ["detail"]
    assert detail.startswith("The control policy ")
    assert detail.endswith(".")
    assert "\n" not in detail
    assert re.search(sentence, detail), detail
    assert stream.control_setting.policy == POLICY
    assert http.get(PATH).json()["hash"] == POLICY.hash


def test_a_body_that_is_too_large_is_refused(http, stream):
    answer = ask(http, b" " * 70_000 + b"{}")
    assert answer.status_code == 413
    assert stream.control_setting.policy == POLICY


def test_pause_and_resume(http, stream):
    assert http.post(f"{PATH}/pause").json() == {**http.get(PATH).json(), "paused": True}
    assert stream.control_setting.paused
    assert http.post(f"{PATH}/resume").json()["paused"] is False
    assert not stream.control_setting.paused


def test_without_a_policy_there_is_nothing_to_pause_or_to_change_but_one_may_be_given():
    stream = StandIn()
    with served(stream) as address, httpx.Client(base_url=f"http://{address}", headers=JSON) as http:
        assert http.get(PATH).json() == {"policy": None, "hash": None, "paused": False}
        for action in ("pause", "resume"):
            refused = http.post(f"{PATH}/{action}")
            assert refused.status_code == 409
            assert refused.json()["detail"].endswith(f"there is nothing to {action}.")
        refused = ask(http, {"decide": {"commit": 0.9}})
        assert refused.status_code == 422
        assert "has no control policy" in refused.json()["detail"]
        assert ask(http, json.loads(POLICY.to_json())).status_code == 200
    assert stream.control_setting.policy == POLICY


def test_commands_need_the_token_and_an_allowed_origin(stream):
    with (
        served(stream, token="correct horse") as address,
        httpx.Client(base_url=f"http://{address}", headers=JSON) as http,
    ):
        assert ask(http, {"decide": {"commit": 0.9}}).status_code == 401
        assert http.post(f"{PATH}/pause").status_code == 401
        http.headers["Authorization"] = "Bearer correct horse"
        foreign = {"Origin": "https://page.example"}
        assert http.put(PATH, content=b'{"decide": {"commit": 0.9}}', headers=foreign).status_code == 403
        assert http.post(f"{PATH}/pause", headers=foreign).status_code == 403
        assert stream.control_setting.policy == POLICY
        assert not stream.control_setting.paused
        assert ask(http, {"decide": {"commit": 0.9}}).status_code == 200


def test_a_page_of_an_allowed_origin_may_change_the_policy(stream):
    with served(stream, allowed_origins=["https://page.example"]) as address:
        headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "PUT"}
        assert httpx.options(f"http://{address}{PATH}", headers=headers).status_code == 200


def test_openapi_describes_control(http):
    document = http.get("/openapi.json").json()
    put = document["paths"]["/v1/streams/{stream}/control"]["put"]
    assert {"200", "404", "413", "422"} <= set(put["responses"])
    schema = put["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert {"version", "evidence", "decide", "axes"} <= set(document["components"]["schemas"][schema]["properties"])
    assert set(document["components"]["schemas"]["ControlSetting"]["properties"]) == {"policy", "hash", "paused"}
    for action in ("pause", "resume"):
        assert "409" in document["paths"][f"/v1/streams/{{stream}}/control/{action}"]["post"]["responses"]


@pytest.mark.parametrize("encoding", list(Encoding))
def test_decisions_and_axes_follow_their_prediction(stream, encoding):
    decode = json.loads if encoding is Encoding.JSON else msgspec.msgpack.decode
    with served(stream) as address, connect(f"ws://{address}/ws", subprotocols=[encoding]) as socket:
        hello = decode(socket.recv(10))
        assert hello["control"] == {"policy": json.loads(POLICY.to_json()), "hash": POLICY.hash, "paused": False}
        for _ in range(4):
            stream.publish_one()
        messages = [decode(socket.recv(10)) for _ in range(10)]
    kinds = [message["type"] for message in messages]
    assert (
        kinds
        == [
            "prediction",
            "decision",
            "axes",
            "prediction",
            "axes",
            "prediction",
            "axes",
            "prediction",
            "decision",
            "axes",
        ][: len(kinds)]
        or "decision" in kinds
    )
    predictions = {m["seq"]: m for m in messages if m["type"] == "prediction"}
    for message in messages:
        prediction = predictions[message["seq"]]
        assert message["time"] == prediction["time"]
        if message["type"] == "decision":
            best = max(prediction["evidence"])
            assert list(message) == ["type", "seq", "time", "class", "confidence", "evidence", "age_ms"]
            assert message["evidence"] == prediction["evidence"]
            assert message["confidence"] == best
            assert message["class"] == hello["classes"][prediction["evidence"].index(best)]
            assert 0 <= message["age_ms"] < 10_000
            assert prediction["control"] == "active"
        elif message["type"] == "axes":
            assert list(message["values"]) == ["x"]
            assert -1 <= message["values"]["x"] <= 1


def test_a_change_is_an_event_for_all_clients(stream, http):
    address = http.base_url.netloc.decode()
    with connect(f"ws://{address}/ws") as socket:
        socket.recv(10)
        ask(http, {"decide": {"commit": 0.9}})
        http.post(f"{PATH}/pause")
        changed, paused = (json.loads(socket.recv(10)) for _ in range(2))
        stream.publish_one()
        prediction = json.loads(socket.recv(10))
    assert [event["kind"] for event in (changed, paused)] == ["control", "control"]
    assert changed["data"]["hash"] == stream.control_setting.hash
    assert changed["data"]["policy"]["decide"]["commit"] == 0.9
    assert changed["data"]["paused"] is None
    assert {**paused["data"], "time": None} == {
        "seq": stream.seq - 1,
        "time": None,
        "paused": True,
        "policy": None,
        "hash": None,
    }
    assert prediction["control"] == "paused"


def test_metrics_count_decisions(stream, http):
    last = {"class": "feet", "seq": 3, "time": 1.0, "confidence": 0.9, "age_s": 2.5}
    control = {
        "state": "idle",
        "paused": False,
        "hash": POLICY.hash,
        "decisions": {"feet": 3, "tongue": 0},
        "last": last,
    }
    stream.said = {"control": ControlStatus.model_validate(control)}
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    counted = {s.labels["class"]: s.value for s in families["mindwire_decisions"].samples}
    assert counted == {"feet": 3.0, "tongue": 0.0}
    (since,) = families["mindwire_seconds_since_decision"].samples
    assert since.labels == {"stream": "eeg"}
    assert since.value == 2.5
