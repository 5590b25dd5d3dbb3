"""``mindwire compare`` on a real recording: two policies, two models, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.errors import MindwireError, UsageError
from mindwire_models.presets import BCIC2A
from tests.support.bundles import random_bundle

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "published"
    checkpoint = data_dir / "checkpoints" / "bcic2a-loso-riemann-1.ckpt"
    assert CliRunner().invoke(app, ["export", str(checkpoint), "--preset", "bcic2a", "--out", str(out)]).exit_code == 0
    return out


@pytest.fixture
def recording(data_dir: Path) -> Path:
    return data_dir / "s1" / "s1-run04-22ch-250hz.xdf"


def policy(path: Path, commit: float) -> Path:
    path.write_text(ControlPolicy(evidence=Latest(), decide=Decide(commit=commit, release=0.25, dwell_s=0.2)).to_json())
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_two_policies_of_one_model(bundle: Path, recording: Path, tmp_path: Path) -> None:
    strict, loose = policy(tmp_path / "strict.json", 0.95), policy(tmp_path / "loose.json", 0.35)
    rest = ("--rest", "rest..left_hand", "--rest", "rest..right_hand")
    output = run(
        recording, "--model", bundle, "--control", strict, "--control", loose, *rest, "--out", tmp_path / "out"
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found, a, b = report["comparison"], report["a"]["score"]["overall"], report["b"]["score"]["overall"]
    assert (a["n_trials"], b["n_trials"]) == (15, 15)
    assert found["right"]["both"] + found["right"]["only_a"] == a["n_right"]
    assert found["right"]["both"] + found["right"]["only_b"] == b["n_right"] > a["n_right"]
    assert found["false_activations"]["n_b"] == b["false_activations"]
    assert found["agreement"] is None
    rows = list(csv.DictReader((tmp_path / "out" / "decisions.csv").read_text().splitlines()))
    assert len(rows) == len(found["decisions"]) > 0
    otherwise = sum(row["a"] != row["b"] for row in rows)
    assert f"{otherwise} of {len(rows)} decisions differ" in output
    assert sum(row["trial"] == "rest" and row["b"] != "" for row in rows) == b["false_activations"]
    assert "in closed loop they would have reacted to each decision" in output
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"{b['n_right']}/15" in page
    assert "in closed loop they would have reacted" in page
    run(recording, "--model", bundle, "--control", strict, "--control", "none", "--out", tmp_path / "out")


def test_two_models_of_other_windows_hops_and_class_orders(bundle: Path, recording: Path, tmp_path: Path) -> None:
    contract = BCIC2A.model_copy(
        update={"classes": ("right_hand", "left_hand", "rest"), "window_samples": 500, "hop_samples": 25}
    )
    other = random_bundle(tmp_path / "other", contract)
    output = run(recording, "--model", bundle, "--model", other, "--at", 3, "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = report["comparison"]
    assert found["classes"] == ["left_hand", "right_hand"]
    assert found["agreement"]["classes"] == ["left_hand", "right_hand"]
    assert found["agreement"]["n_predictions"] > 2000
    assert report["trial_s"] == 3
    # Rest is what the second model's class means.
    assert found["false_activations"]["minutes_a"] == pytest.approx(15 * 3 / 60, rel=0.1)
    assert found["false_activations"]["minutes_b"] == pytest.approx(15 * 3 / 60, rel=0.1)
    assert (report["a"]["raw"], report["b"]["raw"]) == (True, True)
    assert "raw argmax; B: other, raw argmax." in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "found 1 --model and 0 --control"),
        (("--control", "none"), "found 1 --model and 1 --control"),
        (("--control", "none", "--control", "none"), "same model with the same control policy"),
        (("--control", "{}", "--control", "none", "--markers", "rest=tail"), "neither model has the class tail"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: tuple[str, ...], message: str, bundle: Path, recording: Path, tmp_path: Path
) -> None:
    named = str(policy(tmp_path / "strict.json", 0.95))
    with pytest.raises(UsageError, match=message):
        run(recording, "--model", bundle, *(named if text == "{}" else text for text in arguments))
