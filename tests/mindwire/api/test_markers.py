"""The clock's websocket and markers over REST: what they answer, and what they refuse."""

from __future__ import annotations

import json
from types import SimpleNamespace

import httpx
import pylsl
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.serve.registry import StreamRegistry
from mindwire.sinks.sent_markers import SentMarkers
from mindwire.status import SentMarker
from tests.support.protocol import connect
from tests.support.raw_websocket import FLOODS, flood, upgraded
from tests.support.standin import StandIn, served
from tests.support.streaming import eventually, unique

MARKERS = "/v1/streams/eeg/markers"


@pytest.fixture(scope="module")
def stream():
    one = StandIn("eeg")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def address(stream):
    with served(stream) as address:
        yield address


@pytest.fixture
def http(address):
    with httpx.Client(base_url=f"http://{address}") as client:
        yield client


def asked(websocket, number=1, sent=12.5):
    websocket.send(json.dumps({"type": "clock", "id": number, "sent": sent}))
    return json.loads(websocket.recv(timeout=5))


def test_the_clock_is_that_of_lsl(address):
    with connect(f"ws://{address}/v1/clock") as websocket:
        assert json.loads(websocket.recv(timeout=5)) == {"type": "hello", "version": 1}
        before = pylsl.local_clock()
        answers = [asked(websocket, number, number / 8) for number in range(3)]
        after = pylsl.local_clock()
    assert [(one["type"], one["id"], one["sent"]) for one in answers] == [("clock", n, n / 8) for n in range(3)]
    times = [time for one in answers for time in (one["received"], one["answered"])]
    assert [before, *times, after] == sorted([before, *times, after])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", 1007),
        ("{", 1007),
        ("[]", 1007),
        ('{"type":"clock"}', 1007),
        ('{"type":"clock","id":1,"sent":null}', 1007),
        ('{"type":"clock","id":1,"sent":1e999}', 1007),
        ('{"type":"clock","id":1e99,"sent":1}', 1007),
        ('{"type":"clock","id":99999999999999999999,"sent":1}', 1007),
        ('{"type":"marker","id":1,"sent":1}', 1007),
        ("[" * 4000, 1007),
        (b"\x00", 1003),
        (" " * 5000, 1009),
    ],
)
def test_what_is_no_request_for_the_clock_ends_the_connection(address, sent, code):
    with connect(f"ws://{address}/v1/clock") as websocket:
        websocket.recv(timeout=5)
        websocket.send(sent)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=5)
    assert closed.value.rcvd.code == code


def test_a_flood_of_requests_for_the_clock_ends_the_connection(address):
    with connect(f"ws://{address}/v1/clock") as websocket:

        def flood():
            for number in range(60):
                asked(websocket, number)

        with pytest.raises(ConnectionClosed) as closed:
            flood()
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize("kind", FLOODS)
def test_clients_that_break_the_protocol_of_the_clock_end_and_nothing_is_logged(address, kind, caplog):
    with upgraded(address, "/v1/clock") as sock:
        assert flood(sock, kind)
    assert not [record for record in caplog.records if record.exc_info]
    with connect(f"ws://{address}/v1/clock") as websocket:
        websocket.recv(timeout=5)
        assert asked(websocket)["id"] == 1


def test_the_clock_needs_a_token_and_the_one_that_reads_suffices():
    one = StandIn("eeg")
    with served(one, token="control-token", read_token="reading-token") as address:
        with connect(f"ws://{address}/v1/clock?token=reading-token") as websocket:
            websocket.recv(timeout=5)
            assert asked(websocket)["id"] == 1
        with connect(f"ws://{address}/v1/clock") as websocket, pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=5)
        assert closed.value.rcvd.code == 4401
        body = {"markers": [{"label": "left_hand", "time": pylsl.local_clock()}]}
        reading = httpx.post(f"http://{address}{MARKERS}?token=reading-token", json=body)
        assert reading.status_code == 403
    one.stop()


def events(address, kind, send):
    with connect(f"ws://{address}/v1/streams/eeg/predictions") as websocket:
        websocket.recv(timeout=5)
        send()
        while (message := json.loads(websocket.recv(timeout=5))).get("kind") != kind:
            pass
    return message


