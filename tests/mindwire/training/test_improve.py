"""Fine-tuning between runs: what is trained on, what is held out, and the gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ArgumentError, RecordingError, UsageError
from mindwire.evaluation import known_recordings
from mindwire.evaluation.pseudo_online import file_sha256
from mindwire.training import data as data_module
from mindwire.training import improve as improvement
from mindwire.training.data import RecordedTrials, RecordingSource, TrialSpan
from mindwire.training.fine_tuning import RunTrials, logits, together, tuner, update
from mindwire.training.gate import judge
from mindwire.training.job_spec import JobSpec, Stages
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.training.trials import TrialWindows
from tests.support.calibration_recordings import record

if TYPE_CHECKING:
    from mindwire.training.fine_tuning import Module

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.ensemble import Ensemble
from mindwire_models.network.riemann import TangentSpaceNetwork, fit_tangent_space
from mindwire_models.training.fit import CALIBRATION, scaled_arguments, train_network


def made_run(seed: int, *, n: int = 24, known: bool = False, turned: bool = False) -> RunTrials:
    """Two classes that differ in the power of a channel, of another pair of channels where ``turned``; the last trial has no window."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2

    def drawn(trials: np.ndarray) -> np.ndarray:
        x = rng.standard_normal((len(trials), 4, 150))
        x[np.arange(len(trials)), 2 * labels[trials] + turned] *= 0.6
        return x.astype(np.float32)

    trial, decided = np.repeat(np.arange(n - 1), 2), np.arange(n - 1)
    data = RecordedTrials(
        drawn(trial), trial, drawn(decided), decided, labels, np.zeros(n, dtype=np.intp), {"gap": 1}, ("a", "b"), 1.5
    )
    source = RecordingSource(Path(f"run-{seed}.xdf"), f"{seed:064x}", n, n - 1, 0, (), ())
    return RunTrials(source, data, TrialSpan(0.0, 1.5, 1.5), known)


@pytest.fixture(scope="module")
def base() -> TangentSpaceNetwork:
    data = made_run(0).data
    return fit_tangent_space(data.windows, data.labels[data.trial], 2)


class Remembering:
    """Fine-tuning that keeps the trials it was given, and has one result."""

    def __init__(self, module: TangentSpaceNetwork) -> None:
        self.module = module
        self.given: list[TrialWindows] = []

    def __call__(self, trials: TrialWindows) -> TangentSpaceNetwork:
        self.given.append(trials)
        return self.module


def untrained(module: TangentSpaceNetwork) -> TangentSpaceNetwork:
    """Return a model that guesses."""
    return TangentSpaceNetwork(module.n_chans, module.n_times, module.n_outputs)


def test_new_runs_are_left_out_in_turn_and_known_ones_never(base: TangentSpaceNetwork) -> None:
    runs, tune = [made_run(1, known=True), made_run(2), made_run(3)], Remembering(base)
    found = update(untrained(base), runs, tune)
    assert found.gate.held_out == "runs"
    assert [one.recording for one in found.per_run] == ["run-2.xdf", "run-3.xdf"]
    without_2, without_3, final = tune.given
    for given, left in ((without_2, [0, 2]), (without_3, [0, 1]), (final, [0, 1, 2])):
        assert np.array_equal(given.windows, np.concatenate([runs[i].data.windows for i in left]))
        assert np.array_equal(np.unique(given.trial), np.arange(23 * len(left)))


def test_blocks_of_a_single_new_run_are_left_out(base: TangentSpaceNetwork) -> None:
    tune = Remembering(base)
    found = update(untrained(base), [made_run(2)], tune)
    assert found.gate.held_out == "blocks"
    assert found.gate.trials == 23
    assert [len(given.labels) for given in tune.given] == [18, 18, 18, 18, 20, 23]


def test_a_rejected_model_is_not_made(base: TangentSpaceNetwork) -> None:
    tune = Remembering(base)
    found = update(base, [made_run(2, n=12)], tune)
    assert found.module is None
    assert len(tune.given) == 5


def test_a_session_without_a_new_run_is_refused(base: TangentSpaceNetwork) -> None:
    with pytest.raises(ArgumentError, match="trained on every run"):
        update(base, [made_run(1, known=True)], Remembering(base))


def test_too_few_trials_to_hold_some_out_are_a_sentence(base: TangentSpaceNetwork) -> None:
    with pytest.raises(ArgumentError, match="too few to hold some out and train on the others; record another run"):
        update(base, [made_run(2, n=2)], Remembering(base))
    run = made_run(2)
    none = replace(run.data, deciding=run.data.deciding[:0], decided=run.data.decided[:0])
    with pytest.raises(ArgumentError, match="No trial of the new runs has a valid window at the moment"):
        update(base, [replace(run, data=none)], Remembering(base))
    assert update(base, [made_run(2, n=4)], Remembering(base)).gate.codes[0] == "too_few_trials"


