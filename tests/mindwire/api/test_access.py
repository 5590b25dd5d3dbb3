"""Who may connect: token, host and origin, over real HTTP and websockets."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.protocol import connect
from tests.support.standin import StandIn, served

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def guarded():
    with served(StandIn(), token=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def loopback():
    with served(StandIn(), allowed_hosts=["lab-pc"], allowed_origins=["https://lab.example"]) as address:
        yield address


def get(address, path="/v1/streams", **headers):
    return httpx.get(f"http://{address}{path}", headers=headers, verify=False)  # reads no certificates


def first_message(address, path="/ws", **options):
    with connect(f"ws://{address}{path}", **options) as websocket:
        return websocket.recv(timeout=5)


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/eeg", "/v1/models", "/metrics", "/openapi.json"])
def test_rest_asks_for_the_token(guarded, path):
    refused = get(guarded, path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["detail"].startswith("This service needs a token; send it")
    wrong = get(guarded, path, Authorization="Bearer wrong")
    assert wrong.status_code == 401
    assert wrong.json()["detail"].startswith("The token was not accepted; send another")
    assert get(guarded, path, Authorization=f"Basic {TOKEN}").status_code == 401
    assert get(guarded, path, Authorization=f"Bearer {TOKEN}").status_code == 200
    assert httpx.get(f"http://{guarded}{path}", params={"token": TOKEN}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/health/live", "/static/page.css"])
def test_what_shows_nothing_needs_no_token(guarded, path):
    assert get(guarded, path).status_code == 200


@pytest.mark.parametrize("path", ["/ws", "/v1/streams/eeg/predictions", "/v1/streams/eeg/signal"])
def test_websockets_ask_for_the_token(guarded, path):
    for query, sentence in (("", "needs a token"), ("?token=wrong", "not accepted"), ("?token=%ff", "not accepted")):
        with pytest.raises(ConnectionClosed) as caught:
            first_message(guarded, path + query)
        assert caught.value.rcvd.code == 4401
        assert sentence in caught.value.rcvd.reason
    assert "hello" in first_message(guarded, path + "?token=correct%20horse")
    assert "hello" in first_message(guarded, path, additional_headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1.evil.example", "", "192.168.1.5:8000"])
def test_rebound_names_are_refused_without_a_token(loopback, host):
    refused = get(loopback, Host=host)
    assert refused.status_code == 421
    assert refused.json()["detail"].endswith("--allow-host.")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "lab-pc:8000"])
def test_names_of_this_machine_are_fine(loopback, host):
    assert get(loopback, Host=host).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_foreign_pages_may_not_connect(loopback, origin):
    assert get(loopback, Origin=origin).status_code == 403
    with pytest.raises(InvalidStatus) as caught:
        first_message(loopback, origin=origin)
    assert caught.value.response.status_code == 403
    assert b"--allow-origin" in caught.value.response.body


def test_own_loopback_and_allowed_pages_may_connect(loopback):
    for origin in (f"http://{loopback}", "http://localhost:5173", "https://lab.example"):
        assert "hello" in first_message(loopback, origin=origin)
    allowed = get(loopback, Origin="https://lab.example")
    assert allowed.headers["access-control-allow-origin"] == "https://lab.example"


def test_a_token_does_not_mind_the_name(guarded):
    assert get(guarded, Host="lab-pc.local", Authorization=f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("[::1", None, 421),
        ("[", None, 421),
        ("a:b:c", None, 421),
        ("127.0.0.1:99999999", None, 421),
        ("127.0.0.1", "http://[", 403),
        ("127.0.0.1", "http://[::1", 403),
        ("127.0.0.1", "http://localhost:99999999", 403),
        ("127.0.0.1", "\x9bhttp://evil", 403),
    ],
)
def test_malformed_addresses_are_refused_in_a_sentence(loopback, host, origin, status):
    answer = get(loopback, Host=host, **({"Origin": origin.encode("latin-1")} if origin else {}))
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")
    assert answer.json()["detail"].isprintable()


def test_names_are_compared_as_browsers_write_them():
    with served(
        StandIn(), allowed_hosts=["Lab-PC", "other:8000"], allowed_origins=["HTTPS://Lab.Example:443/"]
    ) as where:
        for host in ("lab-pc", "LAB-PC:8000", "other"):
            assert get(where, Host=host).status_code == 200
        for origin in ("https://lab.example", "HTTPS://LAB.example"):
            assert get(where, Origin=origin).status_code == 200
        answer = get(where, Origin="https://lab.example")
        assert answer.headers["access-control-allow-origin"] == "https://lab.example"
        assert get(where, Origin="http://lab.example").status_code == 403


def test_a_malformed_allowed_host_allows_no_malformed_host():
    with served(StandIn(), allowed_hosts=["[", ""]) as where:
        for host in ("[", "http://["):
            assert get(where, Host=host).status_code == 421


def test_allowed_pages_may_post(loopback):
    preflight = httpx.options(
        f"http://{loopback}/v1/streams/eeg/adaptation",
        headers={
            "Origin": "https://lab.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    foreign = httpx.options(
        f"http://{loopback}/v1/streams/eeg/adaptation",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert foreign.status_code == 400


def test_strangers_learn_only_whether_all_is_ready(guarded):
    told = httpx.get(f"http://{guarded}/health/ready")
    assert told.json() == {"ready": told.status_code == 200}
    known = httpx.get(f"http://{guarded}/health/ready", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert set(known) == {"ready", "reason", "streams"}
