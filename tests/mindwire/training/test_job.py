"""A training as a job: bundle, policy and report, on recordings of a simulated participant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mindwire.api.app import STATIC
from mindwire.control.policy import choose_policy
from mindwire.training import job, run
from mindwire.training import report as report_module
from mindwire.training.data import RecordedTrials
from mindwire.training.job_spec import JobSpec, Outcome, Stages
from mindwire.training.selection import select
from mindwire.types import INVALID, Reason
from mindwire_models.bundle import load_bundle
from tests.support.participants import CHANNELS, HANDS, Participant

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

DAY = "2026-11-29"


def spec_of(root: Path, **fields) -> JobSpec:
    chosen = select(root / "sessions", "P01", None, None)
    (root / "models").mkdir(exist_ok=True)
    (root / "scratch").mkdir(exist_ok=True)
    given = {
        "id": "P01-1", "kind": "train", "participant": "P01", "sessions": str(root / "sessions"),
        "models": str(root / "models"), "scratch": str(root / "scratch"), "recordings": tuple(map(str, chosen.recordings)),
        "rest": tuple(map(str, chosen.rest)), "classes": chosen.classes, "left_out": chosen.left_out,
    }  # fmt: skip
    return JobSpec(**given | fields)


def lines_of(spec: JobSpec):
    lines = []
    job.run(spec, lines.append)
    return lines


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Few epochs, in this process."""
    import joblib

    made = run.candidate

    def candidate(contract):
        first = made(contract)
        return replace(first, recipe=replace(first.recipe, epochs=2, warmup_epochs=1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "candidate", candidate)
        patch.setattr(joblib, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The lines of a training on two runs and rest, one electrode of which was bad all the time."""
    root = tmp_path_factory.mktemp("trained")
    person = Participant(root / "sessions", depth=0.6)
    person.rest(DAY, 60)
    for _ in range(2):
        person.cued(DAY, 12, flat="CP4")
    lines = lines_of(spec_of(root))
    assert lines[-1].error is None
    return lines, load_bundle(root / "models/P01-1")


def test_a_job_makes_a_bundle_that_decides(trained):
    lines, bundle = trained
    assert lines[-1].outcome.model == "P01-1"
    assert lines[-1].outcome.acceptable
    assert bundle.contract.classes == HANDS
    assert bundle.contract.channels == tuple(label for label in CHANNELS if label != "CP4")
    policy = choose_policy(bundle)
    assert policy is not None
    assert policy.tuning.rest_minutes > 0.7
    assert policy.tuning.trials == 24


def test_progress_ascends_through_the_stages_to_the_end(trained):
    lines, _ = trained
    stages = list(dict.fromkeys(line.stage for line in lines))
    assert stages == ["starting", "reading", "training", "validating", "advising", "writing", "done"]
    progress = [line.progress for line in lines]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    assert all(line.seconds_left is not None for line in lines[-3:])


def test_the_report_says_how_good_the_model_is_and_why(trained):
    report = json.loads(json.dumps(trained[0][-1].outcome.report))
    assert report["classes"] == list(HANDS)
    assert report["trials"] == 24
    assert report["trials_per_class"] == {"left_hand": 12, "right_hand": 12}
    assert report["chance_interval"][1] < report["accuracy"] <= 1
    assert report["interval"][0] <= report["accuracy"] <= report["interval"][1]
    assert report["decoder"] in ("network", "tangent_space")
    kept = {"network": "network_accuracy", "tangent_space": "baseline_accuracy"}[report["decoder"]]
    assert report["accuracy"] == report[kept]
    assert np.sum(report["confusion"]) == 24
    assert len(report["over_time"]["seconds"]) == len(report["over_time"]["accuracy"])
    assert [one["trials"] for one in report["recordings"]] == [12, 12]
    codes = {reason["code"]: reason["values"] for reason in report["verdict"]["reasons"]}
    assert next(iter(codes)) == "above_chance"
    assert codes["few_trials"] == {"trials": 12, "wanted": 20}
    assert codes["electrodes_left_out"]["labels"] == ["CP4"]
    assert codes["budget_not_proven"]["needed_minutes"] == pytest.approx(2.996, abs=0.001)
    assert report["verdict"]["level"] in ("usable", "good")
    assert sum(point["chosen"] for point in report["frontier"]) == 1
    assert report["policy"]["trials"] == 24


def test_patterns_show_the_rhythm_fall_over_the_opposite_hemisphere(trained):
    report = trained[0][-1].outcome.report
    patterns = {one["class"]: dict(zip(one["labels"], one["values"], strict=True)) for one in report["patterns"]}
    assert patterns["left_hand"]["C4"] < -0.3 < 0.3 < patterns["left_hand"]["C3"]
    assert patterns["right_hand"]["C3"] < -0.3 < 0.3 < patterns["right_hand"]["C4"]
    places = dict(zip(report["patterns"][0]["labels"], report["patterns"][0]["positions"], strict=True))
    assert places["C3"][0] < 0 < places["C4"][0]  # nose up, left is left
    assert places["FC3"][1] > 0 > places["CP3"][1]
    assert places["Cz"] == [0, 0]


def test_advice_forecasts_what_more_trials_bring(trained):
    advice = trained[0][-1].outcome.report["advice"]
    curve = trained[0][-1].outcome.report["learning_curve"]
    assert advice["code"] == "more"  # 12 of each class are few
    assert advice["trials_per_class"] == 12
    assert advice["expected"] <= advice["ten_more"] <= 1
    assert advice["ten_more_interval"][0] <= advice["ten_more"] <= advice["ten_more_interval"][1]
    sizes = [point["trials_per_class"] for point in curve]
    assert sizes == sorted(set(sizes))
    assert all(0 <= point["interval"][0] <= point["accuracy"] <= point["interval"][1] <= 1 for point in curve)


def test_a_single_run_without_rest_gives_a_model_without_a_policy(tmp_path):
    Participant(tmp_path / "sessions", depth=0.6).cued(DAY, 16, task=False)
    line = lines_of(spec_of(tmp_path))[-1]
    assert line.error is None
    report = line.outcome.report
    assert report["frontier"] is report["policy"] is None
    assert "no_rest" in [reason["code"] for reason in report["verdict"]["reasons"]]
    assert choose_policy(load_bundle(tmp_path / "models/P01-1")) is None
    assert report["over_time"]["accuracy"][-11] == pytest.approx(report["accuracy"], abs=0.13)


def test_guessing_is_poor_and_not_put_into_use_unasked(tmp_path):
    person = Participant(tmp_path / "sessions", depth=0.0)
    person.cued(DAY, 12)
    person.cued(DAY, 12)
    outcome = lines_of(spec_of(tmp_path))[-1].outcome
    assert outcome.report["verdict"]["level"] == "poor"
    assert outcome.report["verdict"]["reasons"][0]["code"] == "not_above_chance"
    assert not outcome.acceptable


def test_errors_are_sentences_and_leave_nothing(tmp_path):
    Participant(tmp_path / "sessions").cued(DAY, 8)
    spec = spec_of(tmp_path)
    damaged = tmp_path / "sessions/P01" / DAY / "run-01.xdf"
    damaged.write_bytes(b"no recording")
    assert "run-01.xdf" in lines_of(spec)[-1].error
    assert list((tmp_path / "models").iterdir()) == []
    (tmp_path / "models/P01-1").mkdir()
    assert lines_of(spec)[-1].error.startswith("There is a model P01-1 already")


def test_an_error_of_the_program_is_reported(tmp_path, monkeypatch, capsys):
    def fails(spec: JobSpec, stages: Stages):
        raise ZeroDivisionError(spec.id)

    Participant(tmp_path / "sessions").cued(DAY, 8)
    monkeypatch.setattr(job, "KINDS", {"train": fails})
    error = lines_of(spec_of(tmp_path))[-1].error
    assert error == "The job failed by an error of the program (ZeroDivisionError: P01-1); see the log."
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["train", "improve"])
def test_a_model_that_is_there_is_not_overwritten(tmp_path, kind):
    (tmp_path / "P01-1").mkdir()
    (line,) = lines_of(JobSpec("P01-1", kind, "P01", "", str(tmp_path), ""))
    assert line.error == "There is a model P01-1 already, which is not overwritten; start the job again."


def test_what_is_half_written_is_removed_after_the_end_of_all_that_could_write_more(tmp_path, monkeypatch):
    half = tmp_path / ".P01-1.0123abcd.new"
    half.mkdir()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0)

    def ends(_):
        assert half.exists()
        child.kill()
        child.communicate()

    monkeypatch.setattr(job, "time", SimpleNamespace(sleep=ends))
    job.remove_after_end(JobSpec("P01-1", "train", "P01", "", str(tmp_path), str(tmp_path / "scratch")), child.pid)
    assert child.returncode is not None
    assert not half.exists()


def test_an_error_of_the_progress_comes_after_the_outcome(monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(job, "KINDS", {"train": lambda spec, stages: Outcome("P01-1", {})})
    monkeypatch.setattr("mindwire.training.progress.update_progress", fails)
    lines = []
    with pytest.raises(ZeroDivisionError):
        job.run(JobSpec("P01-1", "train", "P01", "", "", ""), lines.append)
    assert [line.outcome for line in lines] == [Outcome("P01-1", {})]


def test_the_learning_curve_ascends_where_trials_are_noisy_and_is_flat_where_none_helps():
    from mindwire.training.learning_curve import LearningCurve, learning_curve

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    windows = rng.standard_normal((60, 6, 80))
    windows[np.arange(60), 2 * labels] *= 0.85
    trials = RecordedTrials(
        windows.astype(np.float32), np.arange(60), windows.astype(np.float32), np.arange(60), labels,
        np.zeros(60, dtype=np.intp), {}, ("a", "b"), 4.0,
    )  # fmt: skip
    curve = learning_curve(trials)
    assert curve is not None
    means = curve.right.mean(axis=1)
    assert means[-1] > means[0]
    gain, low, high = curve.gain(30)
    assert 0 <= low <= gain <= high < 0.2
    assert gain > 0
    flat = LearningCurve(np.array([5, 10, 20]), np.ones((3, 40)))
    assert flat.gain(20) == (0.0, 0.0, 0.0)
    few = replace(trials, labels=np.where(np.arange(60) < 57, 0, 1))
    assert learning_curve(few) is None


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_code_has_a_text(language):
    source = (Path(report_module.__file__)).read_text()
    texts = (STATIC / "js/texts" / language / "training.js").read_text()
    for code in (
        *re.findall(r'_reason\("(\w+)"', source),
        "above_chance",
        "not_above_chance",
        "no_decision",
        "no_rest",
    ):
        assert f'"training.reason.{code}"' in texts
    for level in ("good", "usable", "poor"):
        assert f'"training.level.{level}"' in texts
    for code in ("stop", "more", "change"):
        assert f'"training.advice.{code}"' in texts
    for reason in Reason:
        if reason & INVALID:
            assert f'"training.left_out.{reason.labels[0]}"' in texts
