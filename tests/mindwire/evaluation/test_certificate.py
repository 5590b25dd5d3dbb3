"""Certificates: of whole and of changed recordings, sessions and models, and signatures that show every changed byte."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.errors import RecordingError, UsageError
from mindwire.evaluation.certificate_report import check_certificate
from mindwire.evaluation.signing import make_key
from mindwire.inference.load import load_decoder
from mindwire.options import PipelineOptions
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.live_run import OFFSET, SAMPLES, TIMES, LiveRun
from tests.support.signals import small_contract
from tests.support.xdf_writer import eeg_file

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("certify") / "bundle", small_contract(window_samples=200)))


@pytest.fixture
def run(bundle):
    left, right = bundle.contract.classes
    policy = ControlPolicy(
        evidence=Latest(),
        decide=Decide(commit=0.5, release=0.5, dwell_s=0.2, refractory_s=0.2),
        axes=(Axis(name="x", positive=right, negative=left),),
    )
    return LiveRun(bundle, PipelineOptions(policy=policy), decoder=load_decoder(bundle, device="cpu")).play()


def certify(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["certify", *map(str, words)])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.output


def test_a_whole_run_is_confirmed_and_the_report_has_everything(tmp_path, bundle, run):
    path = run.write(tmp_path / "r.xdf")
    code, said = certify(path, "--out", tmp_path / "report")
    assert code == 0, said
    n, decided = len(run.rows), len(run.decisions)
    assert (
        f"Confirmed: {n} predictions and {decided} decisions of 1 run follow from the recorded EEG, bit for bit."
        in said
    )
    assert "not signed" in said
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    [found] = document["certificate"]["runs"]
    assert document["confirmed"] is True
    assert found["predictions"]["confirmed"] == n
    assert found["predictions"]["equal"] == found["predictions"]["valid"] > 50
    assert found["axes"] == {"confirmed": n, "different": 0}
    assert found["latency_ms"]["age"] == {"n": n, "p50": 9.0, "p99": 9.0, "max": 9.0}
    assert found["decision_age_ms"]["n"] == decided
    assert found["models"][0]["files"] == dict(bundle.digests)
    assert (found["clocks"][0]["range_s"], found["clocks"][0]["residual_max_s"]) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert found["policies"][0]["hash"] == run.options.policy.hash
    assert found["software"] == document["certificate"]["software"]
    assert found["lacking"] == []
    assert bundle.sha256 in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize("what", ["prediction", "decision", "sample", "input", "axis"])
def test_one_changed_value_is_named_by_its_time(tmp_path, run, what):
    device = SAMPLES.copy()
    if what == "prediction":
        run.rows[80] = run.rows[80] + np.array([2e-6, -2e-6])
        time, said_of = run.times[80], "1 recorded prediction not as the recorded EEG gives them"
    elif what == "decision":
        time, label = run.decisions[2]
        other = next(name for name in run.bundle.contract.classes if name != label)
        run.decisions[2] = (time, other)
        said_of = "1 decision not as the control policy makes them"
    elif what == "axis":
        time, values = run.axes[70]
        run.axes[70] = (time, (values[0] + 1e-5,))
        said_of = "1 position of the axes not as the control policy gives them"
    else:
        time, said_of = TIMES[900] + OFFSET, "1 sample that the model was given not as the device's own recorded stream"
        changed = device[900] if what == "sample" else run.input[600]
        changed[1] = np.nextafter(changed[1], np.float32(np.inf))
    code, said = certify(run.write(tmp_path / "r.xdf", device=device), "--out", tmp_path / "report")
    assert code == 1
    assert said_of in said
    assert f"first at {time:.3f} s" in said
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    first = document["certificate"]["runs"][0]["first_difference"]
    assert first["time"] == pytest.approx(time)
    assert run.times[first["seq"]] >= time - 1e-6
    assert document["verdict"].startswith("NOT confirmed: ")


@pytest.mark.parametrize("file", ["model.onnx", "contract.json", "README.md"])
def test_one_changed_byte_of_the_model_is_named(tmp_path, bundle, run, file):
    changed = tmp_path / "changed"
    shutil.copytree(bundle.path, changed)
    data = bytearray((changed / file).read_bytes())
    data[len(data) // 2] ^= 1
    (changed / file).write_bytes(data)
    code, said = certify(run.write(tmp_path / "r.xdf"), "--model", changed, "--out", tmp_path / "report")
    assert code == 1
    assert f"{changed / file}" in said
    assert json.loads((tmp_path / "report" / "report.json").read_text())["confirmed"] is False


def test_a_bundle_is_found_by_its_hash_among_others_or_reported_as_missing(tmp_path, bundle, run):
    for event in run.events:
        if event[1] == "recording":
            event[2]["model"]["path"] = str(tmp_path / "moved")
    path = run.write(tmp_path / "r.xdf")
    code, said = certify(path, "--out", tmp_path / "report")
    assert code == 1
    assert "Nothing of r.xdf, cap could be derived again" in said
    random_bundle(tmp_path / "models" / "other", small_contract(window_samples=200), seed=5)
    shutil.copytree(bundle.path, tmp_path / "models" / "right")
    assert certify(path, "--models", tmp_path / "models", "--out", tmp_path / "report")[0] == 0


def test_recordings_of_earlier_versions_say_what_they_lack(tmp_path, run):
    run.timed = False
    for event in run.events:
        event[2].pop("software", None)
    code, said = certify(run.write(tmp_path / "r.xdf"), "--out", tmp_path / "report")
    assert code == 0
    assert "does not hold when predictions were published" in said
    assert "does not say with which version of Mindwire" in said


def test_a_damaged_description_of_the_run_is_one_sentence(tmp_path, run):
    for event in run.events:
        event[2].pop("options", None)
    code, said = certify(run.write(tmp_path / "r.xdf"), "--out", tmp_path / "report")
    assert code == 1
    assert "The run cap cannot be certified" in said
    assert "the description of the run was damaged or changed" in said


def test_recordings_of_other_programs_and_no_recordings_are_one_sentence(tmp_path):
    path = eeg_file(tmp_path / "eeg.xdf", SAMPLES, 100.0)
    code, said = certify(path, "--out", tmp_path / "report")
    assert code == 1
    assert "eeg.xdf cannot be certified: it holds no run of Mindwire's service" in said
    (tmp_path / "no.xdf").write_bytes(b"no recording")
    assert "no.xdf cannot be certified" in certify(tmp_path / "no.xdf", "--out", tmp_path / "report")[1]
    found = CliRunner().invoke(app, ["certify", str(tmp_path / "absent.xdf")])
    assert isinstance(found.exception, UsageError)
    assert isinstance(CliRunner().invoke(app, ["certify", str(tmp_path)]).exception, RecordingError)


@pytest.fixture
def session(tmp_path, bundle, run):
    folder = tmp_path / "P01" / "2026-01-02"
    (folder / "models").mkdir(parents=True)
    shutil.copytree(bundle.path, folder / "models" / "bundle")
    from mindwire.evaluation.pseudo_online import file_sha256

    runs = []
    for number in (1, 2):
        path = run.write(folder / f"run-{number:02}.xdf")
        noted = {"models": [{"sha256": bundle.sha256}], "control": [{"hash": run.options.policy.hash}]}
        noted |= {"status": "complete", "started": {"unix": 0.0, "lsl": 0.0}}
        noted["models"][0]["name"] = bundle.name
        runs.append({"run": number, "file": path.name, "stream": "cap", "sha256": file_sha256(path), **noted})
    document = {"participant": "P01", "date": "2026-01-02", "format": "mindwire-session", "version": 1, "runs": runs}
    (folder / "session.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_session_is_certified_with_all_its_runs(jobs, tmp_path, session, run):
    code, said = certify(session, "--jobs", jobs, "--out", tmp_path / "report")
    assert code == 0, said
    assert f"{2 * len(run.rows)} predictions and {2 * len(run.decisions)} decisions of 2 runs" in said
    assert "Certificate of P01 2026-01-02" in (tmp_path / "report" / "report.html").read_text()


def test_what_contradicts_the_sessions_description_is_named(tmp_path, session):
    document = json.loads((session / "session.json").read_text())
    document["runs"][0]["models"][0]["sha256"] = "0" * 64
    document["runs"][1]["sha256"] = "1" * 64
    document["runs"][1]["status"] = "recording"
    document["runs"].append({**document["runs"][0], "run": 3, "file": "run-03.xdf"})
    (session / "session.json").write_text(json.dumps(document))
    shutil.copy(session / "run-01.xdf", session / "run-04.xdf")
    card = session / "models" / "bundle" / "README.md"
    card.write_text(card.read_text() + "!")
    code, said = certify(session, "--out", tmp_path / "report")
    assert code == 1
    for part in (
        "session.json names another model of run-01.xdf than the recording: 000000000000, not ",
        "run-02.xdf was changed after session.json was written",
        "run-02.xdf is still being recorded",
        "session.json names run-03.xdf, which is not there",
        "run-04.xdf is not in session.json",
        "README.md",
    ):
        assert part in said


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(tmp_path_factory, bundle):
    """A signed report: its folder, the recording and the public key."""
    pytest.importorskip("cryptography")
    folder = tmp_path_factory.mktemp("signed")
    path = LiveRun(bundle, decoder=load_decoder(bundle, device="cpu")).play().write(folder / "r.xdf")
    key = folder / "lab.key"
    assert certify("--new-key", key)[0] == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    code, said = certify(path, "--out", folder / "report", "--sign", key)
    assert code == 0
    assert "report.json.sig" in said
    return folder / "report", path, folder / "lab.key.pub"


def test_a_signed_report_and_its_recording_are_unchanged(signed):
    report, path, public = signed
    code, said = certify("--check", report / "report.json", path, "--public-key", public)
    assert code == 0
    assert "as it was signed with the key of lab.key.pub" in said
    assert "r.xdf is the recording that was certified" in said
    assert "The report says: Confirmed" in said
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY")


@given(st.data())
def test_any_changed_byte_of_a_signed_report_shows(signed, data):
    report, _, public = signed
    name = data.draw(st.sampled_from(["report.json", "report.html", "report.json.sig"]))
    original = (report / name).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= data.draw(st.integers(1, 255))
    with_key = data.draw(st.booleans())
    (report / name).write_bytes(changed)
    try:
        found = check_certificate(report, None, public if with_key else None)
    finally:
        (report / name).write_bytes(original)
    assert any(name in sentence for sentence in found.changed)


def test_another_key_a_changed_recording_and_a_missing_signature_show(tmp_path, signed):
    report, path, public = signed
    other = make_key(tmp_path / "other.key")
    assert "signed with another key" in certify("--check", report, "--public-key", other)[1]
    changed = tmp_path / "r.xdf"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    code, said = certify("--check", report, changed, "--public-key", public)
    assert code == 1
    assert "r.xdf is no recording that was certified, or was changed since" in said
    copy = tmp_path / "copy"
    shutil.copytree(report, copy)
    (copy / "report.json.sig").unlink()
    for more in ((), ("--public-key", public)):
        code, said = certify("--check", copy, *more)
        assert code == 1
        assert "report.json.sig is missing" in said


def test_an_unsigned_report_says_so(tmp_path, run):
    certify(run.write(tmp_path / "r.xdf"), "--out", tmp_path / "report")
    code, said = certify("--check", tmp_path / "report")
    assert code == 0
    assert "The report is not signed" in said
    page = tmp_path / "report" / "report.html"
    page.write_text(page.read_text().replace("Confirmed", "confirmed"))
    code, said = certify("--check", tmp_path / "report")
    assert code == 1
    assert "CHANGED: report.html was changed" in said


def test_keys_are_never_overwritten_and_wrong_ones_refused(tmp_path, run):
    key = tmp_path / "lab.key"
    public = make_key(key)
    with pytest.raises(UsageError, match="never overwritten"):
        make_key(key)
    path = run.write(tmp_path / "r.xdf")
    for wrong in (public, path, tmp_path / "absent"):
        found = CliRunner().invoke(app, ["certify", str(path), "--sign", str(wrong), "--out", str(tmp_path / "report")])
        assert isinstance(found.exception, UsageError)
    assert not Path(tmp_path / "report").exists()
