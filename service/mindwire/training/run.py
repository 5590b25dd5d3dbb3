"""Training from recordings to bundle, as ``mindwire train`` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Group
from rich.table import Table

from mindwire.errors import ArgumentError, RecordingError
from mindwire.evaluation.comparison import PairedTrials
from mindwire.evaluation.known_recordings import check_distinct
from mindwire.evaluation.notes import confounded_note, count_trials, left_out_note, outside_note
from mindwire.evaluation.pseudo_online import Progress, RunSettings
from mindwire.evaluation.tables import TextTable
from mindwire.signal.named_channels import left_out_note as channels_left_out
from mindwire.training import fit
from mindwire.training.card import comparison, provenance, verdict
from mindwire.training.contract import make_contract
from mindwire.training.data import SLIDE, RecordedTrials, RecordingSource, TrialSpan, collect_trials, open_trials
from mindwire.training.rest_axis import with_rest_axis
from mindwire.training.transfer import check_unknown, starting_contract, with_lineage
from mindwire.types import Reason, SignalInfo
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Contract
from mindwire_models.errors import MissingExtraError, TooFewTrialsError, extra
from mindwire_models.parallel import Parallel
from mindwire_models.text import counted
from mindwire_models.training_record import TrainedRecording, TrainedSource, TrainingRecord

if TYPE_CHECKING:
    from mindwire.control.policy import ControlPolicy
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann import TangentSpaceNetwork
    from mindwire_models.training.pool import Trained


_RHYTHMS_FROM_HZ = 4.0
_FEW_USABLE = 0.9
_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """Recordings to train on, and the terms of the model.

    By default the contract starts from the first recording, a trial's span (:class:`TrialSpan`) follows from the markers, each
    recording is held out once (0 folds leave validation out), and a training runs on each core. ``terms`` are those of
    :func:`make_contract`. The contract is that of ``start``, a bundle whose network is trained on, if there is one.
    """

    paths: Sequence[Path]
    classes: tuple[str, ...]
    settings: RunSettings
    base: Contract | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    offset: float = 0.0
    length: float | None = None
    decided_at: float | None = None
    slide: float | None = None
    n_folds: int | None = None
    parallel: Parallel | None = None
    start: Bundle | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Trials, ready to train on; ``ended_by`` names the origin of their length, ``start`` is that of the plan."""

    contract: Contract
    span: TrialSpan
    data: RecordedTrials
    sources: list[RecordingSource]
    folds: list[fit.Fold]
    parallel: Parallel | None
    settings: RunSettings
    info: SignalInfo
    ended_by: str
    start: Bundle | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Trained model, its models of each fold, and the validations; no ``candidate`` where the baseline is the model.

    Validations are of ``network`` and ``baseline``, and of ``untouched``, the network that training started from.

    ``held_out`` has the logits of held-out trials that were validated.
    """

    prepared: Prepared
    module: AttentionBaseNet | Ensemble | TangentSpaceNetwork
    by_fold: Sequence[AttentionBaseNet | Ensemble | TangentSpaceNetwork]
    candidate: fit.Candidate | None
    validations: dict[str, fit.Validation]
    held_out: Mapping[str, fit.Logits] = field(default_factory=dict)

    @property
    def decoder(self) -> Literal["network", "baseline"]:
        """Name of the model among the validations."""
        return "baseline" if self.candidate is None else "network"

    @property
    def temperature(self) -> float:
        """Softmax temperature fitted to held-out trials, 1 without any."""
        scored = self.validations.get(self.decoder)
        return 1.0 if scored is None else scored.temperature


def prepare(plan: Plan, progress: Progress | None = None) -> Prepared:
    """Condition all recordings and collect the windows of their trials."""
    hashes = check_distinct(plan.paths)
    given = None if plan.start is None else starting_contract(plan.start, plan.classes)
    if plan.start is not None and plan.n_folds != 0:
        check_unknown(plan.start, plan.paths, hashes)
    classes = plan.classes if given is None else given.classes
    recordings, trials, end = open_trials(plan.paths, classes, plan.settings)
    info, options = recordings[0].signal(plan.settings.stream).info, plan.settings.pipeline
    if options.sfreq is not None:
        info = replace(info, sfreq=options.sfreq)
    contract = given or make_contract(plan.base, info, classes, labels=options.channels, **plan.terms)
    length = max(end.seconds - plan.offset, 1 / contract.sfreq) if plan.length is None else plan.length
    decided_at = plan.offset + length if plan.decided_at is None else plan.decided_at
    slide = SLIDE * contract.window_samples / contract.sfreq if plan.slide is None else plan.slide
    span = TrialSpan(plan.offset, length, decided_at, slide)
    data, sources = collect_trials(
        recordings, trials, contract, span, settings=plan.settings, progress=progress, hashes=hashes
    )
    _check_classes(data)
    counts = count_trials(data.labels, data.recording, contract.classes)
    alone = confounded_note([str(source.path) for source in sources], counts, contract.classes)
    if alone and plan.n_folds != 0:
        msg = f"{alone} Held out, such a recording leaves nothing to learn the class from; train --folds 0 leaves validation out."
        raise ArgumentError(msg)
    folds = [] if plan.n_folds == 0 else fit.make_folds(data, plan.n_folds)
    by_marker = f"by {end.marker!r}" if end.marker else "the longest without --length"
    ended_by = by_marker if plan.length is None else "as asked for"
    return Prepared(contract, span, data, sources, folds, plan.parallel, plan.settings, info, ended_by, plan.start)


def _check_classes(data: RecordedTrials) -> None:
    """Refuse classes without trials or windows."""
    for index, name in enumerate(data.classes):
        cued = int((data.labels == index).sum())
        if not cued:
            msg = f"No recording has a trial of {name!r}; say which marker means it with --markers LABEL={name}, or leave it out of --classes."
            raise RecordingError(msg)
        if not (data.labels[data.usable] == index).any():
            msg = f"None of the {cued} trials of {name!r} has a valid window ({data.why_left_out}); leave the class out, or record more."
            raise RecordingError(msg)


def notes(prepared: Prepared) -> list[str]:
    """Return remarks on the trials before they are trained on, a sentence each."""
    data, classes, sources = prepared.data, prepared.contract.classes, prepared.sources
    counts = count_trials(data.labels, data.recording, classes)
    remarks = [
        channels_left_out(prepared.info, prepared.contract.channels, prepared.settings.pipeline.channels),
        left_out_note((label for source in sources for label in source.left_out), classes, classes),
        confounded_note([source.path.name for source in sources], counts, classes),
        outside_note(sum(source.n_outside for source in sources), len(data.labels), "give no window"),
        _unusable_note(data),
    ]
    return [note for note in remarks if note is not None]


def _unusable_note(data: RecordedTrials) -> str | None:
    """Return the number of trials without a window, by reason, as a warning where they are more than one in ten."""
    if not data.left_out:
        return None
    missing = len(data.labels) - len(data.usable)
    text = f"{missing} of {len(data.labels)} trials gave no window: {data.why_left_out}."
    if len(data.usable) >= _FEW_USABLE * len(data.labels):
        return text
    rate = ", and --rate accepts a rate that is wrong" if Reason.WRONG_RATE.labels[0] in data.left_out else ""
    advice = (
        "Look for these reasons in the recordings; a shorter --window or a longer --slide needs less signal of a trial"
    )
    return f"Warning: {text} {advice}{rate}."


def describe(prepared: Prepared) -> str:
    """Describe the trials, windows and classes that will be trained on, with the notes."""
    data, contract, span = prepared.data, prepared.contract, prepared.span
    counts = np.bincount(data.labels[data.usable], minlength=len(contract.classes))
    classes = ", ".join(f"{name} {count}" for name, count in zip(contract.classes, counts, strict=True))
    first, last = span.window_ends(contract)
    text = (
        f"{len(data.usable)} of {len(data.labels)} trials ({classes}) gave {len(data.windows)} windows of "
        f"{contract.window_samples / contract.sfreq:g} s, which end {_seconds(first)} to {_seconds(last)} s after the "
        f"cue; {counted(contract.n_channels, 'channel')} at {contract.sfreq:g} Hz. A trial ends {_seconds(span.offset + span.length)} s "
        f"after its cue ({prepared.ended_by}) and is decided at {_seconds(span.decided_at)} s."
    )
    return "\n".join([text, *notes(prepared)])


def _seconds(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def candidate(contract: Contract, start: Literal["tangent_space", "random"] | None = None) -> fit.Candidate:
    """Return network and recipe: scaled to little data from the tangent space, the published ones from random weights.

    By default training starts at the tangent-space classifier where the contract's filters leave only rhythms, for which that
    classifier is made, and else at random.
    """
    with extra("train", "Training needs PyTorch"):
        from mindwire_models.training.fit import CALIBRATION, Recipe, scaled_arguments
    highpass = contract.filters.highpass
    rhythms = highpass is not None and highpass.freq >= _RHYTHMS_FROM_HZ
    if start == "tangent_space" or (start is None and rhythms):
        return fit.Candidate(CALIBRATION, scaled_arguments(contract.window_samples))
    return fit.Candidate(Recipe())


def train_riemann(prepared: Prepared) -> Result:
    """Fit and validate the tangent-space baseline as the model itself."""
    data, folds = prepared.data, prepared.folds
    logits = _without_none({"baseline": fit.baseline_logits(data, folds)})
    by_fold = [fit.fit_baseline(data, fold) for fold in folds]
    return Result(prepared, fit.fit_baseline(data), by_fold, None, _validations(prepared, logits), logits)


def train_network(prepared: Prepared, candidate: fit.Candidate, progress: Progress | None = None) -> Result:
    """Train and validate the network, and validate the baseline on the same folds, and the network untouched if it has a start.

    Raises
    ------
    ArgumentError
        There are too few trials for a batch, or the network cannot be built so.
    """
    data, folds = prepared.data, prepared.folds
    (fitted,) = fit.train_candidates(data, [candidate], folds, parallel=prepared.parallel, progress=progress)
    logits = {"network": fitted.held_out}
    if candidate.start is not None and folds:
        logits["untouched"] = fit.untouched_logits(data, candidate.start)
    # Random initial weights need neither pyRiemann nor scikit-learn; the card then shows the network alone.
    with suppress(MissingExtraError):
        logits["baseline"] = fit.baseline_logits(data, folds)
    by_fold, known = list(map(network_module, fitted.by_fold)), _without_none(logits)
    return Result(prepared, network_module(fitted.networks), by_fold, candidate, _validations(prepared, known), known)


def train_best(prepared: Prepared, candidate: fit.Candidate, progress: Progress | None = None) -> Result:
    """Train network and tangent space; return the better one, with the validations of both.

    The network is better if it decides more held-out trials right than chance explains, by McNemar's exact test at 5 %: the best
    of two on few trials is often the lucky one, and of most people the tangent space is the better. Where there are too few
    trials to train a network, there is the tangent space alone, and no validation of a network.
    """
    try:
        network = train_network(prepared, candidate, progress)
    except TooFewTrialsError:
        return train_riemann(prepared)
    if "baseline" not in network.held_out:
        return train_riemann(prepared)  # which says what is not installed
    data = prepared.data
    right = {
        name: (logits[len(data.trial) :].argmax(axis=1) == data.labels[data.decided]).tolist()
        for name, logits in network.held_out.items()
    }
    pairs = PairedTrials.of(right["network"], right["baseline"])
    if pairs.only_a > pairs.only_b and pairs.p_value <= _LEVEL:
        return network
    return replace(train_riemann(prepared), validations=network.validations)


def _without_none(logits: Mapping[str, fit.Logits | None]) -> dict[str, fit.Logits]:
    return {name: some for name, some in logits.items() if some is not None}


def _validations(prepared: Prepared, held_out: Mapping[str, fit.Logits]) -> dict[str, fit.Validation]:
    return {name: fit.validate(prepared.data, logits) for name, logits in held_out.items()}


def network_module(trained: Sequence[Trained]) -> AttentionBaseNet | Ensemble:
    """Return a trained network, or the ensemble of several, as one PyTorch module."""
    from mindwire_models.network.ensemble import Ensemble

    networks = [one.network for one in trained]
    return networks[0] if len(networks) == 1 else Ensemble(networks).eval()


def write(result: Result, out: Path, name: str, policy: ControlPolicy | None = None) -> Bundle:
    """Write the bundle, with the softmax temperature fitted to held-out trials, and its control policy if there is one."""
    from mindwire_models.export import export_bundle

    contract = result.prepared.contract
    contract = contract.model_copy(
        update={"temperature": result.temperature, "normalisation": with_rest_axis(contract, result.prepared.data)}
    )
    return export_bundle(
        result.module,
        contract,
        out,
        name=name,
        provenance=provenance(result),
        training=training_record(result.prepared),
        policy=None if policy is None else policy.to_json().encode(),
    )


def training_record(prepared: Prepared) -> TrainingRecord:
    """Return the bundle's record of its training, which later commands read."""
    settings, info, span = prepared.settings, prepared.info, prepared.span
    device = info.original or info
    channels, unit = settings.pipeline.channels, settings.pipeline.unit
    if channels is None and info.labels != device.labels:
        channels = info.labels
    if unit is None and info.units and info.units != device.units:
        unit = info.units[0]
    record = TrainingRecord(
        recordings=tuple(TrainedRecording(file=s.path.name, sha256=s.sha256) for s in prepared.sources),
        source=TrainedSource(
            n_channels=info.n_channels, labels=device.labels, units=device.units, channels=channels, unit=unit
        ),
        markers=dict(settings.markers),
        marker_stream=settings.marker_stream,
        offset_s=span.offset,
        length_s=span.length,
        slide_s=span.slide,
        ended_by=prepared.ended_by,
        decided_at_s=span.decided_at,
    )
    return record if prepared.start is None else with_lineage(record, prepared.start)


