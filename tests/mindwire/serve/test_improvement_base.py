"""The model that an improvement begins from."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mindwire.api.training_routes import JobRequest
from mindwire.errors import UsageError
from mindwire.serve.training_jobs import TrainingJobs


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
