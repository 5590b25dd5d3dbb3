"""Fine-tuning of a model between runs, from all recordings of a person, with a gate before it is used.

All that the person has recorded is used, on top of the model in use (Wimpff et al. 2025, "Fine-tuning strategies for continual online
EEG motor imagery decoding"); :func:`mindwire.training.fine_tuning.tuner` says how. Contract and classes stay, so that the result can
take the place of the model in use while a stream runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mindwire.errors import ArgumentError, ContractError, RecordingError, UsageError
from mindwire.evaluation.known_recordings import check_distinct, trained_on
from mindwire.evaluation.pseudo_online import Progress, RunSettings, as_in_training
from mindwire.evaluation.tables import TextTable
from mindwire.sources.recording import open_recording
from mindwire.training.data import SLIDE, TrialSpan, collect_trials, open_trials
from mindwire.training.fine_tuning import RunTrials, Update, tuner, update
from mindwire.training.gate import Gate
from mindwire.training.held_out import occurring_markers
from mindwire.training.job_spec import WRITING, JobSpec, Outcome, Stages
from mindwire.training.run import candidate
from mindwire.training.transfer import with_lineage
from mindwire_models.bundle import Bundle, load_bundle, load_module, without_network
from mindwire_models.bundle_checks import decoder_of
from mindwire_models.training_record import TrainedRecording, TrainedSource, TrainingRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """Model in use, runs of this session, and recordings of the person's earlier sessions; ``decided_at`` is in seconds since the cue."""

    base: Bundle
    session: Sequence[Path]
    past: Sequence[Path] = ()
    settings: RunSettings = field(default_factory=RunSettings)
    decided_at: float | None = None
    seed: int = 0


class LeftOut(BaseModel, frozen=True):
    """Recording that could not be trained on, and why, in a sentence."""

    recording: str
    problem: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Conditioned recordings, those of the past where they are needed, and what was left out; ``retrain`` is that of :func:`tuner`."""

    plan: Plan
    past: Sequence[RunTrials]
    session: Sequence[RunTrials]
    retrain: bool
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True, slots=True)
class Improvement:
    """An update of a bundle, and what it was made of."""

    prepared: Prepared
    update: Update

    @property
    def runs(self) -> list[RunTrials]:
        """Recordings that were trained on."""
        return [*self.prepared.past, *self.prepared.session]

    @property
    def report(self) -> dict[str, Any]:
        """The report of a job: gate, counts per run, base, and the recordings; JSON-serialisable."""
        prepared, base = self.prepared, self.prepared.plan.base
        return {
            "gate": self.update.gate.model_dump(),
            "per_run": [one.model_dump() for one in self.update.per_run],
            "base": {"name": base.name, "sha256": base.sha256},
            "past": [run.source.path.name for run in prepared.past],
            "session": [run.source.path.name for run in prepared.session],
            "left_out": [one.model_dump() for one in prepared.left_out],
        }


def prepare(plan: Plan, progress: Progress | None = None) -> Prepared:
    """Condition the recordings of a plan; progress counts them. Those that cannot be trained on are left out.

    Raises
    ------
    UsageError
        A recording is named twice, or the model in use is a decoder from outside, which has no network.
    RecordingError
        No run of this session has a trial to train on.
    """
    if decoder_of(plan.base.config, plan.base.path) == "external":
        raise UsageError(without_network(plan.base, "an improvement"))
    paths = [*plan.past, *plan.session]
    hashes = check_distinct(paths)
    known = set(trained_on(plan.base, paths, hashes))
    retrain = _can_retrain(plan.base, hashes.values())
    # Earlier sessions are in the weights of a model that was trained on all of them.
    past = [] if known.issuperset(plan.past) and not retrain else plan.past
    found: dict[Path, RunTrials] = {}
    left_out: list[LeftOut] = []
    for index, path in enumerate((*past, *plan.session)):
        try:
            found[path] = _condition(plan, path, hashes, known=path in known)
        except (RecordingError, ContractError) as error:
            left_out.append(LeftOut(recording=path.name, problem=str(error)))
        if progress is not None:
            progress(index + 1, len(past) + len(plan.session))
    earlier, session = ([found[path] for path in some if path in found] for some in (past, plan.session))
    if not session:
        raise RecordingError(left_out[-1].problem)
    return Prepared(plan, earlier, session, retrain, left_out)


def improve(prepared: Prepared, progress: Progress | None = None) -> Improvement:
    """Fine-tune a model on this session's runs, and compare it with the model in use; progress counts trainings.

    Raises
    ------
    ArgumentError
        The model in use was trained on every run of this session, or there are too few trials.
    """
    base = load_module(prepared.plan.base)
    tune = tuner(base, prepared.past, retrain=prepared.retrain, seed=prepared.plan.seed)
    return Improvement(prepared, update(base, prepared.session, tune, progress))


def run_job(spec: JobSpec, stages: Stages) -> Outcome:
    """Improve the model of a job with the participant's newest session; the model is kept if the gate accepts it.

    Raises
    ------
    UsageError
        No model is named.
    MindwireError
        As of :func:`prepare` and :func:`improve`.
    """
    if spec.base is None:
        msg = "An improvement begins from a model; name it as 'base'."
        raise UsageError(msg)
    stages.plan({"starting": 5, "reading": 2 * len(spec.paths), "training": 30, WRITING: 5})
    newest = max(path.parent for path in spec.paths)
    session = sorted(path for path in spec.paths if path.parent == newest)
    past = sorted(path for path in spec.paths if path.parent != newest)
    plan = Plan(load_bundle(Path(spec.base)), session, past)
    prepared = prepare(plan, stages.begin("reading"))
    found = improve(prepared, stages.begin("training"))
    stages.begin(WRITING)
    accepted = found.update.gate.accepted
    if accepted:
        write(found, spec.target, spec.id)
    return Outcome(spec.id if accepted else None, found.report, acceptable=accepted)


def _can_retrain(base: Bundle, hashes: Iterable[str]) -> bool:
    """Return true for a network that can be trained from the tangent space, with all recordings that it was trained on at hand."""
    if base.training is None or decoder_of(base.config, base.path) == "tangent_space":
        return False
    recipe = candidate(base.contract).recipe
    there = set(hashes)
    return recipe.initialisation == "tangent_space" and there.issuperset(one.sha256 for one in base.training.recordings)


def _condition(plan: Plan, path: Path, hashes: Mapping[Path, str], *, known: bool) -> RunTrials:
    """Run a recording through the model's causal pipeline and keep the windows of its trials."""
    contract = plan.base.contract
    # runs of one person may be labelled in different ways
    settings = replace(plan.settings, markers=occurring_markers(plan.settings, path))
    settings, decided_at, _ = as_in_training(settings, plan.decided_at, plan.base, [path])
    recordings, trials, end = open_trials([path], contract.classes, settings)
    training = plan.base.training
    if training is None:
        span = TrialSpan(0.0, end.seconds, decided_at, SLIDE * contract.window_samples / contract.sfreq)
    else:
        span = TrialSpan(training.offset_s, training.length_s, decided_at, training.slide_s)
    data, (source,) = collect_trials(recordings, trials, contract, span, settings=settings, hashes=hashes)
    return RunTrials(source, data, span, known)


