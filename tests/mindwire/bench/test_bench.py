"""The measurements measure: every part runs briefly on real processes; what they save can be read."""

from __future__ import annotations

import json
import socket
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from websockets.frames import Frame, Opcode

from mindwire.bench import certificate, suite
from mindwire.bench.clients import many_clients
from mindwire.bench.decoders import decoder_latency
from mindwire.bench.latency import Case, LatencyRun
from mindwire.bench.others import replay_speed
from mindwire.bench.processes import Processes, said, summarise
from mindwire.bench.streams import many_streams
from mindwire.cli.main import run
from mindwire.errors import UsageError
from mindwire_models.zoo import zoo_bundle_path


def test_a_summary_has_its_quantiles_in_order():
    found = summarise(np.arange(1000.0))
    assert found["p50"] < found["p99"] < found["p99.9"] < found["max"] == 999
    assert found["n"] == 1000


def test_an_audience_takes_frames_cut_anywhere():
    text = '{"type":"prediction","seq":%d,"time":0.5,' + '"fill":"%s"}' % ("x" * 200)
    texts = ['{"type":"hello"}', *(text % seq for seq in (0, 1, 4))]
    data = b"".join(Frame(Opcode.TEXT, one.encode()).serialize(mask=False) for one in texts)
    with socket.create_server(("127.0.0.1", 0)) as server, Processes.temporary() as processes:
        listener = processes.role("audience", server.getsockname()[1], "/", 1)
        connection, _ = server.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not connection.recv(4096).endswith(b"\r\n\r\n"):
                pass
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + data[:6])
            assert said(listener) == "ready\n"
            for at in range(6, len(data), 7):
                connection.sendall(data[at : at + 7])
            told = {"n": 0, "lost": 0}
            while told["n"] < 3:
                listener.stdin.write("tell\n")
                listener.stdin.flush()
                seen = json.loads(said(listener))
                told = {key: told[key] + seen[key] for key in told}
    assert told == {"n": 3, "lost": 2}


def test_clients_are_measured_beside_bare_sockets():
    one, some = many_clients(zoo_bundle_path(), [1, 4], seconds=1.0, chunk=10, hop=10)
    assert "crowd" not in one
    assert some["crowd"]["n"] > 3 * 10
    assert some["crowd"]["lost"] == some["apart"]["lost"] == 0
    assert some["outlet"]["age_ms"]["n"] > 10
    assert some["sockets"]["n"] > 4 * 10
    assert set(some["cpu_percent"]) == {"service", "crowd"}


def test_designs_of_a_decoder_are_compared():
    found = decoder_latency(zoo_bundle_path(), hop=10, batches=(1, 3), rounds=3)
    for designs in found["designs"].values():
        assert designs["service"]["times_service"] == pytest.approx(1.0)
        assert all(row["us_q1"] <= row["us"] <= row["us_q3"] for row in designs.values())


def test_replay_goes_faster_than_time():
    assert replay_speed(zoo_bundle_path(), hop=50, minutes=0.5)["times_real_time"] > 1


@pytest.mark.timeout(180)
def test_latency_is_measured_beside_its_floor_and_saved(tmp_path):
    run = LatencyRun(Case(zoo_bundle_path(), chunk=10, hop=10, seconds=5.0, floor_seconds=9.0))
    found = run.measure()
    assert found["received"] == found["expected"]
    assert set(found["floor"]) == {"LSL alone", "decoder alone", "websocket alone", "sum"}
    assert found["ratio"]["p50"] == pytest.approx(found["websocket"]["p50"] / found["floor"]["sum"]["p50"])
    assert {"receive", "condition", "decode", "publish"} <= set(found["stages"])
    assert any("floor" in line for line in suite.latency_lines(found))
    outcome = suite.Outcome({"machine": suite.machine(), "latency": [found]}, run.samples)
    written = suite.save(outcome, tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "latency.svg"]
    assert json.loads(written[0].read_text())["latency"][0]["received"] == found["received"]
    ET.parse(written[1])


@pytest.mark.timeout(180)
def test_more_streams_than_threads_lose_nothing():
    found = many_streams(zoo_bundle_path(), 6, seconds=8.0, chunk=10, hop=25)
    assert found["gaps"] == found["skipped"] == 0
    assert found["fewest_of_a_stream"] >= found["expected_of_a_stream"] - 20
    assert found["age_ms"]["n"] > 0


@pytest.mark.timeout(180)
def test_a_stream_is_certified(tmp_path):
    with Processes(tmp_path, "real") as processes:
        law = suite.load_bundle(zoo_bundle_path()).contract
        outlet = processes.role("crowd", "certified-cap", ",".join(law.channels), law.sfreq, 10, 1)
        assert outlet.stdout.readline()
        outlet.stdin.write("begin\n")
        outlet.stdin.flush()
        request = certificate.Request(zoo_bundle_path(), "name=certified-cap-0", minutes=0.15)
        found = certificate.certify(request, tmp_path / "report.html", print)
    assert found["counters"]["predictions"] > 100
    page = (tmp_path / "report.html").read_text()
    assert found["bundle"]["sha256"] in page
    assert "<svg" in page
    assert json.loads((tmp_path / "report.json").read_text())["age_ms"] == found["age_ms"]


def test_a_certificate_takes_time():
    with pytest.raises(UsageError, match="--minutes"):
        certificate.certify(certificate.Request(zoo_bundle_path(), "name=x", 0.0), zoo_bundle_path(), print)


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--certify"], ["--streams", "none"], ["--clients", "0"], ["--chunks", "1,,2"]]
)
def test_wrong_usage_is_told(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["mindwire", "bench", *words])
    assert run() == 2
    assert capsys.readouterr().err.startswith("mindwire: ")
