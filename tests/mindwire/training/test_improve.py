"""Fine-tuning between runs: what is trained on, what is held out, and the gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ArgumentError
from mindwire.training.data import RecordedTrials, RecordingSource, TrialSpan
from mindwire.training.fine_tuning import RunTrials, Tuning, logits, update
from mindwire.training.gate import judge
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.training.trials import TrialWindows
from tests.support.calibration_recordings import record

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

from mindwire_models.network.ensemble import Ensemble
from mindwire_models.network.riemann import TangentSpaceNetwork, fit_tangent_space
from mindwire_models.training.fit import CALIBRATION, predict_logits, scaled_arguments, train_network


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


def windows_of(run: RunTrials) -> TrialWindows:
    data = run.data
    return TrialWindows(data.windows, data.trial, data.labels[: len(data.labels) - 1])


@pytest.fixture(scope="module")
def base() -> TangentSpaceNetwork:
    data = made_run(0).data
    return fit_tangent_space(data.windows, data.labels[data.trial], 2)


class Remembering:
    """Fine-tuning that keeps the trials it was given, and changes nothing."""

    def __init__(self) -> None:
        self.given: list[TrialWindows] = []

    def __call__(self, module: TangentSpaceNetwork, trials: TrialWindows) -> TangentSpaceNetwork:
        self.given.append(trials)
        return module


def test_new_runs_are_left_out_in_turn_and_known_ones_never(base: TangentSpaceNetwork) -> None:
    runs = [made_run(1, known=True), made_run(2), made_run(3)]
    tune = Remembering()
    found = update(base, [], runs, tune)
    assert found.gate.held_out == "runs"
    assert [one.recording for one in found.per_run] == ["run-2.xdf", "run-3.xdf"]
    without_2, without_3, final = tune.given
    for given, left in ((without_2, [0, 2]), (without_3, [0, 1]), (final, [0, 1, 2])):
        assert np.array_equal(given.windows, np.concatenate([runs[i].data.windows for i in left]))
        assert np.array_equal(np.unique(given.trial), np.arange(23 * len(left)))


def test_blocks_of_a_single_new_run_are_left_out(base: TangentSpaceNetwork) -> None:
    run, tune = made_run(2), Remembering()
    found = update(base, [], [run], tune)
    assert found.gate.held_out == "blocks"
    assert found.gate.trials == 23
    assert [len(given.labels) for given in tune.given] == [18, 18, 18, 18, 20, 23]


def test_the_past_is_trained_on_first_unless_it_is_known(base: TangentSpaceNetwork) -> None:
    for known, expected in ((False, 46), (True, 18)):
        tune = Remembering()
        update(
            base,
            [made_run(4, known=known), made_run(5)] if not known else [made_run(4, known=True)],
            [made_run(6)],
            tune,
        )
        assert len(tune.given[0].labels) == expected


def test_a_session_without_a_new_run_is_refused(base: TangentSpaceNetwork) -> None:
    with pytest.raises(ArgumentError, match="trained on every run"):
        update(base, [], [made_run(1, known=True)], Remembering())


def test_fine_tuning_follows_a_person_who_has_changed(base: TangentSpaceNetwork) -> None:
    later = made_run(3, turned=True).data
    found = update(base, [], [made_run(seed, turned=True) for seed in (1, 2)], Tuning())
    assert found.gate.accepted
    ours, before = (
        (logits(one, later.deciding).argmax(axis=1) == later.labels[later.decided]).sum()
        for one in (found.module, base)
    )
    assert ours > before + 3


def test_members_of_an_ensemble_are_tuned_each_and_the_original_stays(base: TangentSpaceNetwork) -> None:
    trials = windows_of(made_run(0))
    networks = [
        train_network(trials, 2, replace(CALIBRATION, epochs=1, seed=seed), network_arguments=scaled_arguments(150))
        for seed in (0, 1)
    ]
    before = [predict_logits(network, trials.windows) for network in networks]
    tuned = Tuning()(Ensemble(networks), windows_of(made_run(1, turned=True)))
    assert isinstance(tuned, Ensemble)
    assert len(tuned.members) == 2
    assert all(np.array_equal(predict_logits(n, trials.windows), old) for n, old in zip(networks, before, strict=True))
    again = Tuning()(Ensemble(networks), windows_of(made_run(1, turned=True)))
    assert all(
        bool((a == b).all()) for a, b in zip(tuned.state_dict().values(), again.state_dict().values(), strict=True)
    )


def logits_with(right: int, n: int, sure: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    decided = np.where(np.arange(n) < right, labels, 1 - labels)
    return np.eye(2)[decided] * sure, labels


@pytest.mark.parametrize(
    ("ours", "theirs", "n", "codes"),
    [
        (26, 22, 30, ["not_worse"]),
        (28, 15, 30, ["better"]),
        (20, 26, 30, ["fewer_right", "less_certain"]),
        (12, 10, 12, ["too_few_trials"]),
        (15, 12, 30, ["at_chance"]),
    ],
)
def test_the_gate(ours: int, theirs: int, n: int, codes: list[str]) -> None:
    candidate, labels = logits_with(ours, n)
    gate = judge(candidate, logits_with(theirs, n)[0], labels, "runs")
    assert gate.codes == codes
    assert gate.accepted == (codes[0] in ("better", "not_worse"))
    assert (gate.candidate_right, gate.base_right, gate.trials) == (ours, theirs, n)


def test_the_gate_judges_certainty_apart_from_its_scale() -> None:
    candidate, labels = logits_with(26, 30, sure=0.1)
    gate = judge(candidate, logits_with(26, 30, sure=9.0)[0], labels, "blocks")
    assert gate.candidate_loss == pytest.approx(gate.base_loss, abs=1e-3)
    uncertain = candidate * np.where(np.arange(30) % 3, 1.0, 0.01)[:, None]
    assert judge(uncertain, candidate, labels, "blocks").codes == ["less_certain"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [record(folder / f"run{i}.xdf", seed=i, n=24) for i in range(4)]


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
    assert bundle.contract == trained.contract.model_copy(update={"temperature": bundle.contract.temperature})


def test_a_rejected_model_is_not_written(recordings: list[Path], trained: Bundle, tmp_path: Path) -> None:
    few = record(tmp_path / "few.xdf", seed=9, n=12)
    code, said = run_command("improve", few, "--model", trained.path, "--out", tmp_path / "second")
    assert code == 1
    assert "Rejected (too few trials" in " ".join(said.split())
    assert not (tmp_path / "second").exists()
