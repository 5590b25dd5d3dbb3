"""``mindwire cross-validate``: nothing that is scored was trained on, and all of it as live."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app, spread_option
from mindwire.errors import ArgumentError, MindwireError, UsageError
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun
from mindwire.training import held_out
from mindwire.training import run as calibration_run
from mindwire.training.held_out_report import HeldOutReport
from mindwire_models.bundle import load_bundle
from tests.support.calibration_recordings import record

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

MARKERS = ("--markers", "1=left_hand", "2=right_hand")
SHORT = ("--recipe", "epochs=2", "--network", "n_temporal_filters=4", "--network", "ch_dim=4", "--jobs", "1")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("held-out")
    return [record(folder / f"run{seed}.xdf", seed, n=10) for seed in range(3)]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory, recordings: list[Path]) -> Path:
    """Windows of two seconds, for trials of two and a half."""
    from mindwire.sources.recording import open_recording
    from mindwire.training.contract import make_contract

    info = open_recording(recordings[0]).signal().info
    path = tmp_path_factory.mktemp("contract") / "contract.json"
    made = make_contract(None, info, ("left_hand", "right_hand"), window_s=2.0)
    path.write_text(made.model_dump_json())
    return path


def run(*arguments: object, command: str = "cross-validate") -> str:
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_each_recording_is_left_out_in_turn(recordings: list[Path], contract: Path, tmp_path: Path) -> None:
    options = ("--contract", contract, "--beside", "frozen", "--seeds", 2, "--idle", "left_hand", *SHORT)
    output = run(*recordings, *MARKERS, *options, "--out", tmp_path)
    report = HeldOutReport.model_validate_json((tmp_path / "report.json").read_text())
    assert report.evaluation == "leave_one_recording_out"
    assert report.at_s == 2.5  # the trials' end, as train decides
    assert [(one.decoder, one.seed) for one in report.decoders] == [("network", 0), ("network", 1), ("baseline", None)]
    for one in report.decoders:
        assert [run.file for run in one.runs] == [path.name for path in recordings]
        assert one.overall.n_cued == 30
        assert one.overall.n_correct >= 27
        assert one.comparison is not None
        assert one.comparison.alignment is AlignmentMode.FROZEN
        # Aligned by the other recordings, the first trials need not wait for an alignment of their own.
        assert one.comparison.overall.n_undecided <= one.overall.n_undecided
        assert one.idle is not None
    assert report.network_accuracy is not None
    assert report.network_accuracy.deviation is not None
    assert "Network over 2 seeds" in output
    assert "With alignment frozen" in output
    page = (tmp_path / "report.html").read_text()
    assert page.count("run1.xdf") > 4
    assert "Tangent-space baseline" in page
    assert page.count("Accuracy over time since the cue</h2>") == 1  # both decoders in one picture
    assert page.count('<path class="line second"') >= 2
    assert str(recordings[0].parent) not in page + (tmp_path / "report.json").read_text()


def test_another_session_is_scored_by_what_was_trained_before(
    recordings: list[Path], contract: Path, tmp_path: Path
) -> None:
    options = ("--at", 2.5, "--contract", contract, "--decoder", "riemann")
    damaged = tmp_path / recordings[2].name
    damaged.write_bytes(recordings[2].read_bytes() + b"\xff" * 30)
    output = run(damaged, "--train", *recordings[:2], *MARKERS, *options, "--out", tmp_path / "one")
    assert f"mindwire: {damaged}: The file ends in an incomplete chunk" in output
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert [source["file"] for source in report["trained_on"]] == [path.name for path in recordings[:2]]
    [decided] = report["decoders"]
    assert [run["file"] for run in decided["runs"]] == [recordings[2].name]
    assert "The tangent-space baseline decides" in output
    # The same in two commands gives the same.
    bundle = tmp_path / "bundle"
    training = ("train", *recordings[:2], *MARKERS, "--contract", contract, "--decoder", "riemann", "--at", 2.5)
    assert CliRunner().invoke(app, [str(part) for part in (*training, "--out", bundle)]).exit_code == 0
    run(recordings[2], *MARKERS, "--model", bundle, "--at", 2.5, "--out", tmp_path / "two", command="evaluate")
    other = json.loads((tmp_path / "two" / "report.json").read_text())
    assert decided["overall"] == other["overall"]


@pytest.mark.parametrize(("more", "kept"), [(0, "baseline"), (5, "baseline"), (6, "network")])
def test_the_network_is_kept_if_it_is_better_than_chance_explains(
    more: int, kept: str, recordings: list[Path], contract: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mindwire_models.contract import Contract

    settings = RunSettings(markers={"1": "left_hand", "2": "right_hand"})
    plan = calibration_run.Plan(recordings, ("left_hand", "right_hand"), settings, Contract.read(contract))
    prepared = calibration_run.prepare(plan)
    data = prepared.data
    right = np.eye(2)[data.labels[np.concatenate([data.trial, data.decided])]]
    worse = right.copy()
    worse[len(data.trial) :][:more] = 1 - worse[len(data.trial) :][:more]
    network = replace(calibration_run.train_riemann(prepared), held_out={"network": right, "baseline": worse})
    monkeypatch.setattr(calibration_run, "train_network", lambda *_: network)
    result = calibration_run.train_best(prepared, calibration_run.candidate(prepared.contract))
    assert (result is network) == (kept == "network")


def test_the_tangent_space_is_kept_where_there_are_too_few_trials_for_a_network(contract: Path, tmp_path: Path) -> None:
    few = [record(tmp_path / f"few{seed}.xdf", seed, n=4) for seed in range(2)]
    options = ("--contract", contract, "--decoder", "best", "--out", tmp_path / "few")
    output = run(*few, *MARKERS, *options, *SHORT, command="train")
    assert "There are too few trials to train a network, so this is the tangent space." in output
    assert load_bundle(tmp_path / "few").config["decoder"] == "tangent_space"


def test_a_network_that_cannot_be_is_told(recordings: list[Path], contract: Path, tmp_path: Path) -> None:
    options = ("--contract", contract, "--decoder", "best", "--out", tmp_path / "none", *SHORT)
    with pytest.raises(ArgumentError, match="attention_mode must be"):
        run(*recordings, *MARKERS, *options, "--network", "attention_mode=nosuch", command="train")


def test_the_better_decoder_is_kept(recordings: list[Path], contract: Path, tmp_path: Path) -> None:
    options = ("--contract", contract, "--decoder", "best", *SHORT)
    output = run(*recordings, *MARKERS, *options, "--out", tmp_path / "best", command="train")
    bundle = load_bundle(tmp_path / "best")
    network = "decoder" not in bundle.config
    assert ("his is the baseline" in output) == (not network)
    with pytest.raises(UsageError, match="chooses by validation, which --folds 0 leaves out"):
        run(*recordings, *MARKERS, *options, "--folds", 0, "--out", tmp_path / "none", command="train")
    with pytest.raises(UsageError, match="not between networks"):
        run(*recordings, *MARKERS, *options, "--sweep", "dropout=0,1", command="train")


def test_what_a_held_out_recording_is_labelled_changes_nothing_that_is_said_of_it(
    recordings: list[Path], contract: Path
) -> None:
    from mindwire_models.contract import Contract

    settings = RunSettings(markers={"1": "left_hand", "2": "right_hand"})
    plan = calibration_run.Plan(recordings, ("left_hand", "right_hand"), settings, Contract.read(contract))
    session = held_out.prepare(plan, None)
    prepared = session.prepared
    labels = prepared.data.labels.copy()
    first = prepared.data.recording == 0
    labels[first] = 1 - labels[first]
    other = replace(session, prepared=replace(prepared, data=replace(prepared.data, labels=labels)))
    execution = held_out.Execution(settings)
    found = [held_out.evaluate(one, None, 1, baseline=True, execution=execution)[0] for one in (session, other)]
    same, changed = ([_log_odds(one.runs[AlignmentMode.ONLINE][index]) for one in found] for index in (0, 1))
    # But for the temperature, one number that comes from the other recordings.
    factor = same[0] / same[1]
    np.testing.assert_allclose(factor, np.nanmedian(factor), rtol=0.01)
    assert np.nanstd(changed[0] / changed[1]) > 0.1


def _log_odds(run: EvaluatedRun) -> np.ndarray:
    probabilities = run.trace.probabilities[run.trace.valid]
    odds = np.log(probabilities[:, 0] / probabilities[:, 1])
    return odds + np.where(np.abs(odds) < 1e-6, np.nan, 0)


def test_all_names_up_to_the_next_option_are_trained_on() -> None:
    given = ["c", "--train", "a", "b", "--at", "4", "d"]
    assert spread_option(given, "--train") == ["c", "--train", "a", "--train", "b", "--at", "4", "d"]
    assert spread_option(["--train", "a", "--train", "b"], "--train") == ["--train", "a", "--train", "b"]
    assert spread_option(["a", "b"], "--train") == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (MARKERS, "at least two recordings, found 1"),
        ((), "at least two classes"),
        ((*MARKERS, "--train", "x.xdf"), "no such recording"),
        ((*MARKERS, "--network", "magic=1"), "'magic' is unknown"),
        (
            (*MARKERS, "--decoder", "riemann", "--seeds", "2", "--epochs", "3"),
            "no network, found --epochs, --seeds; leave",
        ),
        ((*MARKERS, "--activation", "0.7"), "found --activation; leave it out"),
        ((*MARKERS, "--beside", "online"), "--beside online is evaluated already, by --alignment"),
    ],
)
def test_wrong_usage_is_told(options: tuple[str, ...], told: str, recordings: list[Path], tmp_path: Path) -> None:
    files = recordings[:2] if "--network" in options else recordings[:1]
    with pytest.raises(UsageError, match=told):
        run(*files, *options, "--out", tmp_path)


def test_a_recording_on_both_sides_is_refused(recordings: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.xdf"
    copy.write_bytes(recordings[0].read_bytes())
    with pytest.raises(UsageError, match=r"copy\.xdf is trained on too"):
        run(copy, "--train", *recordings[:2], *MARKERS, "--out", tmp_path)


def test_trials_and_contract_have_the_options_of_train(recordings: list[Path], contract: Path, tmp_path: Path) -> None:
    trials = ("--offset", 0.25, "--length", 2, "--slide", 0.3, "--window", 2)
    output = run(*recordings, *MARKERS, *trials, "--decoder", "riemann", "--out", tmp_path)
    assert "30 of 30 trials (left_hand 15, right_hand 15) gave 120 windows of 2 s, which end 2.25 to 2.55 s" in output
    assert "A trial ends 2.25 s after its cue (as asked for) and is decided at 2.25 s." in output


def test_the_former_spellings_work_and_name_the_new_command(
    recordings: list[Path], contract: Path, tmp_path: Path
) -> None:
    options = (*MARKERS, "--contract", contract, "--decoder", "riemann", "--out", tmp_path)
    output = run(*recordings, "--leave-one-out", *options, command="evaluate")
    assert "mindwire: `evaluate --leave-one-out` is now `mindwire cross-validate`; the old spelling works in" in output
    assert json.loads((tmp_path / "report.json").read_text())["evaluation"] == "leave_one_recording_out"
    output = run(recordings[2], "--train", *recordings[:2], *options, command="evaluate")
    assert "is now `mindwire cross-validate … --train`" in output
    assert json.loads((tmp_path / "report.json").read_text())["evaluation"] == "cross_session"
    with pytest.raises(UsageError, match="--leave-one-out and --train are different evaluations"):
        run(*recordings, "--leave-one-out", "--train", recordings[0], *options, command="evaluate")
