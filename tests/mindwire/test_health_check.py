"""The image's health check asks the service where it listens, however it was told to."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mindwire import health_check

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ("demo", {}, "127.0.0.1:8000"),
        ("serve --port 9000", {}, "127.0.0.1:9000"),
        ("serve --port=9000 --host 0.0.0.0", {"MINDWIRE_PORT": "9001"}, "127.0.0.1:9000"),
        ("serve", {"MINDWIRE_PORT": "9001", "MINDWIRE_HOST": "10.0.0.2"}, "10.0.0.2:9001"),
        ("serve --config FILE", {}, "[::1]:9002"),
        ("serve --tls-cert=a --tls-key=b", {}, "s://127.0.0.1:8000"),
        ("serve", {"MINDWIRE_TLS_CERT": "a"}, "s://127.0.0.1:8000"),
        ("serve", {"MINDWIRE_CONFIG": "FILE"}, "[::1]:9002"),
        ("serve --config=FILE --host localhost", {"MINDWIRE_PORT": "9001"}, "localhost:9001"),
    ],
)
def test_host_and_port_are_found_in_the_order_in_which_they_hold(tmp_path, arguments, environ, expected):
    file = tmp_path / "settings.toml"
    file.write_text('host = "::"\nport = 9002\n')
    words = [
        "/opt/mindwire/bin/python",
        "/opt/mindwire/bin/mindwire",
        *arguments.replace("FILE", str(file)).split(),
        "",
    ]
    environ = {key: value.replace("FILE", str(file)) for key, value in environ.items()}
    assert health_check.url(words, environ) == f"http{expected if '//' in expected else f'://{expected}'}/health/live"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_only_a_service_that_is_well_is_healthy(monkeypatch, status, code):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/health/live"
            self.send_response(status)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        monkeypatch.setenv("MINDWIRE_PORT", str(server.server_port))
        if status:
            Thread(target=server.handle_request, daemon=True).start()
        else:
            server.server_close()
        assert health_check.main() == code


def test_the_image_runs_it():
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r'HEALTHCHECK .*\\\n +CMD \["python", "-P", "-m", "mindwire.health_check"\]', text)
