"""Learning over runs and days: what is computed, that it is kept, and how it is served."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.offline.recorded_run import RecordedSamples
from mindwire.offline.trials import trials_from_markers
from mindwire.sessions.document import change_run, read_session
from mindwire.sessions.progress import PROGRESS, DayProgress, read_progress
from mindwire.sources.recording import open_recording
from mindwire.training import progress as learning
from tests.support.participants import HANDS, Participant

pytest.importorskip("torch")
pytest.importorskip("pyriemann")


def recorded(person: Participant, date: str, n_trials: int) -> Path:
    path = person.cued(date, n_trials)
    change_run(path.parent, int(path.stem[-2:]), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Participant:
    made = Participant(tmp_path_factory.mktemp("sessions"))
    for date, n_trials in (("2026-11-27", 20), ("2026-11-28", 20), ("2026-11-28", 10)):
        recorded(made, date, n_trials)
    learning.update_progress(made.root, made.name, HANDS)
    return made


def of_day(person: Participant, date: str) -> DayProgress:
    return read_progress(person.root / person.name / date)


def test_runs_without_a_model_are_cross_validated(person: Participant) -> None:
    (run,) = of_day(person, "2026-11-27").runs
    assert (run.basis, run.run, run.file, run.problem) == ("cross_validated", 1, "run-01.xdf", None)
    assert run.trials + run.undecided == 20
    assert run.decided_at_s == pytest.approx(4.0, abs=0.05)
    assert run.accuracy == run.right / run.trials
    assert run.accuracy > 0.7
    assert run.interval[0] < run.accuracy <= run.interval[1]
    assert run.distinctness is not None
    assert run.distinctness > 0
    assert run.latency_s is None


def test_a_day_counts_all_its_runs(person: Participant) -> None:
    found = of_day(person, "2026-11-28")
    assert [run.run for run in found.runs] == [1, 2]
    assert found.day.trials == sum(run.trials for run in found.runs)
    assert found.day.right == sum(run.right for run in found.runs)
    assert found.day.basis == "cross_validated"


def test_what_is_known_is_not_computed_again(person: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    monkeypatch.setattr(learning, "run_progress", lambda folder, run, classes: computed.append(run))
    learning.update_progress(person.root, person.name, HANDS)
    learning.update_progress(person.root, person.name, HANDS[::-1])
    assert not computed


def test_runs_with_a_model_count_what_it_decided_live(person: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = person.root / person.name / "2026-11-28"
    run = read_session(folder).runs[0]
    trials = trials_from_markers(open_recording(folder / run.file).markers(None), HANDS)
    times = np.arange(trials[0].cue - 2, trials[-1].cue + 6, 0.1)
    probabilities = np.full((len(times), 2), (0.1, 0.9), dtype=np.float32)  # right_hand, always
    probabilities[times < trials[1].cue] = np.nan
    decisions = [(trial.cue + 1.5, trial.label) for trial in trials[:5]] + [(trials[6].cue + 0.5, "left_hand")]
    live = SimpleNamespace(
        times=times,
        probabilities=probabilities,
        classes=("left_hand", "right_hand"),
        decisions=RecordedSamples(
            np.array([time for time, _ in decisions]), np.array([[label] for _, label in decisions], dtype=object)
        ),
    )
    monkeypatch.setattr(learning, "_live_run", lambda path, run, classes: live)
    found = learning.run_progress(folder, run, HANDS)
    assert found.basis == "online"
    assert found.undecided == 1
    assert found.trials == 19
    assert found.right == sum(trial.label == "right_hand" for trial in trials[1:])
    assert found.latency_s == pytest.approx(1.5)


def test_a_run_that_cannot_be_read_has_a_problem_and_no_figures(tmp_path: Path) -> None:
    person = Participant(tmp_path)
    path = recorded(person, "2026-11-29", 4)
    path.write_bytes(b"damaged")
    learning.update_progress(tmp_path, person.name, HANDS)
    (run,) = read_progress(path.parent).runs
    assert run.problem is not None
    assert run.accuracy is None


def client_of(root: Path | None) -> TestClient:
    registry = SimpleNamespace(settings=SimpleNamespace(sessions=root))
    return TestClient(create_app({}, Access(), registry=registry), base_url="http://127.0.0.1:8000")


def test_progress_is_served(person: Participant, tmp_path: Path) -> None:
    with client_of(person.root) as client:
        answer = client.get("/v1/participants/P01/progress")
        assert answer.status_code == 200
        assert [(day["date"], len(day["runs"])) for day in answer.json()["days"]] == [
            ("2026-11-27", 1),
            ("2026-11-28", 2),
        ]
        assert client.get("/v1/participants/P02/progress").status_code == 404
        assert client.get("/v1/participants/..%2Fx/progress").status_code in (404, 422)
    with client_of(None) as client:
        assert client.get("/v1/participants/P01/progress").status_code == 409


def test_damaged_progress_is_a_problem_of_that_day_alone(tmp_path: Path) -> None:
    person = Participant(tmp_path)
    for date in ("2026-11-28", "2026-11-29"):
        folder = person.cued(date, 2).parent
    (folder / PROGRESS).write_text('{"date": 5}')
    with client_of(tmp_path) as client:
        answer = client.get("/v1/participants/P01/progress").json()
    assert [day["date"] for day in answer["days"]] == ["2026-11-28"]
    assert "delete the file" in answer["problems"][0]
