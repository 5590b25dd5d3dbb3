"""From recordings to a bundle: folds that hold out whole recordings, honest verdicts, and the command itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.console import progress_bar
from mindwire.cli.main import app
from mindwire.control.policy import choose_policy
from mindwire.errors import ArgumentError, MindwireError, UsageError
from mindwire.evaluation.pseudo_online import file_sha256
from mindwire.training import fit as calibration
from mindwire.training import run as calibration_run
from mindwire.training.card import verdict
from mindwire.training.data import RecordedTrials, TrialSpan
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Butterworth, Contract, Filters
from mindwire_models.errors import BundleError
from mindwire_models.parallel import Parallel
from tests.support.calibration_recordings import CHANNELS, SFREQ, record

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

from mindwire_models.training.fit import CALIBRATION, Recipe


def made_trials(n: int = 24, n_recordings: int = 3, windows: int = 2, seed: int = 0) -> RecordedTrials:
    """Two classes that differ in the power of a channel; the last trial has no window of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    trial = np.repeat(np.arange(n - 1), windows)

    def drawn(trials: np.ndarray) -> np.ndarray:
        x = rng.standard_normal((len(trials), 4, 150))
        x[np.arange(len(trials)), 2 * labels[trials]] *= 0.4
        return x.astype(np.float32)

    decided = np.arange(n - 1)
    recording = np.arange(n) * n_recordings // n
    return RecordedTrials(drawn(trial), trial, drawn(decided), decided, labels, recording, {"gap": 1}, ("a", "b"), 1.5)


def test_folds_hold_out_whole_recordings() -> None:
    data = made_trials()
    folds = calibration.make_folds(data)
    assert [np.unique(data.recording[fold]).tolist() for fold in folds] == [[0], [1], [2]]
    for fold in calibration.make_folds(data, 2):
        assert not set(data.recording[fold]) & set(np.delete(data.recording, fold))


def test_a_single_recording_is_held_out_in_stretches() -> None:
    folds = calibration.make_folds(made_trials(n_recordings=1))
    assert len(folds) == 5
    assert all((np.diff(fold) == 1).all() for fold in folds)


def test_folds_that_leave_a_class_unlearnt_are_refused() -> None:
    data = made_trials()
    alone = replace(data, labels=np.where(data.recording == 2, 1, 0))
    with pytest.raises(ArgumentError, match="one recording alone"):
        calibration.make_folds(alone)
    with pytest.raises(ArgumentError, match="2 to 3 folds with 3 recordings, found 4"):
        calibration.make_folds(data, 4)


def test_what_is_scored_was_held_out_and_members_decide_together() -> None:
    data = made_trials()
    folds = calibration.make_folds(data)
    candidate = calibration.Candidate(
        replace(CALIBRATION, epochs=2), {"ch_dim": 8, "pool_length": 6, "pool_stride": 6}, members=2
    )
    fitted = calibration.train_candidates(data, [candidate], folds, parallel=Parallel())[0]
    assert len(fitted.networks) == 2
    assert fitted.held_out is not None
    validation = calibration.validate(data, fitted.held_out)
    assert (validation.overall.n_trials, validation.overall.n_cued, validation.overall.n_undecided) == (23, 24, 1)
    assert sum(score.n_correct for score in validation.recordings) == validation.overall.n_correct
    assert validation.overall.n_correct >= 20
    # A label changed in a held-out recording changes nothing that is said of that recording.
    labels = data.labels.copy()
    labels[folds[0][:4]] = 1 - labels[folds[0][:4]]
    other = calibration.baseline_logits(replace(data, labels=labels), folds)
    baseline = calibration.baseline_logits(data, folds)
    first = np.isin(np.concatenate([data.trial, data.decided]), folds[0])
    np.testing.assert_array_equal(other[first], baseline[first])
    assert not np.array_equal(other[~first], baseline[~first])


def test_the_verdict_says_plainly_which_is_better() -> None:
    data = made_trials()
    n_windows = len(data.trial)
    right = np.eye(2)[data.labels[np.concatenate([data.trial, data.decided])]] * 4
    wrong_once = right.copy()
    wrong_once[n_windows] = wrong_once[n_windows, ::-1]
    best, second = (calibration.validate(data, held_out).overall for held_out in (right, wrong_once))
    better = verdict({"network": best, "baseline": second})
    assert better.startswith("The network decides 23 of 23 held-out trials right (100%")
    assert "only equals the baseline" in verdict({"network": best, "baseline": best})
    worse = verdict({"network": second, "baseline": best})
    assert "does not beat the baseline: it decides 22 of 23" in worse
    assert "To have the baseline, train again with --decoder riemann, or best to have the better one." in worse
    assert "the difference may be chance, so this is the baseline." in verdict(
        {"network": best, "baseline": second}, "baseline"
    )
    assert "not validated" in verdict({})
    # 12 of 23 trials are of the more frequent class.
    assert worse.endswith(
        "Guessing gives 52% (95 % within 30% to 74%); the network and the baseline are better than that."
    )
    guessed = np.concatenate([right[:n_windows], np.tile([4.0, 0.0], (23, 1))])
    baseline = calibration.validate(data, guessed).overall
    assert verdict({"baseline": baseline}).endswith("; nothing here is better than that.")