def test_markers_reach_websocket_clients_and_the_outlet_with_their_own_time(http, address, stream):
    name = "Mindwire-eeg-Markers"
    now = pylsl.local_clock()
    body = {"markers": [{"label": "fixation", "time": now - 300.0, "uncertainty_ms": 1.5}]}
    message = events(address, "marker", lambda: http.post(MARKERS, json=body))
    assert message["data"] == {"label": "fixation", "time": now - 300.0, "source": name, "uncertainty_ms": 1.5}
    (info,) = pylsl.resolve_byprop("source_id", stream.markers.source_id, 1, 10.0)
    assert (info.name(), info.type(), info.channel_count(), info.nominal_srate()) == (name, "Markers", 1, 0.0)
    inlet = pylsl.StreamInlet(info)
    inlet.open_stream(10.0)
    sent = {"markers": [{"label": f"m{i}", "time": now + i} for i in range(3)]}
    assert http.post(MARKERS, json=sent).json() == {"accepted": 3, "repeated": 0}
    pulled = [inlet.pull_sample(5.0) for _ in range(3)]
    assert pulled == [([f"m{i}"], pytest.approx(now + i, abs=1e-9)) for i in range(3)]
    assert all(event["kind"] != "marker" for event in http.get("/v1/streams/eeg/events").json())


def test_markers_that_are_sent_again_are_not_doubled(http, stream):
    marker = {"label": "left_hand", "time": pylsl.local_clock(), "id": unique("page")}
    assert http.post(MARKERS, json={"markers": [marker, marker]}).json() == {"accepted": 2, "repeated": 1}
    taken = []
    stream.markers.add(lambda *marker: taken.append(marker))
    later = marker | {"id": unique("page")}
    assert http.post(MARKERS, json={"markers": [marker, later]}).json() == {"accepted": 2, "repeated": 1}
    assert taken == [("left_hand", later["time"])]


def test_a_marker_that_could_not_be_published_is_not_known_when_it_is_sent_again(monkeypatch):
    markers, taken, now = SentMarkers("eeg", unique("prefix"), opened=True), [], pylsl.local_clock()
    markers.add(lambda label, _: taken.append(label))
    sent = [SentMarker(label=label, time=now, id=label) for label in ("first", "second")]
    with monkeypatch.context() as patched:
        pushed = iter([None])
        patched.setattr(pylsl.StreamOutlet, "push_sample", lambda *_: next(pushed))
        with pytest.raises(StopIteration):
            markers.take(sent)
    assert taken == ["first"]
    assert markers.take(sent) == 1
    assert taken == ["first", "second"]
    markers.close()


def test_a_measurement_of_the_display_takes_nothing_from_other_functions_and_ends_with_the_next_one():
    taken: list[str] = []
    delays = [SimpleNamespace(take=lambda label, _, n=n: taken.append(f"{n} {label}"), end=list) for n in range(2)]
    markers, now = SentMarkers("eeg", unique("prefix")), pylsl.local_clock()

    def listener(label, _):
        taken.append(label)

    for _ in range(2):
        markers.add(listener)
    for delay in delays:
        markers.measure(delay)
    markers.take([SentMarker(label="x", time=now)])
    assert sorted(taken) == ["1 x", "x"]
    assert markers.measure(None) is delays[1]
    markers.take([SentMarker(label="y", time=now)])
    markers.remove(listener)
    markers.take([SentMarker(label="z", time=now)])
    assert taken[2:] == ["y"]
    markers.close()


def test_a_stream_that_begins_again_knows_what_was_sent_before():
    taken: list[str] = []
    (before, after), now = (SentMarkers("eeg", unique("prefix")) for _ in range(2)), pylsl.local_clock()
    before.add(lambda label, _: taken.append(label))
    before.take([SentMarker(label="x", time=now, id="1")])
    before.close()
    registry = StreamRegistry.__new__(StreamRegistry)
    registry._supervisor, registry._streams = None, {"eeg": SimpleNamespace(name="eeg", markers=before)}
    registry._begin(SimpleNamespace(name="eeg", markers=after))
    assert after.take([SentMarker(label="x", time=now, id="1"), SentMarker(label="y", time=now, id="2")]) == 1
    assert taken == ["x", "y"]
    after.close()


@pytest.mark.parametrize(
    ("markers", "sentence"),
    [
        ([], "at least 1"),
        ([{"label": "x", "time": "now"}] * 101, "at most 100"),
        ([{"label": "x"}], "'markers.0.time'"),
        ([{"time": 1.0}], "'markers.0.label'"),
        ([{"label": "", "time": 1.0}], "label"),
        ([{"label": "x" * 201, "time": 1.0}], "label"),
        ([{"label": "a\u0000b", "time": 1.0}], "printable"),
        ([{"label": "a\nb", "time": 1.0}], "printable"),
        ([{"label": "x", "time": 1.0, "colour": "red"}], "colour"),
        ([{"label": "x", "time": 1.0, "uncertainty_ms": -1}], "uncertainty_ms"),
        ([{"label": "x", "time": 1.0, "id": ""}], "id"),
        ([{"label": "x", "time": -1e6}], "map times with the clock of /v1/clock"),
        ([{"label": "x", "time": 1e12}], "map times with the clock of /v1/clock"),
    ],
)
def test_markers_that_cannot_be_used_are_refused_in_one_sentence(http, markers, sentence):
    answer = http.post(MARKERS, json={"markers": markers})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", '"1"', "null", "true"])
