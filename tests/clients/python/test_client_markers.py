"""Markers of the Python client where the service refuses, or another program answers."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mindwire_client.address import parse_address
from mindwire_client.clock import Clock
from mindwire_client.errors import ClientError
from mindwire_client.markers import Markers
from mindwire_client.rest import Rest


@contextmanager
def markers_to(answers):
    """Yield markers, and the labels of each request, to a server that gives these answers in turn, the last one for ever."""
    arrived, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            arrived.append([marker["label"] for marker in body["markers"]])
            status, content = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    markers = Markers(Rest(parse_address(f"127.0.0.1:{server.server_port}"), None, None, 5.0), "chair", Clock())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield markers, arrived
    finally:
        markers.close()
        server.shutdown()
        thread.join()
        server.server_close()


TAKEN = (202, b'{"accepted": 1, "repeated": 0}')


@pytest.mark.parametrize(
    "answer", [(409, b"{}"), (404, b"{}"), (500, b"oh"), (502, b""), (503, b"{}"), (200, b"<html>")]
)
def test_a_marker_is_sent_until_the_service_takes_it(answer):
    with markers_to([answer, TAKEN]) as (markers, arrived):
        markers.send("cue", 1.0)
        assert markers.flush(20)
        assert arrived == [["cue"], ["cue"]]
        assert markers.refused == []


@pytest.mark.parametrize("status", [400, 413, 415, 422, 401])
def test_a_marker_that_is_refused_for_good_is_kept_with_its_reason(status):
    with markers_to([(status, b'{"detail": "A sentence."}'), TAKEN]) as (markers, arrived):
        markers.send("cue", 1.0)
        assert markers.flush(20)
        assert arrived == [["cue"]]
        assert [(reason, marker["label"]) for reason, marker in markers.refused] == [("A sentence.", "cue")]


@pytest.mark.parametrize(
    ("label", "time", "uncertainty"),
    [
        ("cue", 1.0, float("inf")),
        ("cue", 1.0, float("nan")),
        ("cue", 1.0, -1.0),
        ("cue", float("nan"), 1.0),
    ],
)
def test_what_is_no_marker_is_refused_at_once_and_the_next_one_is_sent(label, time, uncertainty):
    with markers_to([TAKEN]) as (markers, arrived):
        with pytest.raises(ClientError, match="found"):
            markers.send(label, time, uncertainty)
        markers.send("next", 2.0)
        assert markers.flush(20)
        assert arrived == [["next"]]


def test_markers_that_are_not_taken_before_the_end_are_reported(monkeypatch):
    monkeypatch.setattr("mindwire_client.markers._LAST_S", 0.1)
    with markers_to([(503, b"{}")]) as (markers, _):
        markers.send("late", 1.0)
        markers.close()
        assert [marker["label"] for _, marker in markers.refused] == ["late"]
        assert markers.waiting == 0
