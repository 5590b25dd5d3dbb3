"""What a token allows, what a change needs, who is logged, and how much one client may ask, over real HTTP."""

from __future__ import annotations

import time
from functools import partial

import httpx
import pytest

from mindwire.api import audit, guard
from mindwire.api.limits import Allowance, ClientAllowances, client_key
from tests.support.protocol import connect
from tests.support.standin import StandIn, served

CONTROL, READ = "correct horse", "battery staple"
JSON = {"Content-Type": "application/json"}
FREEZE = "/v1/streams/eeg/adaptation"
# To read the certificates of the system before each request takes several times as long as the request.
request = partial(httpx.request, verify=False)
get, post, put = (partial(request, method) for method in ("GET", "POST", "PUT"))


@pytest.fixture(autouse=True)
def _all_is_logged(monkeypatch):
    monkeypatch.setattr(audit, "_BY_CLIENT", ClientAllowances(rate=1e9, burst=1e9))
    audit._unlogged.clear()  # by other tests
    monkeypatch.setattr(audit, "_BY_ALL", Allowance(time.monotonic(), rate=1e9, burst=1e9))


@pytest.fixture
def stream():
    return StandIn()


@pytest.fixture
def guarded(stream):
    with served(stream, token=CONTROL, read_token=READ) as address:
        yield address


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def audited(caplog):
    """The lines of the audit, soon after the last answer."""
    time.sleep(0.05)
    return [record.getMessage() for record in caplog.records if record.name == "mindwire.audit"]


def test_the_second_token_reads_and_the_first_does_all(guarded):
    for token in (CONTROL, READ):
        assert get(f"http://{guarded}/v1/streams", headers=bearer(token)).status_code == 200
        assert set(get(f"http://{guarded}/health/ready", headers=bearer(token)).json()) > {"ready"}
        with connect(f"ws://{guarded}/ws?token={token.replace(' ', '%20')}") as websocket:
            assert "hello" in websocket.recv(timeout=5)
    freeze = {"content": b'{"action": "freeze"}'}
    assert post(f"http://{guarded}{FREEZE}", headers=bearer(CONTROL) | JSON, **freeze).status_code == 202
    refused = post(f"http://{guarded}{FREEZE}", headers=bearer(READ) | JSON, **freeze)
    assert refused.status_code == 403
    assert refused.json()["detail"].endswith("send the control token.")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/docs", "/health/live", "/v1/streams", "/v1/nowhere", "/static/page.css"])
def test_no_method_that_changes_is_open(guarded, method, path):
    answers = [request(method, f"http://{guarded}{path}", headers=h | JSON).status_code for h in ({}, bearer(READ))]
    assert answers == [401, 403]


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
     "text/plain; application/json", "application/zip"],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b'{"action": "freeze"}'])
def test_a_change_is_json_by_its_type(stream, caplog, kind, body):
    headers = {} if kind is None else {"Content-Type": kind}
    with served(stream) as address:
        refused = request("POST", f"http://{address}{FREEZE}", headers=headers, content=body)
        assert refused.status_code == 415
        assert "application/json" in refused.json()["detail"]
        for other in ("application/json", "Application/JSON; charset=utf-8"):
            fine = post(f"http://{address}{FREEZE}", headers={"Content-Type": other}, content=b'{"action": "freeze"}')
            assert fine.status_code == 202
    assert audited(caplog) == [
        f"anyone from 127.0.0.1: POST {FREEZE}: refused with 415 (content_type)",
        *[f"anyone from 127.0.0.1: POST {FREEZE}: 202"] * 2,
    ]


def test_an_archive_may_be_uploaded_as_one_and_be_large(guarded):
    headers = bearer(CONTROL) | {"Content-Type": "application/zip"}
    answer = post(f"http://{guarded}/v1/models", headers=headers, content=b"x" * 200_000)
    assert answer.status_code not in (401, 403, 413, 415)
    assert put(f"http://{guarded}/v1/streams/eeg/control", headers=headers, content=b"x").status_code == 415


