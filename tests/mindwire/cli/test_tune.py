"""``mindwire tune`` on real recordings, and its refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy, choose_policy, load_policy
from mindwire.control.stages import Decide
from mindwire.errors import UsageError
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Contract
from mindwire_models.errors import MindwireError
from tests.support.bundles import random_bundle
from tests.support.calibration_recordings import CHANNELS, record

pytest.importorskip("torch")
REST = ("--rest", "rest..left_hand", "--rest", "rest..right_hand")


@pytest.fixture(scope="module")
def exported(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = data_dir / "checkpoints" / "bcic2a-loso-riemann-1.ckpt"
    out = tmp_path_factory.mktemp("tune") / "bundle"
    result = CliRunner().invoke(app, ["export", str(checkpoint), "--preset", "bcic2a", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def recording(data_dir: Path) -> Path:
    return data_dir / "s1" / "s1-run04-22ch-250hz.xdf"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["tune", *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_tuned_policy_becomes_part_of_the_bundle(
    exported: Path, recording: Path, data_dir: Path, tmp_path: Path
) -> None:
    folder, picture = Path(shutil.copytree(exported, tmp_path / "bundle")), tmp_path / "frontier.svg"
    before = load_bundle(folder)
    other = data_dir / "s1" / "s1-run08-22ch-250hz.xdf"
    options = (
        "--classes",
        "left_hand,right_hand",
        *REST,
        "--budget",
        "120/h",
        "--budget",
        "8/min",
        "--picture",
        picture,
    )
    output = run(recording, "--test", other, "--model", folder, *options)
    bundle = load_bundle(folder)
    assert bundle.sha256 == before.sha256
    policy = choose_policy(bundle)
    assert policy is not None
    assert policy.tuning is not None
    assert policy.tuning.budget_per_minute == 2.0
    assert policy.tuning.rest_minutes > 0.5
    assert policy.tuning.trials == 15
    assert "chosen on the same rest" in output
    assert "8 a minute" in output
    assert "raw argmax" in output
    svg = picture.read_text()
    assert svg.startswith("<svg")
    assert "raw argmax" in svg
    assert "control.json" in output


@pytest.mark.parametrize("command", ["tune", "evaluate", "compare"])
def test_damage_of_a_recording_of_rest_is_reported(command: str, tmp_path: Path) -> None:
    contract = Contract(
        channels=CHANNELS, sfreq=100.0, window_samples=200, hop_samples=10, classes=("left_hand", "right_hand")
    )
    bundle, cued, rest = random_bundle(tmp_path / "bundle", contract), tmp_path / "cued.xdf", tmp_path / "rest.xdf"
    record(cued, 1, n=4)
    record(rest, 2, n=4)
    rest.write_bytes(rest.read_bytes() + b"\xff" * 30)
    policies = []
    for commit in (0.6, 0.7):
        policies += ["--control", tmp_path / f"{commit}.json"]
        policies[-1].write_text(ControlPolicy(decide=Decide(commit=commit)).to_json())
    words = [
        command,
        cued,
        "--model",
        bundle,
        "--markers",
        "1=left_hand",
        "2=right_hand",
        "--at",
        "2.5",
        "--rest",
        rest,
    ]
    more = {"tune": ["--out", tmp_path / "policy.json"], "evaluate": [*policies[:2], "--out", tmp_path / "report"]}
    done = CliRunner().invoke(app, [*map(str, [*words, *more.get(command, policies)])])
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"mindwire: {rest}: The file ends in an incomplete chunk" in done.output


def test_a_policy_may_be_written_elsewhere(exported: Path, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.json"
    run(recording, "--model", exported, "--classes", "left_hand,right_hand", *REST, "--out", out)
    assert load_policy(out).tuning is not None
    assert load_bundle(exported).policy is None
    with pytest.raises(UsageError, match="would write over"):
        run(recording, "--model", exported, *REST, "--out", recording)
    other = tmp_path / "notes.json"
    other.write_text("[]")
    with pytest.raises(UsageError, match="is not a control policy"):
        run(recording, "--model", exported, *REST, "--out", other)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--budget", "1"), "--budget 1: expected a rate"),
        (("--budget", "0/min"), "--budget 0/min: expected a rate"),
        (("--rest", "nowhere.xdf"), "expected a recording, or markers"),
        (("--between", "--at", "5"), "no two trials are more than a window"),
        (("--idle", "sleep"), "--idle sleep: expected one of the classes"),
        ((), "no rest with a valid prediction"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(
    options: tuple[str, ...], says: str, exported: Path, recording: Path
) -> None:
    with pytest.raises(MindwireError, match=says) as error:
        run(recording, "--model", exported, "--markers", "left_hand=left_hand", *options)
    assert "\n" not in str(error.value)
    assert load_bundle(exported).policy is None


def test_a_recording_is_either_tuned_on_or_tested_on(exported: Path, recording: Path) -> None:
    with pytest.raises(UsageError, match="is named twice"):
        run(recording, "--test", recording, "--model", exported, *REST)


def test_a_bundle_that_cannot_be_written_is_refused_before_the_work(
    exported: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    (folder / "diary.txt").write_text("precious")
    monkeypatch.setattr("mindwire.evaluation.pseudo_online.run_recordings", lambda *_, **__: pytest.fail("it worked"))
    with pytest.raises(MindwireError, match="it holds diary"):
        run(recording, "--model", folder, *REST)
