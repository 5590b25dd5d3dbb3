"""Training as a job: recordings of a participant become a bundle with a control policy, and a report of its worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mindwire.errors import ArgumentError, UsageError
from mindwire.evaluation.idle import idle_class
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.evaluation.scores import EvaluatedRun, score_runs
from mindwire.evaluation.tuning import TunedPolicy, tune
from mindwire.live.warm_start import NoDecoder
from mindwire.pipeline import Pipeline
from mindwire.sources.recording import open_recording
from mindwire.sources.vocabulary import REST_BEGIN, REST_END
from mindwire.training import run
from mindwire.training.contract import make_contract
from mindwire.training.control import control_task, held_out_runs, rest_runs
from mindwire.training.held_out import Execution
from mindwire.training.job_spec import WRITING, JobSpec, Outcome, Stages
from mindwire.training.learning_curve import learning_curve
from mindwire.training.report import POOR, Findings, make_report
from mindwire.training.run import Result

_FOLDS = 5  # at most, so that the time grows with the recordings, not with their square
_DEAD_SHARE, _MOST_DEAD = 0.5, 1 / 3
_NO_WINDOW = 2**31  # samples between two windows: none falls due
_SHARES = {"starting": 10, "reading": 8, "training": 50, "validating": 14, "advising": 4, WRITING: 14}


def run_job(spec: JobSpec, stages: Stages) -> Outcome:
    """Train both decoders, choose, tune and write the model of a job.

    :func:`mindwire.training.run.train_best` chooses.
    """
    stages.plan(_SHARES)
    stages.begin("starting")
    folds = None if len(spec.recordings) == 1 else min(_FOLDS, len(spec.recordings))
    reading = stages.begin("reading")
    settings = RunSettings()
    good, dead = _electrodes(spec, settings)
    terms = {"pick": good} if dead else {}
    prepared = run.prepare(run.Plan(spec.paths, spec.classes, settings, terms=terms, n_folds=folds), reading)
    result = run.train_best(prepared, run.candidate(prepared.contract), stages.begin("training"))
    stages.begin("validating")
    execution = Execution(prepared.settings, check="skip")
    runs = held_out_runs(result, execution)
    contract = prepared.contract
    overall, _ = score_runs(runs, contract, contract.classes, prepared.span.decided_at)
    tuned = _tuned(result, runs, [Path(path) for path in spec.rest], spec.budget, execution)
    stages.begin("advising")
    findings = Findings(
        over_time=overall.curve,
        curve=learning_curve(prepared.data),
        tuned=tuned,
        has_rest=bool(spec.rest) or idle_class(None, contract.classes) is not None,
        dead=dead,
        left_out=spec.left_out,
    )
    report = make_report(result, findings)
    stages.begin(WRITING)
    run.write(result, spec.target, spec.id, None if tuned is None else tuned.policy)
    return Outcome(spec.id, report, acceptable=report["verdict"]["level"] != POOR)


def _electrodes(spec: JobSpec, settings: RunSettings) -> tuple[list[str], list[str]]:
    """Return the electrodes of the newest recording that give a signal, and those that are bad for half of a recording or more.

    An electrode without contact would leave no valid window, or have to be interpolated live as well. Where more than a
    third are bad, all are kept: something else is wrong then, and the windows' reasons say what.
    """
    recordings = [open_recording(path) for path in spec.paths]
    contract = make_contract(None, recordings[0].signal(settings.stream).info, spec.classes)
    bad: set[str] = set()
    for recording in recordings:
        signal = recording.signal(settings.stream)
        once = replace(settings.pipeline, hop_samples=_NO_WINDOW)
        pipeline = Pipeline(contract, signal.info, NoDecoder(len(spec.classes)), once)
        for chunk in signal.chunks():
            pipeline.advance(chunk)
        shares = pipeline.conditioner.meter.bad_shares()
        bad |= {label for label, share in shares.items() if share >= _DEAD_SHARE}
    if len(bad) > _MOST_DEAD * contract.n_channels:
        return list(contract.channels), []
    return [name for name in contract.channels if name not in bad], sorted(bad)


def _tuned(
    result: Result, runs: list[EvaluatedRun], rest: list[Path], budget: float, execution: Execution
) -> TunedPolicy | None:
    """Tune a policy where rest was recorded: between markers, or as trials of a class."""
    idle = idle_class(None, result.prepared.contract.classes)
    if not rest and idle is None:
        return None
    task = control_task(result, idle)
    # The newest windows hold imagery for that long after it has ended: a decision on them is right.
    task = replace(task, trial_s=task.trial_s + result.prepared.span.slide)
    try:
        every, times = rest_runs(result, rest, (REST_BEGIN, REST_END), runs, execution)
        return tune(times.control_runs(every, (), task), task, budget_per_minute=budget)
    except (ArgumentError, UsageError):  # no class leads, no prediction at rest is valid, or rest has no end
        return None
