"""The service as a process: what it prints, how it refuses, how it ends."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import signal
import socket
import subprocess
import sys
import urllib.request
import weakref

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.config import load_settings
from mindwire.serve.registry import StreamRegistry
from mindwire.serve.specs import Specs
from mindwire.serve.streams import StreamBuilder
from tests.support import command_line
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.protocol import connect
from tests.support.service_process import ROOT, get, ready, refused, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("serving") / "bundle", contract(window_samples=200))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_live_service_within_two_seconds_and_clients_hear_it(bundle, number):
    name = unique("cap")
    with (
        Cap(name, source_id=name),
        service("--model", bundle, "--stream", f"name={name}") as running,
    ):
        address = running.address()
        eventually(lambda: ready(address), 30)
        with connect(f"ws://{address}/ws") as client:
            assert json.loads(client.recv(10))["stream"] == name
            assert running.end(number) < 2.0
            messages = [json.loads(message) for message in client]
        assert messages[-1]["type"] == "event"
        assert messages[-1]["data"]["state"] == "stopped"
        assert running.process.returncode == 0


def test_a_service_that_waits_ends_as_quickly_and_one_that_connects_too(bundle):
    name = unique("cap")
    with service("--model", bundle, "--stream", f"name={name}") as running:
        address = running.address()
        eventually(lambda: "No stream matches" in get(address, f"/v1/streams/{name}")["state_reason"], 30)
        assert not ready(address)
        with Cap(name, source_id=name) as cap:
            eventually(lambda: get(address, f"/v1/streams/{name}")["state"] == "live", 30)
            cap.freeze()
            assert running.end() < 2.0
        assert running.process.returncode == 0


def test_a_client_that_reads_nothing_does_not_delay_the_end(bundle):
    name = unique("cap")
    with (
        Cap(name, source_id=name),
        service("--model", bundle, "--stream", f"name={name}", "--hop", 1) as running,
    ):
        address = running.address()
        eventually(lambda: ready(address), 30)
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            stalled.sendall(
                f"GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            predictions = get(address, f"/v1/streams/{name}")["counters"]["predictions"]
            eventually(lambda: get(address, f"/v1/streams/{name}")["counters"]["predictions"] > predictions + 300, 30)
            assert running.end() < 2.0


def test_several_matches_at_the_start_end_the_service_with_the_list(bundle):
    name = unique("cap")
    with Cap(name, source_id=f"{name}-1"), Cap(name, source_id=f"{name}-2"):
        code, sentence = refused("--model", bundle, "--stream", f"name={name}")
    assert code == 1
    assert f"{name}-1" in sentence
    assert f"{name}-2" in sentence


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_that_is_refused_at_the_start_ends_no_other(bundle, workers):
    good, bad = unique("cap"), unique("twin")
    streams = ("--stream", f"id=good,name={good}", "--stream", f"id=bad,name={bad}")
    with (
        Cap(good, source_id=good),
        Cap(bad, source_id=f"{bad}-1"),
        Cap(bad, source_id=f"{bad}-2"),
        service("--model", bundle, *streams, "--workers", workers) as running,
    ):
        address = running.address()

        def states():
            return {stream["name"]: stream["state"] for stream in get(address, "/v1/streams")}

        eventually(lambda: states() == {"good": "live", "bad": "failed"}, 60)
        assert f"{bad}-1" in get(address, "/v1/streams/bad")["state_reason"]


def test_an_absent_stream_is_refused_with_no_wait(bundle):
    code, sentence = refused("--model", bundle, "--stream", f"name={unique('none')}", "--no-wait")
    assert code == 1
    assert "No stream matches" in sentence


def test_a_stream_without_labels_is_refused_unless_channels_are_given(bundle):
    name = unique("cap")
    with Cap(name, source_id=name, labels=None):
        code, sentence = refused("--model", bundle, "--stream", f"name={name}", "--unit", "uV")
        assert code == 1
        assert "--channels" in sentence
        arguments = ("--model", bundle, "--stream", f"name={name}", "--unit", "uV", "--channels", "C3,Cz,C4")
        with service(*arguments) as running:
            address = running.address()
            eventually(lambda: ready(address), 30)


def test_wrong_settings_and_bundles_are_one_sentence(bundle, tmp_path, capsys):
    serve = ("serve", "--port", 0)
    code, sentence = command_line.refused(capsys, *serve, "--model", bundle, "--stream", "predicate=name='X")
    assert code == 2
    assert "XPath" in sentence
    code, sentence = command_line.refused(capsys, *serve, "--model", tmp_path / "none", "--stream", "name=X")
    assert code == 1
    assert "none" in sentence
    assert command_line.refused(capsys, *serve, "--stream", "name=X")[0] == 2


def test_a_port_in_use_is_one_sentence(bundle, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("serve", "--model", bundle, "--stream", "name=X", "--port", port)
        code, sentence = command_line.refused(capsys, *words)
    assert code == 1
    assert f"Port {port}" in sentence


def pause(port: str, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", "/v1/streams/x/control/pause", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_listening_elsewhere_makes_and_demands_two_tokens(bundle):
    with service("--model", bundle, "--stream", f"id=x,name={unique('none')}", "--host", "0.0.0.0") as running:
        port = running.address().rsplit(":", 1)[1]
        token, read_token = (running.process.stdout.readline().split()[-1] for _ in range(2))
        with pytest.raises(urllib.error.HTTPError) as error:
            get(f"127.0.0.1:{port}", "/v1/streams")
        assert error.value.code == 401
        error.value.close()
        for one in (token, read_token):
            assert get(f"127.0.0.1:{port}", f"/v1/streams?token={one}")
        assert pause(port, read_token) == 403
        assert pause(port, token) == 409  # it has no policy


def test_print_config_prints_toml_and_needs_no_stream():
    words = ["serve", "--hop", "5", "--workers", "3", "--batch-wait-ms", "1", "--print-config"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    for line in ("hop = 5", "workers = 3", "batch_wait_ms = 1.0"):
        assert line in done.stdout.splitlines()


def test_streams_lists_what_is_there_as_a_table_and_as_json():
    name = unique("cap")
    command = [sys.executable, "-m", "mindwire", "streams", "--timeout", "1.5"]
    with Cap(name, source_id=name):
        table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
        text = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, timeout=60, check=True).stdout
    (row,) = [line for line in table.splitlines() if line.startswith(name)]
    for shown in ("EEG", "C3 Cz C4", "microvolts", "100 Hz", socket.gethostname()):
        assert shown in row
    (found,) = [stream for stream in json.loads(text) if stream["name"] == name]
    assert found["labels"] == ["C3", "Cz", "C4"]
    assert found["sfreq"] == 100.0


def test_every_stream_has_its_own_bundle_hop_and_outlets(bundle):
    other = unique("other")
    settings = load_settings({"model": bundle, "stream": ["name=A", f"id={other},name=B,hop=5"], "lsl_outlet": False})
    streams = StreamRegistry(Specs(settings), StreamBuilder(settings))
    assert list(streams) == ["A", other]
    assert streams["A"].hello().hop_samples == 10
    assert streams[other].hello().hop_samples == 5
    assert streams["A"].hub is not streams[other].hub


def test_a_model_without_a_control_policy_is_logged_with_what_writes_one(bundle, caplog):
    settings = load_settings({"model": bundle, "stream": ["name=A", "name=B,control=none"], "lsl_outlet": False})
    with caplog.at_level("INFO"):
        StreamRegistry(Specs(settings), StreamBuilder(settings))
    said = [(record.stream, record.getMessage()) for record in caplog.records if "policy" in record.getMessage()]
    sentence = "has no control policy, so it gives probabilities and no decisions; `mindwire tune` writes one."
    assert said == [("A", f"Model {bundle.name} {sentence}")]


def test_a_decoder_is_shared_while_it_is_in_use_and_then_released(bundle):
    settings = load_settings({"model": bundle, "stream": ["name=A", "name=B"], "lsl_outlet": False})
    builder = StreamBuilder(settings)
    registry = StreamRegistry(Specs(settings), builder)
    decoder = weakref.ref(registry["A"].decoder)
    assert registry["B"].decoder is decoder()
    for name in ("A", "B"):
        asyncio.run(registry.remove(name))
    gc.collect()
    assert decoder() is None
    assert not registry
    assert registry.settings.stream == ()
