"""REST, health, metrics and what the page is made of, over real HTTP."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mindwire.api.pages import STATIC
from mindwire.status import StreamState
from tests.support.standin import StandIn, served


@pytest.fixture(scope="module")
def streams():
    return StandIn("left"), StandIn("right")


@pytest.fixture(scope="module")
def http(streams):
    with served(*streams) as address, httpx.Client(base_url=f"http://{address}") as client:
        yield client


def test_streams(http, streams):
    answer = http.get("/v1/streams")
    assert answer.status_code == 200
    assert [stream["name"] for stream in answer.json()] == ["left", "right"]
    one = http.get("/v1/streams/right").json()
    assert one["name"] == "right"
    assert one["classes"] == ["feet", "left_hand", "right_hand", "tongue"]
    assert one["source"]["source_id"] == "cap-1"
    assert one["model"]["engine"] == "onnxruntime"


@pytest.mark.parametrize("path", ["/v1/streams/nope", "/v1/streams/nope/events"])
def test_unknown_stream_is_one_sentence(http, path):
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no stream 'nope'; there are: left, right."}


def test_models_name_their_streams(http):
    (model,) = http.get("/v1/models").json()
    assert model["streams"] == ["left", "right"]
    assert model["engine_reason"] == "for tests"


def test_events_are_remembered(http, streams):
    streams[0].become(StreamState.LOST, "The outlet has gone.")
    events = http.get("/v1/streams/left/events").json()
    assert events[-1]["message"] == "The outlet has gone."
    assert events[-1]["data"] == {"state": "lost"}


def test_alive_until_the_loops_of_all_streams_hang(http, streams):
    for hung in streams:
        assert http.get("/health/live").json()["alive"] is True
        hung.hangs = True
    answer = http.get("/health/live")
    assert answer.status_code == 503
    assert "restart the service" in answer.json()["reason"]
    streams[0].hangs = False
    assert http.get("/health/live").status_code == 200


def test_ready_only_while_every_stream_is(http, streams):
    assert http.get("/health/live").json() == {"alive": True}
    for stream in streams:
        stream.become(StreamState.LIVE, "Predictions are fresh.")
    assert http.get("/health/ready").status_code == 200
    streams[1].become(StreamState.STALE, "No sample for 2.1 s.")
    answer = http.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["reason"] == "No fresh predictions from: right (stale: No sample for 2.1 s.)"
    assert answer.json()["streams"]["left"]["ready"] is True


def test_not_ready_without_streams():
    with served() as address:
        answer = httpx.get(f"http://{address}/health/ready")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "No stream is configured."


def test_metrics_parse_and_count(http, streams):
    for _ in range(3):
        streams[0].publish_one()
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}

    def value(name, **labels):
        family = families[name.removesuffix("_total")]
        return {s.name: s.value for s in family.samples if labels.items() <= s.labels.items()}[name]

    assert value("mindwire_predictions_total", stream="left") == streams[0].seq
    assert value("mindwire_state", stream="left", state=streams[0].state.value) == 1.0
    assert value("mindwire_drift_ppm", stream="right") == 3.5
    assert value("mindwire_loop_load", stream="left") == 0.25
    assert value("mindwire_websocket_clients", stream="left", feed="predictions") == 0
    histogram = families["mindwire_latency_seconds"]
    counts = {
        s.labels["le"]: s.value for s in histogram.samples if s.labels.get("stage") == "decode" and "le" in s.labels
    }
    assert counts["+Inf"] == streams[0].seq
    assert list(counts.values()) == sorted(counts.values())
    assert "process_resident_memory_bytes" in families


def test_openapi_describes_every_route(http):
    document = http.get("/openapi.json").json()
    assert {"/v1/streams", "/v1/streams/{stream}", "/v1/models", "/health/live", "/health/ready", "/metrics"} <= set(
        document["paths"]
    )
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]


def test_page_fetches_nothing_from_elsewhere(http):
    for path in ("/", "/docs"):
        answer = http.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for file in STATIC.rglob("*"):
        if file.suffix in (".html", ".css", ".js"):
            for address in re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", file.read_text()):
                assert address == "http://www.w3.org", f"{file.name} names {address}"
            for reference in re.findall(r"""(?:src|href)="(/static/[^"]+)""", file.read_text()):
                assert http.get(reference).status_code == 200, reference


def test_static_files_stay_inside(http):
    assert http.get("/static/%2e%2e/app.py").status_code == 404
    assert not Path(STATIC, "app.py").exists()


def test_adaptation_is_commanded_over_rest(http, streams):
    answer = http.post("/v1/streams/left/adaptation", json={"action": "freeze"})
    assert answer.status_code == 202
    assert [command.action for command in streams[0].commands] == ["freeze"]
    assert http.post("/v1/streams/left/adaptation", json={"action": "melt"}).status_code == 422
    refused = http.post("/v1/streams/left/adaptation", json={"action": "rollback", "updates": 3})
    assert refused.status_code == 409
    assert refused.json() == {"detail": "There is nothing to roll back here."}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{}", "The request lacks 'action'; see /docs."),
        ("", "The request lacks the body; see /docs."),
        ("[1]", "Expected a JSON object as the body, with the header 'Content-Type: application/json'; see /docs."),
        ('{"action":', "The body is not valid JSON (Expecting value at character 10); see /docs."),
        ('{"action": "melt"}', "Expected 'freeze', 'resume', 'rollback' or 'save' as 'action'; see /docs."),
        ('{"action": "\\ud800"}', "Expected text as 'action'; see /docs."),
        ('{"action": "rollback", "steps": false}', "Expected an integer as 'steps'; see /docs."),
        ('{"action": "rollback", "steps": "3"}', "Expected an integer as 'steps'; see /docs."),
        ('{"action": "rollback", "updates": NaN}', "Expected a finite number as 'updates'; see /docs."),
        ('{"action": "rollback", "updates": 1e400}', "Expected a finite number as 'updates'; see /docs."),
        (
            '{"action": "rollback", "updates": 601}',
            "Expected a number less than or equal to 600 as 'updates'; see /docs.",
        ),
    ],
)
def test_requests_that_are_not_understood_are_one_sentence(http, body, sentence):
    answer = http.post("/v1/streams/left/adaptation", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json() == {"detail": sentence}


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b'{"updates": ' + b"1" * 6000 + b"}", b"\xff\xfe{}", b'"\xed\xa0\x80"']
)
def test_bodies_that_cannot_be_read(http, body):
    answer = http.post("/v1/streams/left/adaptation", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert isinstance(answer.json()["detail"], str)


def test_openapi_says_what_is_answered(http):
    document = http.get("/openapi.json").json()
    responses = document["paths"]["/v1/streams/{stream}/adaptation"]["post"]["responses"]
    assert {"202", "400", "404", "409", "413", "422"} <= set(responses)
    problem = {"$ref": "#/components/schemas/Problem"}
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status[0] == "4":
                    assert response["content"]["application/json"]["schema"] == problem
    assert "HTTPValidationError" not in document["components"]["schemas"]
