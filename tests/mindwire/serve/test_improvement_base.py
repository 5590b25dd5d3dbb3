"""The model that an improvement begins from."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mindwire.api.training_routes import JobRequest
from mindwire.errors import UsageError
from mindwire.serve import training_jobs
from mindwire.serve.training_jobs import TrainingJobs
from mindwire.training.selection import Selection


def jobs_with(in_use: str) -> TrainingJobs:
    """Return the jobs of a service with the model ``first`` of the hash ``abc`` in its folder."""
    stored = SimpleNamespace(id="first", sha256="abc")
    specs = SimpleNamespace(
        models=SimpleNamespace(list=lambda: [stored]), model_path=lambda reference: Path("/models") / reference
    )
    stream = SimpleNamespace(status=lambda: SimpleNamespace(model=SimpleNamespace(sha256=in_use)))
    return TrainingJobs(specs, {"cap": stream}, None)


def test_an_improvement_begins_from_the_model_that_is_named_or_in_use() -> None:
    wanted = {"kind": "improve", "participant": "P01"}
    jobs = jobs_with("abc")
    assert jobs._base(JobRequest(**wanted, stream="cap")) == "/models/first"
    assert jobs._base(JobRequest(**wanted, stream="cap", base="second")) == "/models/second"
    assert jobs._base(JobRequest(**wanted)) is None
    assert jobs._base(JobRequest(kind="train", participant="P01", stream="cap")) is None
    with pytest.raises(UsageError, match="name the one to improve as 'base'"):
        jobs_with("other")._base(JobRequest(**wanted, stream="cap"))


def test_an_improvement_takes_the_recordings_of_the_models_classes(monkeypatch, tmp_path) -> None:
    asked = []

    def select(*given, any_electrodes):
        asked.append((*given[2:], any_electrodes))
        return Selection((), (), tuple(given[3]))

    monkeypatch.setattr(training_jobs, "select", select)
    monkeypatch.setattr(training_jobs, "wait_until_read", lambda *_: None)
    contract = SimpleNamespace(classes=("right_hand", "left_hand"))
    monkeypatch.setattr(training_jobs, "load_bundle", lambda _: SimpleNamespace(contract=contract))
    wanted = {"kind": "improve", "participant": "P01", "base": "first"}
    jobs = jobs_with("abc")
    jobs._specs.settings = SimpleNamespace(sessions=None)
    assert jobs._spec(JobRequest(**wanted), tmp_path, tmp_path).classes == ("right_hand", "left_hand")
    assert asked == [(None, ("right_hand", "left_hand"), True)]
    with pytest.raises(UsageError, match="keeps the classes of its model, here right_hand, left_hand; leave"):
        jobs._spec(JobRequest(**wanted, classes=["left_hand", "feet"]), tmp_path, tmp_path)
