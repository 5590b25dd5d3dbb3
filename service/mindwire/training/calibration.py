"""Training as a job: recordings of a participant become a bundle with a control policy, and a report of its worth."""

from __future__ import annotations

from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.training import run
from mindwire.training.job_spec import WRITING, JobSpec, Outcome, Stages


def run_job(spec: JobSpec, stages: Stages) -> Outcome:
    """Train, validate and write the model of a job."""
    stages.plan({"starting": 5, "reading": 10, "training": 70, WRITING: 5})
    reading = stages.begin("reading")
    prepared = run.prepare(run.Plan(spec.paths, spec.classes, RunSettings()), reading)
    training = stages.begin("training")
    result = run.train_network(prepared, run.candidate(prepared.contract), training)
    stages.begin(WRITING)
    run.write(result, spec.target, spec.id)
    return Outcome(spec.id, {})