def write(improvement: Improvement, out: Path, name: str) -> Bundle:
    """Write an accepted model as a bundle, with the control policy of the model in use and its lineage.

    An ArgumentError says that it was not accepted.
    """
    from mindwire_models.export import export_bundle

    base, done = improvement.prepared.plan.base, improvement.update
    if done.module is None:
        raise ArgumentError(sentence(done.gate))
    return export_bundle(
        done.module,
        base.contract.model_copy(update={"temperature": done.temperature}),
        out,
        name=name,
        provenance=_provenance(improvement),
        training=_record(improvement),
        policy=base.policy,
    )


def _record(improvement: Improvement) -> TrainingRecord:
    """Return the record of the training: that of the model in use, with the recordings that came to it."""
    plan = improvement.prepared.plan
    before = plan.base.training or _first_record(plan, improvement.runs[-1])
    used = tuple(TrainedRecording(file=run.source.path.name, sha256=run.source.sha256) for run in improvement.runs)
    return with_lineage(before.model_copy(update={"recordings": used}), plan.base)


def _first_record(plan: Plan, run: RunTrials) -> TrainingRecord:
    """Return the record of a model that was only exported, as the newest run was read."""
    settings, info = plan.settings, open_recording(run.source.path).signal(plan.settings.stream).info
    source = TrainedSource(
        n_channels=info.n_channels,
        labels=info.labels,
        units=info.units,
        channels=settings.pipeline.channels,
        unit=settings.pipeline.unit,
    )
    return TrainingRecord(
        recordings=(),
        source=source,
        markers=dict(settings.markers),
        marker_stream=settings.marker_stream,
        offset_s=run.span.offset,
        length_s=run.span.length,
        slide_s=run.span.slide,
        decided_at_s=run.span.decided_at,
    )


def run_table(improvement: Improvement) -> TextTable:
    """Return the trials that both models decided right, a row per new run."""
    rows = [
        [one.recording, f"{one.candidate_right}/{one.trials}", f"{one.base_right}/{one.trials}"]
        for one in improvement.update.per_run
    ]
    return TextTable(["recording", "fine-tuned", "in use"], rows)


def sentence(gate: Gate) -> str:
    """Return what the gate found, in words."""
    counts = (
        f"of {gate.trials} trials that neither was trained on, the fine-tuned model decides {gate.candidate_right} right and the model in "
        f"use {gate.base_right} (McNemar's p {gate.p:.2g}); loss {gate.candidate_loss:.3f} and {gate.base_loss:.3f} nats."
    )
    if gate.accepted:
        return f"Accepted: {counts}"
    return f"Rejected ({', '.join(code.replace('_', ' ') for code in gate.codes)}): {counts}"


def _provenance(improvement: Improvement) -> str:
    """Return the part of the model card on the model's origin, in Markdown."""
    prepared, base = improvement.prepared, improvement.prepared.plan.base
    if prepared.retrain:
        how = (
            f"Trained afresh from the tangent space of all these recordings, in place of {base.name} (`{base.sha256}`)."
        )
    else:
        first = "first on the earlier sessions together, then " if prepared.past else ""
        how = f"Fine-tuned from {base.name} (`{base.sha256}`), {first}on this session's runs."
    rows = [
        [run.source.path.name, f"{run.source.n_usable} of {run.source.n_cued}", f"`{run.source.sha256}`"]
        for run in improvement.runs
    ]
    return "\n".join(
        [
            sentence(improvement.update.gate),
            "",
            how,
            "",
            *TextTable(["recording", "trials used", "SHA-256"], rows).markdown(),
        ]
    )