def test_training_begins_at_the_tangent_space_where_only_rhythms_are_left() -> None:
    contract = Contract(channels=CHANNELS, sfreq=SFREQ, window_samples=200, hop_samples=4, classes=("a", "b"))
    rhythms = contract.model_copy(update={"filters": Filters(highpass=Butterworth(order=2, freq=8.0))})
    slow = contract.model_copy(update={"filters": Filters(highpass=Butterworth(order=2, freq=0.5))})
    assert calibration_run.candidate(rhythms).recipe == CALIBRATION
    for broad in (contract, slow):
        chosen = calibration_run.candidate(broad)
        assert (chosen.recipe, dict(chosen.network_arguments)) == (Recipe(), {})
        assert calibration_run.candidate(broad, "tangent_space").recipe == CALIBRATION
    assert calibration_run.candidate(rhythms, "random").recipe == Recipe()


def test_a_trial_cannot_end_before_it_begins() -> None:
    with pytest.raises(ArgumentError, match="its length and moment of decision above 0"):
        TrialSpan(0.0, 0.0, 4.0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [record(folder / f"run{seed}.xdf", seed) for seed in range(3)]


def run(command: str, *arguments: object) -> str:
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


UNDECIDED = "bundle has no control policy, so it gives probabilities and no decisions; `mindwire tune` writes one."
CHOICES = ("--markers", "1=left_hand", "2=right_hand", "--window", "2")


@pytest.mark.parametrize("decoder", ["network", "riemann"])
def test_recordings_become_a_bundle_that_decides_another_recording(
    decoder: str, recordings: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    network = ("attention_mode=se", "n_temporal_filters=4", "ch_dim=4")
    options = ("--epochs", 5, "--jobs", 1, *(part for one in network for part in ("--network", one)))
    if decoder == "riemann":
        with pytest.raises(UsageError, match="trains no network, found --network, --epochs, --jobs; leave them out"):
            run("train", *recordings[:2], *CHOICES, *options, "--decoder", "riemann", "--out", out)
        options = ("--decoder", "riemann")
    output = run("train", *recordings[:2], *CHOICES, *options, "--out", out)
    assert "32 of 32 trials (left_hand 16, right_hand 16)" in output
    assert "windows of 2 s, which end 2 to 2.5 s after the cue; 4 channels at 100 Hz." in output
    assert "A trial ends 2.5 s after its cue (by '9') and is decided at 2.5 s." in output
    assert output.endswith(UNDECIDED)
    bundle = load_bundle(out)
    assert bundle.contract.classes == ("left_hand", "right_hand")
    assert bundle.contract.channels == CHANNELS
    assert bundle.contract.temperature != 1
    card = (out / "README.md").read_text()
    for recording in recordings[:2]:
        assert file_sha256(recording) in card
    assert "Cross-validated in 2 folds that hold out whole recordings" in card
    assert ("initialisation tangent_space" in card) == (decoder == "network")
    evaluation = ("evaluate", recordings[2], "--model", out, "--at", 2.5, "--out", tmp_path / "report")
    if decoder == "network":
        assert "attention.png" in run(*evaluation, "--views")
        assert (tmp_path / "report" / "report.html").read_text().count("data:image/png;base64,iVBOR") == 3
    else:
        run(*evaluation)
        with pytest.raises(UsageError, match="filters of one AttentionBaseNet; bundle is another decoder"):
            run(*evaluation, "--views")
        assert "No table of layers" in run("inspect", out)
    for file in ("report.json", "report.html"):
        assert str(recordings[2].parent) not in (tmp_path / "report" / file).read_text()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["overall"]["n_trials"] == 16
    assert report["overall"]["n_correct"] >= 15


def test_a_class_at_rest_gives_the_bundle_a_control_policy_tuned_on_held_out_recordings(
    recordings: list[Path], tmp_path: Path
) -> None:
    out, choices = tmp_path / "bundle", ("--markers", "1=left_hand", "2=idle", "--window", "2", "--decoder", "riemann")
    output = run("train", *recordings, *choices, "--budget", "3/min", "--out", out)
    policy = choose_policy(load_bundle(out))
    assert policy is not None
    assert policy.tuning is not None
    assert (policy.idle, policy.tuning.budget_per_minute, policy.tuning.trials) == ("idle", 3.0, 24)
    assert policy.tuning.rest_minutes == pytest.approx(24 * 2.5 / 60, rel=0.1)
    assert "Control policy: " in output
    assert "each recording left out in turn" in output
    assert UNDECIDED not in output
    output = run("train", *recordings[:2], *choices, "--budget", "none", "--out", out)
    assert "No control policy was tuned" not in output
    assert output.endswith(UNDECIDED)
    assert load_bundle(out).policy is None


@pytest.mark.parametrize(
    ("n", "options", "why"),
    [(2, ("--folds", 0), "--folds 0 leaves validation out"), (1, (), "there is one recording alone")],
)
def test_without_a_recording_held_out_there_is_no_control_policy(
    n: int, options: tuple[object, ...], why: str, recordings: list[Path], tmp_path: Path
) -> None:
    choices = ("--markers", "1=left_hand", "2=idle", "--window", "2", "--decoder", "riemann", *options)
    assert f"No control policy was tuned: that takes recordings that a model was not trained on, and {why}" in run(
        "train", *recordings[:n], *choices, "--out", tmp_path / "bundle"
    )
    assert load_bundle(tmp_path / "bundle").policy is None


def test_a_budget_needs_a_class_at_rest(recordings: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="where a class is called idle, rest or nothing, found --budget"):
        run("train", recordings[0], *CHOICES, "--budget", "1/min", "--out", tmp_path / "bundle")


def test_damage_of_a_recording_is_reported_although_it_trains(recordings: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.xdf"
    damaged.write_bytes(recordings[0].read_bytes() + b"\xff" * 30)
    output = run("train", damaged, *CHOICES, "--decoder", "riemann", "--folds", 0, "--out", tmp_path / "bundle")
    assert f"mindwire: {damaged}: The file ends in an incomplete chunk" in output


def test_a_sweep_validates_and_writes_no_bundle(recordings: list[Path], tmp_path: Path) -> None:
    sweep = ("--sweep", "attention_mode=none,se", "--seeds", 2, "--epochs", 1, "--jobs", 1)
    output = run("train", *recordings[:2], *CHOICES, *sweep)
    assert "2 folds, 2 seeds, decided 2.5 s after the cue" in output
    for row in ("attention_mode=None", "attention_mode=se", "tangent-space baseline"):
        assert row in output
    for options, told in (
        (("--out", tmp_path / "bundle"), "--sweep writes no bundle, found --out; leave it out"),
        (("--folds", 0), "--sweep compares by validation, which --folds 0 leaves out, found --folds"),
    ):
        with pytest.raises(UsageError, match=told):
            run("train", *recordings[:2], *CHOICES, *sweep, *options)
    with pytest.raises(UsageError, match="compared in a --sweep, found --seeds"):
        run("train", *recordings[:2], *CHOICES, "--seeds", 2, "--out", tmp_path / "bundle")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--markers", "1=left_hand"), "at least two classes"),
        ((*CHOICES, "--recipe", "learning_rat=1"), "'learning_rat' is unknown; known are epochs"),
        ((*CHOICES, "--recipe", "epochs=many"), "epochs expects a value like"),
        ((*CHOICES, "--network", "attention=se"), "'attention' is unknown"),
        (("--markers", "left_hand", "right_hand"), "LABEL=CLASS such as 2=left_hand, found 'left_hand'"),
        (("--markers", "left_hand=1", "right_hand=2"), r"no marker 'left_hand'.* exchanged\? Write 1=left_hand"),
        ((*CHOICES, "--preset", "bcic2a", "--contract", "c.json"), "both give a contract"),
    ],
)
def test_wrong_options_are_refused_with_what_is_known(
    options: tuple[str, ...], told: str, recordings: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        run("train", recordings[0], *options, "--out", tmp_path / "bundle")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("precious", "precious exists and is not a Mindwire bundle: it holds diary.txt"),
        ("precious/diary.txt", "it is a file"),
        ("precious/diary.txt/model", "nothing can be written there, for .*diary.txt is a file"),
    ],
)
@pytest.mark.parametrize("command", ["train", "export"])
def test_a_folder_that_is_taken_is_refused_before_the_work(
    command: str, name: str, told: str, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        pytest.fail("The work has begun.")

    monkeypatch.setattr(calibration_run, "prepare", worked)
    monkeypatch.setattr("mindwire_models.source.open_source", worked)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "diary.txt").write_text("mine")
    given = (recordings[0], *CHOICES) if command == "train" else (tmp_path / "weights.ckpt", "--preset", "bcic2a")
    with pytest.raises(BundleError, match=told):
        run(command, *given, "--out", tmp_path / name)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["diary.txt"]


def test_progress_moves_at_once_and_has_a_share_from_the_first_step_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with progress_bar("Training") as progress:
        assert progress is not None
        progress(0, 100)
    shown = capsys.readouterr().err
    assert "Training" in shown
    assert "0%" not in shown
    with progress_bar("Training") as progress:
        assert progress is not None
        progress(40, 100)
    assert "40%" in capsys.readouterr().err