def summary(result: Result) -> Group:
    """Return the verdict and a table with a row per recording, for the terminal."""
    line = verdict({name: one.overall for name, one in result.validations.items()}, result.decoder)
    if not result.validations:
        return Group(line)
    return Group(line, comparison(result.prepared.sources, result.validations).terminal())


def sweep(
    prepared: Prepared,
    candidate: fit.Candidate,
    combinations: Sequence[Mapping[str, Any]],
    n_seeds: int,
    progress: Progress | None = None,
) -> Table:
    """Validate variants of a network, ``combinations`` of other arguments, with several seeds each; the baseline comes last."""
    data = prepared.data
    folds = prepared.folds or fit.make_folds(data)
    candidates = [
        replace(
            candidate,
            recipe=replace(candidate.recipe, seed=candidate.recipe.seed + 1000 * index),
            network_arguments={**candidate.network_arguments, **combination},
        )
        for combination in combinations
        for index in range(n_seeds)
    ]
    fitted = fit.train_candidates(data, candidates, folds, final=False, parallel=prepared.parallel, progress=progress)
    logits = [*(one.held_out for one in fitted), fit.baseline_logits(data, folds)]
    *scores, baseline = [fit.validate(data, one).overall for one in logits if one is not None]
    rows = []
    for row, combination in enumerate(combinations):
        part = scores[row * n_seeds : (row + 1) * n_seeds]
        accuracies = np.array([one.accuracy if one.accuracy is not None else np.nan for one in part])
        kappas = [one.kappa for one in part if one.kappa is not None]
        rows.append(
            [
                ", ".join(f"{key}={value}" for key, value in combination.items()) or "default",
                f"{accuracies.mean():.3f}",
                f"{accuracies.std():.3f}",
                f"{np.mean(kappas):.2f}" if kappas else "–",
                " ".join(f"{accuracy:.3f}" for accuracy in accuracies),
            ]
        )
    if baseline.accuracy is not None:
        kappa = "–" if baseline.kappa is None else f"{baseline.kappa:.2f}"
        rows.append(["tangent-space baseline", f"{baseline.accuracy:.3f}", "", kappa, ""])
    title = f"{len(folds)} folds, {n_seeds} seeds, decided {data.decided_at:g} s after the cue"
    return TextTable(["network", "accuracy", "± spread", "κ", "seeds"], rows, title=title).terminal()
