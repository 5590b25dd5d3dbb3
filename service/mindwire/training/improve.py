"""Fine-tuning of a model between runs, from all recordings of a person, with a gate before it is used.

The model in use is trained on from its own weights: first on all earlier sessions together, unless it was trained on them,
then on the runs of this session (Wimpff et al. 2025: joint, then sequential). Contract and classes stay, so that it can take the
place of the model in use while a stream runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mindwire.evaluation.known_recordings import check_distinct, trained_on
from mindwire.evaluation.pseudo_online import Progress, RunSettings, as_in_training
from mindwire.evaluation.tables import TextTable
from mindwire.offline.trials import match_labels
from mindwire.sources.recording import open_recording
from mindwire.training.data import SLIDE, TrialSpan, collect_trials, open_trials
from mindwire.training.fine_tuning import RunTrials, Tuning, Update, update
from mindwire.training.gate import Gate
from mindwire_models.bundle import Bundle
from mindwire_models.training_record import TrainedParent, TrainedRecording, TrainedSource, TrainingRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """Model in use, runs of this session, and recordings of the person's earlier sessions; ``decided_at`` is in seconds since the cue."""

    base: Bundle
    session: Sequence[Path]
    past: Sequence[Path] = ()
    settings: RunSettings = field(default_factory=RunSettings)
    decided_at: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Improvement:
    """An update of a bundle, and the recordings that it was made of."""

    plan: Plan
    past: Sequence[RunTrials]
    session: Sequence[RunTrials]
    update: Update

    @property
    def report(self) -> dict[str, Any]:
        """The report of a job: gate, counts per run, base, and the recordings that were trained on; JSON-serialisable."""
        base = self.plan.base
        return {
            "gate": self.update.gate.model_dump(),
            "per_run": [one.model_dump() for one in self.update.per_run],
            "base": {"name": base.name, "sha256": base.sha256},
            "past": [run.source.path.name for run in self.past],
            "session": [run.source.path.name for run in self.session],
        }


def improve(plan: Plan, progress: Progress | None = None) -> Improvement:
    """Fine-tune a model on this session's runs, and compare it with the model in use; progress counts parts of the work.

    Raises
    ------
    ArgumentError
        The model in use was trained on every run of this session, or there are too few trials.
    UsageError
        A recording is named twice.
    RecordingError, ContractError
        As of training.
    """
    from mindwire_models.bundle import load_module

    check_distinct([*plan.past, *plan.session])
    known = set(trained_on(plan.base, [*plan.past, *plan.session]))
    # Earlier sessions are in the weights of a model that was trained on all of them.
    past = [path for path in plan.past if not known.issuperset(plan.past)]
    steps = len(past) + len(plan.session)
    total = 2 * steps

    def condition(index: int, path: Path) -> RunTrials:
        if progress is not None:
            progress(index, total)
        return _condition(plan, path, known=path in known)

    conditioned = [condition(index, path) for index, path in enumerate([*past, *plan.session])]

    def tuning(done: int, of: int) -> None:
        if progress is not None:
            progress(steps + round(steps * done / of), total)

    earlier, session = conditioned[: len(past)], conditioned[len(past) :]
    return Improvement(
        plan, earlier, session, update(load_module(plan.base), earlier, session, Tuning(plan.seed), tuning)
    )


def _condition(plan: Plan, path: Path, *, known: bool) -> RunTrials:
    """Run a recording through the model's causal pipeline and keep the windows of its trials."""
    contract = plan.base.contract
    settings = replace(plan.settings, markers=_occurring(plan.settings, path))
    settings, decided_at, _ = as_in_training(settings, plan.decided_at, plan.base, [path])
    recordings, trials, end = open_trials([path], contract.classes, settings)
    training = plan.base.training
    if training is None:
        span = TrialSpan(0.0, end.seconds, decided_at, SLIDE * contract.window_samples / contract.sfreq)
    else:
        span = TrialSpan(training.offset_s, training.length_s, decided_at, training.slide_s)
    data, (source,) = collect_trials(recordings, trials, contract, span, settings=settings)
    return RunTrials(source, data, span, known)


def _occurring(settings: RunSettings, path: Path) -> dict[str, str]:
    """Return the part of the marker map whose labels a recording has; runs of one person may be labelled in different ways."""
    markers = open_recording(path).markers(settings.marker_stream)
    occurring = match_labels((marker.label for marker in markers), settings.markers).values()
    return {label: name for label, name in settings.markers.items() if label in occurring}


def write(improvement: Improvement, out: Path, name: str) -> Bundle:
    """Write the fine-tuned model as a bundle, with the control policy of the model in use and its lineage."""
    from mindwire_models.export import export_bundle

    base, done = improvement.plan.base, improvement.update
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
    base, newest = improvement.plan.base, improvement.session[-1]
    before = base.training or _first_record(improvement.plan, newest)
    used = [
        TrainedRecording(file=run.source.path.name, sha256=run.source.sha256)
        for run in (*improvement.past, *improvement.session)
    ]
    recordings = {one.sha256: one for one in (*before.recordings, *used)}
    parents = (TrainedParent(name=base.name, sha256=base.sha256), *before.parents)
    return before.model_copy(update={"recordings": tuple(recordings.values()), "parents": parents})


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
        f"of {gate.trials} trials that neither had met, the fine-tuned model decides {gate.candidate_right} right and the model in "
        f"use {gate.base_right} (McNemar's p {gate.p:.2g}); loss {gate.candidate_loss:.3f} and {gate.base_loss:.3f} nats."
    )
    if gate.accepted:
        return f"Accepted: {counts}"
    return f"Rejected ({', '.join(code.replace('_', ' ') for code in gate.codes)}): {counts}"


def _provenance(improvement: Improvement) -> str:
    """Return the part of the model card on the model's origin, in Markdown."""
    base = improvement.plan.base
    rows = [
        [run.source.path.name, f"{run.source.n_usable} of {run.source.n_cued}", f"`{run.source.sha256}`"]
        for run in (*improvement.past, *improvement.session)
    ]
    return "\n".join(
        [
            sentence(improvement.update.gate),
            "",
            f"Fine-tuned from {base.name} (`{base.sha256}`), first on all earlier sessions together, then on this session's runs.",
            "",
            *TextTable(["recording", "trials used", "SHA-256"], rows).markdown(),
        ]
    )
