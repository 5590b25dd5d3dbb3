"""A calibration from recordings to bundle, as ``mindwire train`` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from mindwire.errors import ArgumentError, RecordingError
from mindwire.evaluation.known_recordings import check_distinct
from mindwire.evaluation.notes import confounded_note, count_trials, left_out_note, outside_note
from mindwire.evaluation.pseudo_online import Progress, RunSettings
from mindwire.signal.named_channels import left_out_note as channels_left_out
from mindwire.training import fit as calibration
from mindwire.training.card import comparison_rows, provenance, verdict
from mindwire.training.contract import ContractChoices, make_contract
from mindwire.training.data import SLIDE, RecordedTrials, RecordingSource, TrialSpan, collect_trials, open_trials
from mindwire.training.fit import Candidate, Fold, Validation
from mindwire.types import Reason, SignalInfo
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Contract
from mindwire_models.errors import MissingExtraError
from mindwire_models.text import counted, printable
from mindwire_models.training_record import TrainedRecording, TrainedSource, TrainingRecord

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann_network import TangentSpaceNetwork
    from mindwire_models.training.pool import Trained


_RHYTHMS_FROM_HZ = 4.0
_FEW_USABLE = 0.9


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train on and for.

    Parameters
    ----------
    paths : sequence of Path
    classes : tuple of str
    settings : RunSettings
    base : Contract or None
        To begin with; None begins with the first recording.
    choices : ContractChoices
    offset : float
        Seconds after the cue at which a trial begins to count.
    length, decided_at : float or None
        Seconds; None takes them from the markers.
    slide : float or None
        Seconds by which windows may reach beyond a trial's end; None takes a share of the window.
    n_folds : int or None
        None holds each recording out once; 0 leaves validation out.
    workers : int or None
    """

    paths: Sequence[Path]
    classes: tuple[str, ...]
    settings: RunSettings
    base: Contract | None = None
    choices: ContractChoices = field(default_factory=ContractChoices)
    offset: float = 0.0
    length: float | None = None
    decided_at: float | None = None
    slide: float | None = None
    n_folds: int | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Trials, ready to train on; ``ended_by`` tells where their length comes from."""

    contract: Contract
    span: TrialSpan
    data: RecordedTrials
    sources: list[RecordingSource]
    folds: list[Fold]
    workers: int | None
    settings: RunSettings
    info: SignalInfo
    ended_by: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a training gave; ``candidate`` and ``network`` are None where the baseline is the model."""

    prepared: Prepared
    module: AttentionBaseNet | Ensemble | TangentSpaceNetwork
    candidate: Candidate | None
    network: Validation | None
    baseline: Validation | None


def prepare(plan: Plan, progress: Progress | None = None) -> Prepared:
    """Condition all recordings and cut out their windows.

    Raises
    ------
    MindwireError
        A recording, a marker or a choice does not fit; the message says which.
    """
    check_distinct(plan.paths)
    recordings, trials, end = open_trials(plan.paths, plan.classes, plan.settings)
    info = recordings[0].signal(plan.settings.stream).info
    channels = plan.settings.pipeline.channels
    if plan.settings.pipeline.sfreq is not None:
        info = replace(info, sfreq=plan.settings.pipeline.sfreq)
    contract = make_contract(plan.base, info, plan.classes, plan.choices, channels=channels)
    length = plan.length if plan.length is not None else max(end.seconds - plan.offset, 1 / contract.sfreq)
    decided_at = plan.decided_at if plan.decided_at is not None else plan.offset + length
    slide = plan.slide if plan.slide is not None else SLIDE * contract.window_samples / contract.sfreq
    span = TrialSpan(plan.offset, length, decided_at, slide)
    data, sources = collect_trials(recordings, trials, contract, span, settings=plan.settings, progress=progress)
    _check_classes(data, contract.classes)
    if plan.n_folds != 0 and (
        alone := confounded_note(
            [source.file for source in sources],
            count_trials(data.labels, data.recording, contract.classes),
            contract.classes,
        )
    ):
        msg = f"{alone} Held out, such a recording leaves nothing to learn the class from; train --folds 0 leaves validation out."
        raise ArgumentError(msg)
    folds = [] if plan.n_folds == 0 else calibration.make_folds(data, plan.n_folds)
    ended_by = "as asked for" if plan.length is not None else end.marker and f"by {end.marker!r}"
    ended_by = ended_by or "the longest without --length"
    return Prepared(contract, span, data, sources, folds, plan.workers, plan.settings, info, ended_by)


