"""docker/nginx.conf leads each room's host name and streams to the room's gateway, websockets included; needs nginx."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import websockets.sync.client
import websockets.sync.server

from tests.support.streaming import eventually

CONFIGURATION = Path(__file__).parents[1] / "docker" / "nginx.conf"
FOLDERS = [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]
NGINX = shutil.which("nginx", path=os.pathsep.join(FOLDERS))
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
def gateways():
    """Addresses of stand-ins for two gateways, each of which sends its room and the path."""
    addresses, servers = {}, []
    for room in ("ward-a", "ward-b"):

        def handler(connection, room=room):
            connection.send(f"{room} {connection.request.path}")

        def answer(connection, request, room=room):
            return None if "Upgrade" in request.headers else connection.respond(200, f"{room} {request.path}")

        servers.append(websockets.sync.server.serve(handler, "127.0.0.1", 0, process_request=answer))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        addresses[room] = f"127.0.0.1:{servers[-1].socket.getsockname()[1]}"
    yield addresses
    for server in servers:
        server.shutdown()


@pytest.fixture
def port(gateways, tmp_path):
    """Port of a proxy with the configuration as it stands, but for addresses, TLS and its folder."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    text = CONFIGURATION.read_text()
    for room, address in gateways.items():
        text, replaced = re.subn(rf"({room} +)[\d.:]+;", rf"\g<1>{address};", text)
        assert replaced == 1
    text = re.sub(r"listen 8443 ssl;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r" *ssl_certificate.*\n", "", text).replace("/tmp/", f"{tmp_path}/")
    (tmp_path / "nginx.conf").write_text(text)
    process = subprocess.Popen([NGINX, "-p", tmp_path, "-e", "stderr", "-c", "nginx.conf", "-g", "daemon off;"])

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, 10, "the proxy to listen")
    yield port
    process.terminate()
    process.wait(10)


def answer(port: int, path: str, host: str = "bci.example") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as found:
        return found.read().decode()


def test_rooms_are_found_by_host_name_and_by_the_name_of_the_stream(port):
    assert answer(port, "/v1/streams", "ward-a.bci.example") == "ward-a /v1/streams"
    assert answer(port, "/health/live", "ward-b.bci.example") == "ward-b /health/live"
    assert answer(port, "/v1/streams/ward-b.bed-1?x=1") == "ward-b /v1/streams/ward-b.bed-1?x=1"
    for path, host in (
        ("/v1/streams", "bci.example"),
        ("/v1/streams/ward-c.bed-1", "bci.example"),
        ("/", "x.bci.example"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            answer(port, path, host)


def test_websockets_pass(port):
    for room in ("ward-a", "ward-b"):
        path = f"/v1/streams/{room}.bed-1/predictions"
        with websockets.sync.client.connect(f"ws://127.0.0.1:{port}{path}", proxy=None) as connection:
            assert connection.recv(10) == f"{room} {path}"