def test_who_changed_what_is_logged_without_token_and_body(guarded, caplog):
    before = audit.refusals.total()
    post(f"http://{guarded}{FREEZE}?token={CONTROL}", json={"action": "freeze"})
    post(f"http://{guarded}{FREEZE}", headers=bearer(CONTROL), json={"action": "melt"})
    post(f"http://{guarded}{FREEZE}", headers=bearer(READ), json={"action": "freeze"})
    post(f"http://{guarded}{FREEZE}", headers=bearer("guess me"), json={"action": "freeze"})
    get(f"http://{guarded}/v1/streams", headers=bearer(CONTROL) | {"Origin": "https://evil.example"})
    get(f"http://{guarded}/v1/%1b%0astreams")
    lines = audited(caplog)
    assert lines == [
        f"control token from 127.0.0.1: POST {FREEZE}: 202",
        f"control token from 127.0.0.1: POST {FREEZE}: 422",
        f"read token from 127.0.0.1: POST {FREEZE}: refused with 403 (scope)",
        f"wrong token from 127.0.0.1: POST {FREEZE}: refused with 401 (token)",
        "control token from 127.0.0.1: GET /v1/streams: refused with 403 (origin)",
        r"no token from 127.0.0.1: GET /v1/\x1b\nstreams: refused with 401 (token)",
    ]
    assert audit.refusals.total() == before + 4
    assert not any(word in line for line in lines for word in (CONTROL, READ, "guess me", "freeze", "melt"))


def test_refusals_do_not_fill_the_log(monkeypatch, guarded, caplog):
    monkeypatch.setattr(audit, "_BY_CLIENT", ClientAllowances(rate=0.0, burst=3))
    before = audit.refusals["token"]
    for _ in range(20):
        get(f"http://{guarded}/v1/streams")
    assert audit.refusals["token"] == before + 20
    assert len(audited(caplog)) == 3
    monkeypatch.setattr(audit, "_BY_CLIENT", ClientAllowances(rate=0.0, burst=3))
    get(f"http://{guarded}/v1/streams")
    assert audited(caplog)[-1].endswith("; 17 more refusals were not logged")


def test_a_flood_of_requests_is_slowed_down(monkeypatch, stream):
    monkeypatch.setattr(guard, "REQUEST_BURST", 20.0)
    monkeypatch.setattr(guard, "REQUESTS_PER_SECOND", 2.0)
    with served(stream) as address, httpx.Client(base_url=f"http://{address}") as http:
        answers = [http.get("/v1/streams") for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert answers[-1].headers["retry-after"] == "1"
        time.sleep(1.0)
        assert http.get("/v1/streams").status_code == 200


def test_guesses_of_a_token_are_slowed_down_but_not_who_has_it(monkeypatch, stream):
    monkeypatch.setattr(guard, "FAILURE_BURST", 5.0)
    with served(stream, token=CONTROL) as address, httpx.Client(base_url=f"http://{address}") as http:
        answers = [http.get("/v1/streams", headers=bearer(f"guess{k}")).status_code for k in range(10)]
        assert answers[:5] == [401] * 5
        assert answers[-1] == 429
        assert http.get("/v1/streams", headers=bearer(CONTROL)).status_code == 200


def test_clients_are_told_apart_by_what_they_cannot_choose():
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:1") != client_key("2001:db8:1::1")
    assert client_key("::ffff:192.0.2.1") == client_key("192.0.2.1") != client_key("192.0.2.2")
    assert client_key("fe80::1%eth0") == client_key("fe80::2")
    many = ClientAllowances(rate=0.0, burst=1)
    assert all(many.take(f"client {k}", 0.0) for k in range(5000))
    assert not many.take("client 4999", 0.0)
    assert many.take("client 0", 0.0)  # forgotten since: what is remembered is bounded