def test_times_that_are_no_finite_numbers_are_refused(http, number):
    body = f'{{"markers": [{{"label": "x", "time": {number}}}]}}'
    answer = http.post(MARKERS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_of_markers_of_which_one_is_refused_none_is_published(http, stream):
    taken = []
    stream.markers.add(lambda *marker: taken.append(marker))
    now = pylsl.local_clock()
    both = [{"label": "near", "time": now, "id": "near-1"}, {"label": "far", "time": now + 61}]
    assert http.post(MARKERS, json={"markers": both}).status_code == 422
    assert taken == []
    assert http.post(MARKERS, json={"markers": both[:1]}).json() == {"accepted": 1, "repeated": 0}


def test_a_stream_without_outlets_refuses_markers_and_so_does_one_that_has_ended(http, address):
    body = {"markers": [{"label": "x", "time": pylsl.local_clock()}]}
    assert http.post("/v1/streams/nope/markers", json=body).status_code == 404
    one = StandIn("eeg")
    with served(one) as address:
        one.markers.close()
        assert "has ended" in httpx.post(f"http://{address}{MARKERS}", json=body).json()["detail"]
        one.markers.source_id = ""
        answer = httpx.post(f"http://{address}{MARKERS}", json=body)
    assert (answer.status_code, "has no outlets on LSL" in answer.json()["detail"]) == (409, True)
    one.stop()


def test_the_clock_of_a_client_is_recorded_as_an_event_and_not_remembered(http, address):
    clock = {"offset_s": -3.25, "drift_ppm": 12.5, "uncertainty_ms": 1.5, "round_trip_ms": None, "jump": True}
    message = events(address, "clock", lambda: http.post("/v1/streams/eeg/clock", json=clock))
    assert message["data"] == clock
    assert "has jumped" in message["message"]
    assert all(event["kind"] != "clock" for event in http.get("/v1/streams/eeg/events").json())
    for wrong in ({"offset_s": "x"}, clock | {"uncertainty_ms": -1}, clock | {"more": 1}):
        assert http.post("/v1/streams/eeg/clock", json=wrong).status_code == 422


def test_the_client_for_browsers_is_there_without_a_token():
    one = StandIn("eeg")
    with served(one, token="control-token") as address:
        answer = httpx.get(f"http://{address}/client.js", follow_redirects=True)
    assert answer.status_code == 200
    assert str(answer.url).endswith("/static/client.js")  # beside what it imports
    assert "export { Markers }" in answer.text
    one.stop()


def test_outlets_open_at_once_where_a_recorder_must_find_them():
    prefix = unique("prefix")
    markers = SentMarkers("eeg", prefix, opened=True)
    eventually(lambda: pylsl.resolve_byprop("source_id", f"{prefix}-sent-markers", 1, 1.0), 20)
    markers.close()


DELAY = "/v1/streams/eeg/display_delay"


def test_the_delay_of_a_display_is_measured_with_a_channel_that_there_is(http, address, stream):
    assert {"label": "Fz", "kind": None} in http.get(DELAY).json()["channels"]
    assert http.delete(DELAY, headers={"Content-Type": "application/json"}).status_code == 409
    refused = http.post(DELAY, json={"channel": "Photo"})
    assert (refused.status_code, "found 'Photo'" in refused.json()["detail"]) == (422, True)
    for wrong in ({}, {"channel": ""}, {"channel": "Fz", "seconds": 1e9}, {"channel": "Fz", "more": 1}):
        assert http.post(DELAY, json=wrong).status_code == 422
    assert http.post("/v1/streams/nope/display_delay", json={"channel": "Fz"}).status_code == 404
    assert http.post(DELAY, json={"channel": "Fz", "seconds": 1}).json()["channel"] == "Fz"
    assert http.get(DELAY).json()["delay_ms"] is None
    ended = http.delete(DELAY, headers={"Content-Type": "application/json"}).json()
    assert (ended["running"], ended["delay_ms"]) == (False, None)
    assert stream.markers.delay is None
    stream.said = {"source": None}
    try:
        assert http.get(DELAY).json()["channels"] == []
        assert http.post(DELAY, json={"channel": "Fz"}).status_code == 409
    finally:
        stream.said = {}