def n_right(module: Module, run: RunTrials) -> int:
    data = run.data
    return int((logits(module, data.deciding).argmax(axis=1) == data.labels[data.decided]).sum())


@pytest.fixture(scope="module")
def network() -> AttentionBaseNet:
    recipe = replace(CALIBRATION, epochs=2)
    return train_network(together([made_run(0)]), 2, recipe, network_arguments=scaled_arguments(150))


def test_a_person_who_has_changed_is_followed(base: TangentSpaceNetwork, network: AttentionBaseNet) -> None:
    runs = [made_run(seed, turned=True) for seed in (1, 2)]
    later = made_run(3, turned=True)
    for module, past, retrain in ((base, [], False), (network, [made_run(0)], True)):
        tune = tuner(module, past, retrain=retrain)
        found = update(module, runs, tune)
        assert found.gate.accepted
        assert n_right(found.module, later) > n_right(module, later)
        assert all(
            bool((a == b).all())
            for a, b in zip(tune(together(runs)).state_dict().values(), found.module.state_dict().values(), strict=True)
        )


def test_the_past_comes_first(base: TangentSpaceNetwork) -> None:
    session, past = together([made_run(6)]), [made_run(4, turned=True), made_run(5, turned=True)]
    later = made_run(3, turned=True)
    assert n_right(tuner(base, past, retrain=False)(session), later) > n_right(
        tuner(base, [], retrain=False)(session), later
    )


def test_members_of_an_ensemble_are_tuned_each_from_their_weights(network: AttentionBaseNet) -> None:
    other = train_network(
        together([made_run(0)]), 2, replace(CALIBRATION, epochs=1, seed=1), network_arguments=scaled_arguments(150)
    )
    trials = together([made_run(1, turned=True)])
    tuned = tuner(Ensemble([network, other]), [], retrain=False)(trials)
    assert isinstance(tuned, Ensemble)
    alone = [tuner(one, [], retrain=False, seed=seed)(trials) for seed, one in enumerate((network, other))]
    assert np.allclose(logits(tuned, trials.windows), np.mean([logits(one, trials.windows) for one in alone], axis=0))
    assert not np.allclose(logits(tuned, trials.windows), logits(Ensemble([network, other]), trials.windows), atol=0.1)


