"""Training on some recordings and evaluation on others: leave-one-recording-out, and from session to session.

Network and tangent-space baseline are trained as by ``mindwire train``, written as bundles, and run over recordings that they
were not trained on, through the pipeline and on the graph that run live.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mindwire.errors import ArgumentError, UsageError
from mindwire.evaluation.known_recordings import check_distinct
from mindwire.evaluation.pseudo_online import Progress, RunSettings, file_sha256, run_recordings
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun
from mindwire.inference.load import Device, Engine, load_decoder
from mindwire.live.warm_start import warm_start_from
from mindwire.offline.trials import match_labels
from mindwire.signal.manifold import Matrix, geodesic
from mindwire.sources.recording import open_recording
from mindwire.training import fit, run
from mindwire.training.fit import Candidate, Logits
from mindwire.training.run import Plan, Prepared
from mindwire_models.contract import Alignment, Contract

DecoderName = Literal["network", "baseline"]


@dataclass(frozen=True, slots=True)
class Execution:
    """Settings of the runs; their alignment is replaced by each of ``modes``, of which the first is reported.

    ``check`` is that of :func:`mindwire_models.export.export_bundle`, for the bundles that run.
    """

    settings: RunSettings
    modes: tuple[AlignmentMode, ...] = (AlignmentMode.ONLINE,)
    engine: Engine = "auto"
    device: Device = "auto"
    check: Literal["compare", "skip"] = "compare"


@dataclass(frozen=True, slots=True)
class HeldOutRuns:
    """Runs of one decoder over the recordings that it was not trained on; ``seed`` is the network's."""

    decoder: DecoderName
    seed: int | None
    runs: dict[AlignmentMode, list[EvaluatedRun]]


class Split(NamedTuple):
    """Recordings that a decoder is trained and tested on."""

    training: Sequence[Path]
    tested: Sequence[Path]


class _Decider(NamedTuple):
    """Decoder to evaluate: its module per split, and its logits of trials held out among those trained on."""

    decoder: DecoderName
    seed: int | None
    modules: list[Any]
    held_out: Logits | None


@dataclass(frozen=True, slots=True)
class Splits:
    """Recordings, conditioned and ready to train on, and those to test on: each left out in turn, or others."""

    prepared: Prepared
    each: list[Split]
    leave_one_out: bool


def prepare(plan: Plan, tested: Sequence[Path] | None, progress: Progress | None = None) -> Splits:
    """Condition the recordings of the plan; without ``tested`` each of them is to be left out in turn.

    A UsageError says that there is nothing to leave out, or that a recording is on both sides.
    """
    if tested is None:
        if len(plan.paths) < 2:
            msg = f"Leaving one out expects at least two recordings, found {len(plan.paths)}; name more of them, or train on others with --train."
            raise UsageError(msg)
        each = [Split([other for other in plan.paths if other is not path], [path]) for path in plan.paths]
        return Splits(run.prepare(replace(plan, n_folds=None), progress), each, leave_one_out=True)
    check_distinct(tested)
    known = {file_sha256(path): path for path in plan.paths}
    for path in tested:
        if (same := known.get(file_sha256(path))) is not None:
            msg = (
                f"{path} is trained on too, as {same}; a recording that was trained on proves nothing, so name it once."
            )
            raise UsageError(msg)
    prepared = run.prepare(replace(plan, n_folds=0), progress)
    try:
        # The temperature comes from recordings held out among those that are trained on.
        folds = fit.make_folds(prepared.data)
    except ArgumentError:  # a class that occurs in one recording alone
        folds = []
    return Splits(replace(prepared, folds=folds), [Split(plan.paths, tested)], leave_one_out=False)


def evaluate(
    splits: Splits,
    candidate: Candidate | None,
    n_seeds: int,
    *,
    baseline: bool,
    execution: Execution,
    training: Progress | None = None,
    running: Progress | None = None,
) -> list[HeldOutRuns]:
    """Train and run every decoder: the candidate, if any, with successive seeds, then the baseline.

    The two progress functions count epochs and runs. A UsageError says that the model has no alignment to freeze.
    """
    means = _mean_covariances(splits, execution.settings) if AlignmentMode.FROZEN in execution.modes else {}
    deciders = [] if candidate is None else _networks(splits, candidate, n_seeds, training)
    if baseline:
        deciders.append(_baseline(splits))
    total = len(deciders) * len(splits.each) * len(execution.modes)
    found, done = [], 0
    for decoder, seed, modules, held_out in deciders:
        runs: dict[AlignmentMode, list[EvaluatedRun]] = {mode: [] for mode in execution.modes}
        for split, module, temperature in zip(splits.each, modules, _temperatures(splits, held_out), strict=True):
            contract = splits.prepared.contract.model_copy(update={"temperature": temperature})
            for mode, some in run_split(split, module, contract, execution, means, one_tested=splits.leave_one_out):
                runs[mode] += some
                done += 1
                if running is not None:
                    running(done, total)
        found.append(HeldOutRuns(decoder, seed, runs))
    return found