def _check_classes(data: RecordedTrials, classes: Sequence[str]) -> None:
    """Refuse classes of which there is nothing to learn."""
    for index, name in enumerate(classes):
        cued = int((data.labels == index).sum())
        if not cued:
            msg = f"No recording has a trial of {name!r}; say which marker means it with --markers LABEL={name}, or leave it out of --classes."
            raise RecordingError(msg)
        if not (data.labels[data.usable] == index).any():
            msg = f"None of the {cued} trials of {name!r} has a valid window ({data.why_left_out}); leave the class out, or record more."
            raise RecordingError(msg)


def notes(prepared: Prepared) -> list[str]:
    """What has to be told of the trials before they are trained on, a sentence each."""
    data, classes, sources = prepared.data, prepared.contract.classes, prepared.sources
    counts = count_trials(data.labels, data.recording, classes)
    n_outside = sum(source.n_outside for source in sources)
    told = [
        channels_left_out(prepared.info, prepared.contract.channels, prepared.settings.pipeline.channels),
        left_out_note((label for source in sources for label in source.left_out), classes, classes),
        confounded_note([Path(source.file).name for source in sources], counts, classes),
        outside_note(n_outside, len(data.labels), "give no window"),
        _unusable_note(data),
    ]
    return [note for note in told if note is not None]


def _unusable_note(data: RecordedTrials) -> str | None:
    """Trials without a window, by reason; a warning where they are more than one in ten."""
    if not data.left_out:
        return None
    missing = len(data.labels) - len(data.usable)
    text = f"{missing} of {len(data.labels)} trials gave no window: {data.why_left_out}."
    if len(data.usable) >= _FEW_USABLE * len(data.labels):
        return text
    advice = (
        "look for these reasons in the recordings; a shorter --window or a longer --slide needs less signal of a trial"
    )
    if Reason.WRONG_RATE.labels[0] in data.left_out:
        advice += ", and --rate accepts a rate that is wrong"
    return f"Warning: {text} {advice[0].upper()}{advice[1:]}."


def describe(prepared: Prepared) -> str:
    """What will be trained on, in a few sentences, and what of the recordings is not."""
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


def candidate(contract: Contract, start: Literal["tangent_space", "random"] | None = None) -> Candidate:
    """The network and recipe to begin with.

    Parameters
    ----------
    contract : Contract
    start : {"tangent_space", "random"} or None
        None begins at the tangent-space classifier where the contract's filters leave only rhythms, for which
        that classifier is made, and else at random.

    Returns
    -------
    Candidate
        From the tangent space, a network scaled to little data; from random weights, the published one.
    """
    try:
        from mindwire_models.training.fit import CALIBRATION, Recipe, scaled_arguments
    except ModuleNotFoundError as error:
        msg = "Training needs PyTorch; install it with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    highpass = contract.filters.highpass
    if start is None:
        start = "tangent_space" if highpass is not None and highpass.freq >= _RHYTHMS_FROM_HZ else "random"
    if start == "random":
        return Candidate(Recipe())
    return Candidate(CALIBRATION, scaled_arguments(contract.window_samples))


def _baseline(prepared: Prepared) -> Validation | None:
    if not prepared.folds:
        return None
    n_classes = len(prepared.contract.classes)
    held_out = calibration.validate_baseline(prepared.data, n_classes, prepared.folds)
    return calibration.validate(prepared.data, held_out, n_classes, prepared.span.decided_at)


def train_riemann(prepared: Prepared) -> Result:
    """Fit and validate the tangent-space baseline as the model itself."""
    from mindwire_models.network.riemann_network import TangentSpaceNetwork

    validation = _baseline(prepared)
    model = calibration.fit_baseline(prepared.data, len(prepared.contract.classes))
    return Result(prepared, TangentSpaceNetwork.from_model(model), None, None, validation)


def train_network(prepared: Prepared, candidate: Candidate, progress: Progress | None = None) -> Result:
    """Train and validate the network, with the baseline beside it on the same folds."""
    n_classes = len(prepared.contract.classes)
    fitted = calibration.train_candidates(
        prepared.data, n_classes, [candidate], prepared.folds, workers=prepared.workers, progress=progress
    )[0]
    validation = None
    if fitted.held_out is not None:
        validation = calibration.validate(prepared.data, fitted.held_out, n_classes, prepared.span.decided_at)
    try:
        baseline = _baseline(prepared)
    except MissingExtraError:
        # The network needs neither pyRiemann nor scikit-learn; the card then shows it alone.
        baseline = None
    return Result(prepared, network_module(fitted.networks), candidate, validation, baseline)


def network_module(trained: Sequence[Trained]) -> AttentionBaseNet | Ensemble:
    """A trained network, or several that decide together, as one PyTorch module."""
    import torch

    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble

    networks = []
    for one in trained:
        network = AttentionBaseNet.from_config(one.config)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in one.state.items()})
        networks.append(network.eval())
    return networks[0] if len(networks) == 1 else Ensemble(networks).eval()


