"""What strangers, foreign pages and hostile archives try: refused and logged, nothing changed; in one process and behind the gateway."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from contextlib import contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire_models.zoo import zoo_bundle_path
from tests.support.protocol import connect
from tests.support.raw_websocket import dial, flood, upgraded
from tests.support.service_process import Service
from tests.support.streaming import unique

CONTROL, READ = "correct-horse", "battery-staple"
JSON = {"Content-Type": "application/json"}
ZIP = {"Content-Type": "application/zip"}
FREEZE = ("POST", "/v1/streams/a/adaptation", b'{"action": "freeze"}')
CHANGES = [
    FREEZE,
    ("PUT", "/v1/streams/a/control", b'{"decide": {"commit": 0.9}}'),
    ("POST", "/v1/streams/a/control/pause", b""),
    ("POST", "/v1/streams", b'{"id": "new", "name": "new"}'),
    ("PATCH", "/v1/streams/a", b'{"hop": 5}'),
    ("DELETE", "/v1/streams/a", b""),
    ("POST", "/v1/streams/a/model", b'{"model": "x", "when": "ready"}'),
    ("POST", "/v1/streams/a/recording", b'{"participant": "P01"}'),
    ("POST", "/v1/models", b"x"),
    ("DELETE", "/v1/models/x", b""),
]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def packed(*entries):
    """An archive of names and contents, or links."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if content is None:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, b"/etc/passwd" if content is None else content)
    return file.getvalue()


@pytest.fixture(scope="module")
def archives():
    return {
        "above the folder": packed(("m/../../out", b"x"), ("m/contract.json", b"{}")),
        "absolute": packed(("/tmp/mindwire-out", b"x")),
        "link": packed(("m/contract.json", b"{}"), ("m/model.onnx", None)),
        "bomb": packed(*[(f"m/{k}", bytes(20 << 20)) for k in range(40)]),
        "no archive": b"PK\x03\x04 and nothing",
    }


@contextmanager
def running(folder, workers, *words):
    """A real service with two streams that wait for their caps, where it is, and its log afterwards."""
    models = folder / "models"
    models.mkdir()
    streams = [word for name in "ab" for word in ("--stream", f"id={name},name={unique('none')}")]
    # JSON lines, as wherever the log is no terminal
    one = Service("--model", zoo_bundle_path(), *streams, "--workers", workers, "--models", models, *words)
    log: list[dict] = []
    try:
        yield one.address(), models, log
    finally:
        one.end()
        log += [json.loads(line) for line in one.process.communicate()[1].splitlines() if line.startswith("{")]


def state(http):
    """All that a change would show in."""
    names = [one["name"] for one in http.get("/v1/streams").json()]
    controls = [http.get(f"/v1/streams/{name}/control").json() for name in names]
    return names, controls, http.get("/v1/config").json(), http.get("/v1/models").json()


def refusals(http):
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith("mindwire_refusals_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


def flood_until(address, ask, answer):
    """Ask as fast as one client can until a request is answered so."""
    with dial(address) as sock:
        while True:
            sock.sendall(ask * 20)
            received = b""
            while received.count(b"HTTP/1.1 ") < 20:
                received += sock.recv(65536)
            if answer in received:
                return


@pytest.mark.parametrize("workers", [1, 2])
def test_without_tokens_foreign_pages_and_names_are_refused(tmp_path, archives, workers):
    with running(tmp_path, workers) as (address, models, log), httpx.Client(base_url=f"http://{address}") as http:
        before = state(http)
        n = 0
        for method, path, body in CHANGES:
            for headers, status in (
                ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
                ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
                ({"Content-Type": "text/plain"}, 415),
                ({}, 415),
                (JSON | {"Origin": "https://evil.example"}, 403),
                (JSON | {"Origin": "null"}, 403),
                (JSON | {"Host": "evil.example"}, 421),
            ):
                assert http.request(method, path, content=body, headers=headers).status_code == status, (path, headers)
                n += 1
        for host in ("[::1", "127.0.0.1:99999999", "a:b:c", ""):
            assert http.get("/v1/streams", headers={"Host": host}).status_code == 421
            n += 1
        large = http.put("/v1/streams/a/control", content=b" " * 70_000, headers=JSON)
        assert (large.status_code, large.json()["detail"]) == (
            413,
            "Expected a request body of at most 64 KiB, found a larger one.",
        )
        assert (
            httpx.put(f"http://{address}/v1/streams/a/control", content=iter([b" " * 70_000]), headers=JSON).status_code
            == 413
        )
        for archive in archives.values():
            refused = http.post("/v1/models", content=archive, headers=ZIP)
            assert 400 <= refused.status_code < 500
            assert refused.json()["detail"].endswith(".")
        for kind in ("continuations", "texts"):
            with upgraded(address, "/v1/streams/a/predictions") as sock:
                assert flood(sock, kind)
        for path in ("/", "/docs", "/v1/streams", "/v1/nowhere", "/static/none"):
            headers = http.get(path).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
        counted = refusals(http)
        assert counted["content_type"] == 4 * len(CHANGES)
        assert counted["origin"] == 2 * len(CHANGES)
        assert counted["host"] == n - 6 * len(CHANGES)
        assert counted["too_large"] >= 2
        assert counted["frames"] >= 1
        assert state(http) == before
        assert list(models.iterdir()) == []
    assert len([line for line in log if "refused with" in str(line)]) >= 10  # the first ten, and few more


@pytest.mark.parametrize("workers", [1, 2])
def test_with_tokens_only_who_may_changes_anything_and_a_flood_is_slowed_down(tmp_path, workers):
    words = ("--token", CONTROL, "--read-token", READ)
    with (
        running(tmp_path, workers, *words) as (address, models, log),
        httpx.Client(base_url=f"http://{address.partition('/')[0]}", headers=bearer(CONTROL)) as http,
    ):
        address = address.partition("/")[0]
        before = state(http)
        for method, path, body in CHANGES:
            for headers, status in (
                ({"Authorization": "Basic eDp5"}, 401),
                (bearer("wrong"), 401),
                (bearer(READ), 403),
            ):
                assert http.request(method, path, content=body, headers=headers | JSON).status_code == status, path
        assert (
            http.request(*FREEZE[:2], content=FREEZE[2], headers=JSON | {"Origin": "https://evil.example"}).status_code
            == 403
        )
        with (
            connect(f"ws://{address}/v1/streams/a/predictions") as websocket,
            pytest.raises(ConnectionClosed) as closed,
        ):
            websocket.recv(timeout=10)
        assert closed.value.rcvd.code == 4401
        assert refusals(http).keys() >= {"token", "scope", "origin"}
        assert state(http) == before
        ask = b"GET /static/none HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer correct-horse\r\n\r\n"
        flood_until(address, ask, b"HTTP/1.1 429 Too Many Requests")
    assert list(models.iterdir()) == []
    assert not any(CONTROL in str(line) or READ in str(line) for line in log)
    assert len([line for line in log if "refused with" in str(line)]) >= 5