def _networks(splits: Splits, candidate: Candidate, n_seeds: int, progress: Progress | None) -> list[_Decider]:
    prepared, each = splits.prepared, splits.leave_one_out
    first = candidate.recipe.seed
    # The members of an ensemble have successive seeds of their own.
    seeds = range(first, first + n_seeds * candidate.members, candidate.members)
    candidates = [replace(candidate, recipe=replace(candidate.recipe, seed=seed)) for seed in seeds]
    fitted = fit.train_candidates(
        prepared.data, candidates, prepared.folds, final=not each, parallel=prepared.parallel, progress=progress
    )
    return [
        _Decider("network", seed, list(map(run.network_module, one.by_fold if each else [one.networks])), one.held_out)
        for seed, one in zip(seeds, fitted, strict=True)
    ]


def _baseline(splits: Splits) -> _Decider:
    data, folds = splits.prepared.data, splits.prepared.folds
    modules = [fit.fit_baseline(data, fold) for fold in (folds if splits.leave_one_out else [None])]
    return _Decider("baseline", None, modules, fit.baseline_logits(data, folds))


def _temperatures(splits: Splits, held_out: Logits | None) -> list[float]:
    """Temperature per split, fitted to trials held out among the recordings that are trained on."""
    if held_out is None:
        return [1.0]
    from mindwire_models.training.fit import fit_temperature

    data = splits.prepared.data
    labels, logits = data.labels[data.trial], held_out[: len(data.trial)]
    if not splits.leave_one_out:
        return [fit_temperature(logits, labels, len(data.usable))]
    # From the other splits' decoders on the other recordings. These decoders were trained on the recording that is tested
    # here; to train them without it would take as many trainings as there are pairs of recordings.
    recording = data.recording[data.trial]
    others = [recording != index for index in range(len(splits.each))]
    return [fit_temperature(logits[other], labels[other], len(np.unique(data.trial[other]))) for other in others]


def run_split(
    split: Split,
    module: Any,
    contract: Contract,
    execution: Execution,
    means: Mapping[Path, Matrix],
    *,
    one_tested: bool,
    classes: Sequence[str] | None = None,
) -> Iterator[tuple[AlignmentMode, list[EvaluatedRun]]]:
    """Write a bundle, and run it over the recordings of a split as ``mindwire evaluate`` does; trials are of all classes by default."""
    from mindwire_models.export import export_bundle

    settings = execution.settings
    if one_tested:
        settings = replace(settings, markers=occurring_markers(settings, split.tested[0]))
    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder:
        bundle = export_bundle(
            module,
            contract,
            Path(folder) / "bundle",
            name="held out",
            provenance="Not kept.",
            check=execution.check,
        )
        decoder = load_decoder(
            bundle, execution.engine, execution.device, adapt=settings.pipeline.adapt, purpose="recording"
        )
        for mode in execution.modes:
            aligned = contract
            if mode is AlignmentMode.FROZEN:
                aligned = warm_started(contract, [means[path] for path in split.training])
            ask = replace(settings, alignment=mode)
            asked = contract.classes if classes is None else classes
            yield mode, run_recordings(split.tested, aligned, decoder, classes=asked, settings=ask)


def occurring_markers(settings: RunSettings, path: Path) -> dict[str, str]:
    """Return the part of the marker map whose labels a recording has."""
    markers = open_recording(path).markers(settings.marker_stream)
    occurring = match_labels((marker.label for marker in markers), settings.markers).values()
    return {label: name for label, name in settings.markers.items() if label in occurring}


def _mean_covariances(splits: Splits, settings: RunSettings) -> dict[Path, Matrix]:
    """Return the mean covariance of each recording that is trained on, for frozen alignments."""
    contract = splits.prepared.contract
    if not isinstance(contract.normalisation, Alignment):
        msg = "The alignment is to be frozen, but the model aligns nothing; leave out 'frozen'."
        raise UsageError(msg)
    return {
        path: warm_start_from(path, contract, settings.pipeline, settings.stream).warm_start(contract).covariance
        for path in dict.fromkeys(path for split in splits.each for path in split.training)
    }


def warm_started(contract: Contract, covariances: Sequence[Matrix]) -> Contract:
    """Return the contract with the mean of some covariances as its alignment's warm start."""
    spec = contract.normalisation
    mean = covariances[0]
    for count, other in enumerate(covariances[1:], start=2):
        mean = geodesic(mean, other, 1 / count) if spec.kind == "riemannian" else mean + (other - mean) / count
    warm_start = tuple(tuple(row) for row in mean.tolist())
    return contract.model_copy(update={"normalisation": spec.model_copy(update={"warm_start": warm_start})})
