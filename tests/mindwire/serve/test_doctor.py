"""The doctor on this machine, with a real stream on the network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pylsl
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.serve.doctor import Finding, Verdict, examine
from mindwire.serve.problem_report import problem_report
from tests.support.standin import StandIn, served


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    info = pylsl.StreamInfo("doctor-silent", "EEG", 2, 250, pylsl.cf_float32, "doctor-silent")
    outlet = pylsl.StreamOutlet(info)
    found = {finding.what: finding for finding in examine(0.5, tmp_path_factory.mktemp("recordings"))}
    del outlet
    return found


def test_the_essentials_are_well(findings):
    for what in ("system", "liblsl", "LSL configuration", "discovery", "ONNX Runtime", "disk"):
        assert findings[what].verdict is Verdict.OK, findings[what]
    assert findings["clock"].verdict is not Verdict.FAILURE  # its jitter is that of what else runs here


def test_a_silent_stream_is_told_with_what_to_do(findings):
    finding = findings["stream doctor-silent"]
    assert finding.verdict is Verdict.WARNING
    assert "silent" in finding.found
    assert finding.advice


def test_every_warning_says_what_to_do(findings):
    for finding in findings.values():
        assert finding.advice or finding.verdict is Verdict.OK


def test_the_command_prints_json_and_fails_on_failure(tmp_path):
    # liblsl then falls back to the folder's own file: the test stays as isolated as the others.
    shutil.copy(os.environ["LSLAPICFG"], tmp_path / "lsl_api.cfg")
    environment = {**os.environ, "LSLAPICFG": str(tmp_path / "missing.cfg")}
    command = [sys.executable, "-m", "mindwire", "doctor", "--json", "--seconds", "0.5", "--record", str(tmp_path)]
    command += ["--report", "report.json", "--service", "http://127.0.0.1:1"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    by_name = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert by_name["LSL configuration"]["verdict"] == "failure"
    assert "LSLAPICFG" in by_name["LSL configuration"]["found"]
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["findings"] == json.loads(done.stdout)
    assert "refused" in report["service"]["/v1/streams"]["error"]


def test_the_report_may_name_participants_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("mindwire.serve.doctor.examine", lambda *_: [])
    report = tmp_path / "report.json"
    done = CliRunner().invoke(app, ["doctor", "--report", str(report), "--service", "http://127.0.0.1:1"])
    assert " ".join(done.output.split()).endswith("read it before you send it, for it may name participants.")
    assert report.exists()


def test_the_report_of_a_problem_holds_what_a_running_service_says():
    with served(StandIn("chair")) as address:
        report = problem_report([Finding("disk", Verdict.OK, "12 GB")], f"http://{address}", None)
    assert report["findings"] == [{"what": "disk", "verdict": "ok", "found": "12 GB", "advice": ""}]
    assert report["machine"]["versions"]["numpy"]
    assert [stream["name"] for stream in report["service"]["/v1/streams"]] == ["chair"]
    assert report["service"]["/v1/models"]
