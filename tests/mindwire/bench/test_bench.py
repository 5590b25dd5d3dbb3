"""The measurements measure: every part runs briefly on real processes; what they save can be read."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mindwire.bench import certificate, suite
from mindwire.bench.decoders import decoder_latency
from mindwire.bench.latency import LatencyRun
from mindwire.bench.processes import Processes, read_line, summarise, write_line
from mindwire.bench.streams import many_streams
from mindwire.cli.main import run
from mindwire.errors import UsageError
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path


def test_a_summary_has_its_quantiles_in_order():
    found = summarise(np.arange(1000.0))
    assert found["p50"] < found["p99"] < found["p99.9"] < found["max"] == 999
    assert found["n"] == 1000


def test_designs_of_a_decoder_are_compared():
    found = decoder_latency(zoo_bundle_path(), hop=10, batches=(1, 3), rounds=3)
    for designs in found["designs"].values():
        assert designs["service"]["times_service"] == pytest.approx(1.0)
        assert all(row["us_q1"] <= row["us"] <= row["us_q3"] for row in designs.values())


@pytest.mark.timeout(180)
def test_latency_is_measured_with_its_floor_and_saved(tmp_path):
    run = LatencyRun(zoo_bundle_path(), chunk=10, hop=10, seconds=5.0, floor_seconds=9.0)
    found = run.measure()
    assert found["received"] == found["expected"]
    assert set(found["floor"]) == {"LSL alone", "decoder alone", "websocket alone", "sum"}
    assert found["ratio"]["p50"] == pytest.approx(found["websocket"]["p50"] / found["floor"]["sum"]["p50"])
    assert {"receive", "condition", "decode", "publish"} <= set(found["stages"])
    assert set(found["decisions"]) == {"prediction", "decision", "decision as OSC"}
    assert all(part["n"] > 0 for part in found["decisions"].values())
    assert "floor (their sum)" in [row[0] for row in suite.latency_table(found).rows]
    outcome = suite.Outcome({"machine": suite.machine(), "latency": [found]}, run.samples)
    written = suite.save(outcome, tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "latency.svg"]
    assert json.loads(written[0].read_text())["latency"][0]["received"] == found["received"]
    ET.parse(written[1])


@pytest.mark.timeout(180)
def test_more_streams_than_threads_lose_nothing():
    found = many_streams(zoo_bundle_path(), 6, seconds=5.0, chunk=10, hop=25)
    assert found["gaps"] == found["skipped"] == 0
    assert found["fewest_of_a_stream"] >= found["expected_of_a_stream"] - 20
    assert found["age_ms"]["n"] > 0


@pytest.mark.timeout(180)
def test_a_stream_is_certified(tmp_path):
    with Processes("real") as processes:
        contract = load_bundle(zoo_bundle_path()).contract
        outlet = processes.role("outlets", "certified-cap", ",".join(contract.channels), contract.sfreq, 10, 1)
        assert read_line(outlet)
        write_line(outlet, "begin")
        cap = "name=certified-cap-0"
        found = certificate.certify(zoo_bundle_path(), cap, tmp_path / "report.html", print, minutes=0.15)
    assert found["counters"]["predictions"] > 100
    page = (tmp_path / "report.html").read_text()
    assert found["bundle"]["sha256"] in page
    assert "<svg" in page
    assert json.loads((tmp_path / "report.json").read_text())["age_ms"] == found["age_ms"]


def test_a_certificate_takes_time():
    with pytest.raises(UsageError, match="--minutes"):
        certificate.certify(zoo_bundle_path(), "name=x", zoo_bundle_path(), print, minutes=0.0)


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--only", "clients"], ["--certify"], ["--streams", "none"], ["--chunks", "1,,2"]]
)
def test_wrong_usage_is_told(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["mindwire", "bench", *words])
    assert run() == 2
    assert capsys.readouterr().err.startswith("mindwire: ")