def write(result: Result, out: Path, name: str) -> Bundle:
    """Write the bundle, its probabilities at the temperature that held-out trials ask for.

    Raises
    ------
    ExportError
        The graph differs from the network.
    BundleError
        The bundle could not be written.
    """
    from mindwire_models.export import export_bundle

    prepared = result.prepared
    scored = result.baseline if result.candidate is None else result.network
    temperature = 1.0 if scored is None else scored.temperature
    text = provenance(
        data=prepared.data,
        sources=prepared.sources,
        span=prepared.span,
        candidate=result.candidate,
        network=result.network,
        baseline=result.baseline,
        n_folds=len(prepared.folds),
    )
    contract = prepared.contract.model_copy(update={"temperature": temperature})
    return export_bundle(result.module, contract, out, name=name, provenance=text, training=training_record(prepared))


def training_record(prepared: Prepared) -> TrainingRecord:
    """What later commands need not be told again."""
    settings, info, span = prepared.settings, prepared.info, prepared.span
    device = info.original or info
    channels, unit = settings.pipeline.channels, settings.pipeline.unit
    if channels is None and info.labels != device.labels:
        channels = info.labels
    if unit is None and info.units and info.units != device.units:
        unit = info.units[0]
    return TrainingRecord(
        recordings=tuple(TrainedRecording(file=Path(s.file).name, sha256=s.sha256) for s in prepared.sources),
        source=TrainedSource(
            n_channels=info.n_channels,
            labels=device.labels,
            units=device.units,
            channels=channels,
            unit=unit,
        ),
        markers=dict(settings.markers),
        marker_stream=settings.marker_stream,
        offset_s=span.offset,
        length_s=span.length,
        slide_s=span.slide,
        ended_by=prepared.ended_by,
        decided_at_s=span.decided_at,
    )


def summary(result: Result) -> Group:
    """What a terminal shows of a training: the verdict first, then a row per recording."""
    prepared = result.prepared
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    head, rows = comparison_rows(prepared.sources, result.network, result.baseline)
    for column in head:
        table.add_column(column, justify="left" if column == "recording" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row), style="bold" if row is rows[-1] else None)
    line = verdict(result.network, result.baseline)
    return Group(line, table) if len(head) > 2 else Group(line)


def sweep(
    prepared: Prepared,
    candidate: Candidate,
    combinations: Sequence[Mapping[str, Any]],
    n_seeds: int,
    progress: Progress | None = None,
) -> Table:
    """Validate several networks, several seeds each, side by side; the baseline is the last row.

    Parameters
    ----------
    prepared : Prepared
    candidate : Candidate
        What the combinations vary.
    combinations : sequence of mapping
        Arguments of the network.
    n_seeds : int
    progress : callable, optional

    Returns
    -------
    Table
        Mean accuracy over the seeds, their spread, and each seed's.
    """
    n_classes, at_s = len(prepared.contract.classes), prepared.span.decided_at
    folds = prepared.folds or calibration.make_folds(prepared.data)
    candidates = [
        replace(
            candidate,
            recipe=replace(candidate.recipe, seed=candidate.recipe.seed + 1000 * index),
            network_arguments={**candidate.network_arguments, **combination},
        )
        for combination in combinations
        for index in range(n_seeds)
    ]
    fitted = calibration.train_candidates(
        prepared.data, n_classes, candidates, folds, final=False, workers=prepared.workers, progress=progress
    )
    scores = [
        calibration.validate(prepared.data, one.held_out, n_classes, at_s).overall
        for one in fitted
        if one.held_out is not None
    ]
    table = Table(box=SIMPLE_HEAD, title=f"{len(folds)} folds, {n_seeds} seeds, decided {at_s:g} s after the cue")
    for column in ("network", "accuracy", "± spread", "κ", "seeds"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row, combination in enumerate(combinations):
        part = scores[row * n_seeds : (row + 1) * n_seeds]
        accuracies = np.array([one.accuracy if one.accuracy is not None else np.nan for one in part])
        kappas = [one.kappa for one in part if one.kappa is not None]
        table.add_row(
            ", ".join(f"{key}={value}" for key, value in combination.items()) or "default",
            f"{accuracies.mean():.3f}",
            f"{accuracies.std():.3f}",
            f"{np.mean(kappas):.2f}" if kappas else "–",
            " ".join(f"{accuracy:.3f}" for accuracy in accuracies),
        )
    baseline = _baseline(replace(prepared, folds=folds))
    if baseline is not None and baseline.overall.accuracy is not None:
        kappa = "–" if baseline.overall.kappa is None else f"{baseline.overall.kappa:.2f}"
        table.add_row("tangent-space baseline", f"{baseline.overall.accuracy:.3f}", "", kappa, "")
    return table