def logits_with(right: int, n: int, sure: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    decided = np.where(np.arange(n) < right, labels, 1 - labels)
    return np.eye(2)[decided] * sure, labels


@pytest.mark.parametrize(
    ("ours", "theirs", "n", "codes"),
    [
        (27, 22, 30, ["more_certain"]),
        (28, 15, 30, ["better"]),
        (20, 26, 30, ["fewer_right", "not_more_certain"]),
        (12, 10, 12, ["too_few_trials"]),
        (15, 12, 30, ["at_chance"]),
        (21, 15, 30, ["not_more_certain", "at_chance"]),
        (21, 20, 30, ["not_more_certain"]),
    ],
)
def test_the_gate(ours: int, theirs: int, n: int, codes: list[str]) -> None:
    candidate, labels = logits_with(ours, n)
    gate = judge(candidate, logits_with(theirs, n)[0], labels, "runs")
    assert gate.codes == codes
    assert gate.accepted == (codes[0] in ("better", "more_certain"))
    assert (gate.candidate_right, gate.base_right, gate.trials) == (ours, theirs, n)


def test_the_gate_judges_certainty_apart_from_its_scale() -> None:
    candidate, labels = logits_with(26, 30, sure=0.1)
    gate = judge(candidate, logits_with(26, 30, sure=9.0)[0], labels, "blocks")
    assert gate.candidate_loss == pytest.approx(gate.base_loss, abs=1e-3)
    guessing = np.zeros_like(candidate)
    assert judge(candidate, candidate, labels, "blocks").codes == ["not_more_certain"]
    every, labels_of_all = logits_with(30, 30)
    assert judge(every, guessing, labels_of_all, "blocks").codes == ["better"]  # each trial gains as much as the others
    uncertain = candidate * np.where(np.arange(30) % 3, 1.0, 0.01)[:, None]
    assert judge(uncertain, candidate, labels, "blocks").codes == ["not_more_certain"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [record(folder / f"run{i}.xdf", seed=i, n=24, over=(0, 1) if i else (0, 2)) for i in range(4)]


def run_command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def trained(recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "first"
    code, said = run_command(
        "train",
        recordings[0],
        "--markers",
        "1=left",
        "2=right",
        "--window",
        "1.5",
        "--decoder",
        "riemann",
        "--folds",
        0,
        "--out",
        out,
    )
    assert code == 0, said
    return load_bundle(out)


def test_the_command_writes_a_bundle_with_its_lineage(recordings: list[Path], trained: Bundle, tmp_path: Path) -> None:
    code, said = run_command(
        "improve", *recordings[2:], "--past", *recordings[:2], "--model", trained.path, "--out", tmp_path / "second"
    )
    assert code == 0, said
    assert "Accepted: of 48 trials" in " ".join(said.split())
    bundle = load_bundle(tmp_path / "second")
    assert bundle.training is not None
    assert trained.training is not None
    assert [one.file for one in bundle.training.recordings] == [path.name for path in recordings]
    assert [one.sha256 for one in bundle.training.parents] == [trained.sha256]
    assert bundle.training.decided_at_s == trained.training.decided_at_s
    assert "first on the earlier sessions together, then on this session's" in (bundle.path / "README.md").read_text()
    assert bundle.contract == trained.contract.model_copy(update={"temperature": bundle.contract.temperature})


def test_a_network_is_trained_afresh_where_its_recordings_are_at_hand(recordings: list[Path], tmp_path: Path) -> None:
    given = ["--markers", "1=left", "2=right", "--window", "1.5", "--epochs", 3, "--folds", 0]
    code, said = run_command("train", recordings[0], *given, "--out", tmp_path / "first")
    assert code == 0, said
    base = load_bundle(tmp_path / "first")
    for past, retrain in ((recordings[:1], True), (recordings[:0], False)):
        prepared = improvement.prepare(improvement.Plan(base, recordings[2:], past))
        assert prepared.retrain == retrain
        assert [run.source.path for run in prepared.past] == past
    code, said = run_command(
        "improve", *recordings[2:], "--past", recordings[0], "--model", base.path, "--out", tmp_path / "second"
    )
    assert code == 0, said
    assert load_bundle(tmp_path / "second").config == base.config
    assert "Trained afresh from the tangent space of all" in (tmp_path / "second/README.md").read_text()


def test_what_cannot_be_trained_on_is_left_out_and_each_recording_is_hashed_once(
    recordings: list[Path], trained: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = record(tmp_path / "other.xdf", seed=5, labels=("C3", "Cz", "C4", "Oz"))
    hashed = []
    with monkeypatch.context() as patch:
        patch.setattr(known_recordings, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
        patch.setattr(data_module, "file_sha256", pytest.fail)
        prepared = improvement.prepare(improvement.Plan(trained, [recordings[2]], [other]))
    assert hashed == [other, recordings[2]]
    assert [one.recording for one in prepared.left_out] == ["other.xdf"]
    assert "Pz" in prepared.left_out[0].problem
    with pytest.raises(RecordingError, match="Pz"):
        improvement.prepare(improvement.Plan(trained, [other]))


def test_a_job_takes_the_newest_session_as_this_one(recordings: list[Path], trained: Bundle, tmp_path: Path) -> None:
    paths = []
    for day, some in (("2026-11-28", recordings[1:2]), ("2026-11-29", recordings[2:])):
        (tmp_path / "P01" / day).mkdir(parents=True)
        for number, path in enumerate(some, 1):
            paths.append(tmp_path / "P01" / day / f"run-{number:02d}.xdf")
            paths[-1].write_bytes(path.read_bytes())
    spec = JobSpec(
        "P01-2",
        "improve",
        "P01",
        str(tmp_path),
        str(tmp_path / "models"),
        str(tmp_path),
        tuple(map(str, reversed(paths))),
    )
    stages: list[str] = []
    with pytest.raises(UsageError, match="name it as 'base'"):
        improvement.run_job(spec, Stages(lambda line: None))
    outcome = improvement.run_job(
        msgspec.structs.replace(spec, base=str(trained.path)), Stages(lambda line: stages.append(line.stage))
    )
    assert outcome.acceptable
    assert load_bundle(spec.target).name == outcome.model == "P01-2"
    assert outcome.report["gate"]["accepted"]
    assert outcome.report["past"] == ["run-01.xdf"]
    assert [one["recording"] for one in outcome.report["per_run"]] == ["run-01.xdf", "run-02.xdf"]
    assert list(dict.fromkeys(stages)) == ["reading", "training", "writing"]
    json.dumps(outcome.report)


def test_a_rejected_model_is_not_written(recordings: list[Path], trained: Bundle, tmp_path: Path) -> None:
    few = record(tmp_path / "few.xdf", seed=9, n=12)
    code, said = run_command("improve", few, "--model", trained.path, "--out", tmp_path / "second")
    assert code == 1
    assert "Rejected (too few trials" in " ".join(said.split())
    assert not (tmp_path / "second").exists()
