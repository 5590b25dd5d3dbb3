"""Fitted pipelines of scikit-learn, pyRiemann and MNE as decoders: from a file or from Python to a checked graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from mindwire_models.contract import Contract
from mindwire_models.errors import BundleError, ExportError, extra
from mindwire_models.external import ExternalDecoder
from mindwire_models.graphs.external_check import SEED, TOLERANCE, Trial, usual_amplitude
from mindwire_models.graphs.pipeline_graph import flat_steps, pipeline_graph, union_members
from mindwire_models.graphs.pipeline_values import step_name
from mindwire_models.text import first_line

PICKLES = frozenset({".joblib", ".pkl", ".pickle"})
_BATCH = 4
# Largest ratio of amplitudes, of the fit and of the contract, that is no other unit.
_MAX_RATIO = 300.0
_FILTER = "mindwire_models.BandPass"
_PACKAGES = {"sklearn": "scikit-learn", "pyriemann": "pyRiemann", "mne": "MNE"}

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PipelineReference:
    """The pipeline's own outputs, as logits in the order of the graph: logarithms of its probabilities, computed in double precision.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted.
    order : sequence of int or None
        Places in ``classes_`` of the columns; None leaves them as they are.
    """

    pipeline: Any
    order: Sequence[int] | None = None

    def __call__(self, windows: NDArray[np.floating]) -> Array:
        """Return logits ``(batch, n_classes)`` of windows ``(batch, n_chans, n_times)``."""
        x = windows.astype(np.float64)
        if hasattr(self.pipeline, "predict_proba"):
            with np.errstate(divide="ignore"):
                logits = np.log(np.asarray(self.pipeline.predict_proba(x), dtype=np.float64))
        else:
            scores = np.asarray(self.pipeline.decision_function(x), dtype=np.float64)
            logits = log_softmax(np.stack([-scores / 2, scores / 2], axis=1) if scores.ndim == 1 else scores, axis=1)
        return logits if self.order is None else logits[:, list(self.order)]


@dataclass(frozen=True, slots=True)
class FittedPipeline:
    """Fitted pipeline whose windows' length is not known before there is a contract.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
    provenance : str
        Origin of the fit, for the model card.
    sfreq : float or None
        Sampling rate in hertz, known where there is a band pass.
    doubts : tuple of str
        Sentences on what is suspicious but no reason to refuse.
    """

    pipeline: Any
    provenance: str
    n_times: int | None = None
    sfreq: float | None = None
    doubts: tuple[str, ...] = ()

    def decoder(self, contract: Contract) -> ExternalDecoder:
        """Return the decoder of :func:`external_pipeline`, which raises its errors."""
        return external_pipeline(self.pipeline, contract, provenance=self.provenance)


def read_pipeline(path: Path, *, trusted: bool) -> FittedPipeline:
    """Load a pipeline that joblib or pickle wrote; loading runs code that the file names.

    Raises
    ------
    ExportError
        The file is not said to be trusted.
    BundleError
        The file cannot be loaded.
    MissingExtraError
        The package joblib is not installed.
    """
    if not trusted:
        msg = (
            f"{path}: loading a pickled pipeline runs whatever code the file holds; give --trust-pickle if you know where "
            "it comes from."
        )
        raise ExportError(msg)
    with extra("train", "A pickled pipeline needs joblib and scikit-learn"):
        import joblib
        from sklearn.exceptions import InconsistentVersionWarning
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipeline = joblib.load(path)
    except Exception as error:  # a pickle may raise anything
        msg = (
            f"{path}: expected a pipeline written by joblib.dump, found a file that cannot be loaded "
            f"({first_line(error)}); install the packages it was fitted with, or write it again."
        )
        raise BundleError(msg) from error
    rates = (float(step.sfreq) for _, step in _all_steps(pipeline) if step_name(step) == _FILTER)
    versions = {
        f"{warning.message.original_sklearn_version}, found {warning.message.current_sklearn_version}"
        for warning in caught
        if isinstance(warning.message, InconsistentVersionWarning)
    }
    doubts = tuple(
        f"{path}: the pipeline was written by scikit-learn {version}; fit it again with this version if its decisions differ from what you know."
        for version in sorted(versions)
    )
    return FittedPipeline(pipeline, f"The pipeline `{path.name}`.", sfreq=next(rates, None), doubts=doubts)


def external_pipeline(
    pipeline: Any, contract: Contract, *, windows: NDArray[np.floating] | None = None, provenance: str | None = None
) -> ExternalDecoder:
    """Make a decoder of a fitted pipeline, after comparing its graph with it.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted to windows as the contract has them: conditioned, in its unit, and aligned where it demands that. Known steps
        are those of :func:`~mindwire_models.graphs.pipeline_graph.pipeline_graph`. It is left as it is.
    contract : Contract
        Gives the sizes. Its classes are the pipeline's ``classes_`` by name where these are strings, otherwise in order.
    windows : array, shape (n_windows, n_chans, n_times), or None
        Windows to compare on besides those that are drawn with the covariances that the pipeline was fitted to.
    provenance : str or None
        Origin of the fit, for the model card.

    Raises
    ------
    ExportError
        The pipeline has an unknown step, is not fitted or does not belong to the contract, or its graph differs from it.
    MissingExtraError
        The package onnx or ONNX Runtime is not installed.
    """
    n_chans, n_times = contract.n_channels, contract.window_samples
    steps = [step for _, step in _all_steps(pipeline)]
    _refuse_rate(steps, contract)
    order = _order(pipeline, contract)
    graph = pipeline_graph(pipeline, n_chans, n_times, order)
    reference = PipelineReference(pipeline, order)
    _refuse_scale(steps, contract)
    compared = list(_like_fitted(steps, n_chans, n_times))
    if windows is not None:
        compared.append(_checked_windows(windows, contract))
    _compare(Trial(graph, contract, "pipeline"), reference, compared)
    names = ", ".join(dict.fromkeys(type(step).__name__ for step in steps))
    known = (_PACKAGES.get(step_name(step).partition(".")[0]) for step in steps)
    packages = ", ".join(dict.fromkeys(package for package in known if package))
    return ExternalDecoder(
        graph,
        "logits",
        f"Pipeline of {packages} ({names})",
        provenance or "A fitted pipeline.",
        reference,
        n_chans=n_chans,
        n_times=n_times,
        n_outputs=len(contract.classes),
        sfreq=contract.sfreq if any(step_name(step) == _FILTER for step in steps) else None,
    )


def _all_steps(pipeline: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the steps of a pipeline and of its unions' members."""
    for label, step in flat_steps(pipeline):
        if step_name(step) == "sklearn.FeatureUnion":
            for _, member in union_members(step):
                if not isinstance(member, str):
                    yield from _all_steps(member)
        else:
            yield label, step


def _refuse_rate(steps: Sequence[Any], contract: Contract) -> None:
    for step in steps:
        if step_name(step) == _FILTER and step.sfreq != contract.sfreq:
            msg = (
                f"The contract demands {contract.sfreq:g} Hz, but a BandPass of the pipeline was made for {step.sfreq:g} Hz; "
                "choose the contract that belongs to it."
            )
            raise ExportError(msg)


def _order(pipeline: Any, contract: Contract) -> tuple[int, ...] | None:
    """Return the places of the contract's classes in the pipeline's."""
    try:
        classes = list(pipeline.classes_)
    except AttributeError:
        return None  # the graph says what is missing
    if all(isinstance(name, str) for name in classes):
        if set(classes) != set(contract.classes):
            msg = (
                f"The contract's classes are {', '.join(contract.classes)}, but the pipeline knows {', '.join(classes)}; "
                "name the same with --classes."
            )
            raise ExportError(msg)
        return tuple(classes.index(name) for name in contract.classes)
    if len(classes) != len(contract.classes):
        msg = (
            f"The contract has {len(contract.classes)} classes ({', '.join(contract.classes)}), but the pipeline knows "
            f"{len(classes)} ({', '.join(map(str, classes))}); name as many with --classes, in that order."
        )
        raise ExportError(msg)
    return None


def _refuse_scale(steps: Sequence[Any], contract: Contract) -> None:
    """Refuse a pipeline that was fitted in another unit than the contract's, as its first covariances tell."""
    if any(getattr(step, "estimator", None) == "corr" or getattr(step, "norm_trace", False) for step in steps):
        return  # of no unit
    first = next((found for step in steps if (found := _covariances_of(step))), [])
    powers = [np.trace(matrix) / len(matrix) for matrix in first if len(matrix) == contract.n_channels]
    if not powers:
        return
    fitted, usual = float(np.sqrt(np.mean(powers))), usual_amplitude(contract)
    if not 1 / _MAX_RATIO < fitted / usual < _MAX_RATIO:
        kind = contract.normalisation.kind
        signal = f"{usual:.2g} {contract.unit}" if kind == "none" else f"{usual:.2g} after its normalisation ({kind})"
        msg = (
            f"The pipeline was fitted to windows of about {fitted:.2g} (root mean square), but the contract's are about {signal}; "
            "fit it to windows in the contract's unit and normalised as it demands, or choose another --unit or --normalisation."
        )
        raise ExportError(msg)


def _like_fitted(steps: Sequence[Any], n_chans: int, n_times: int) -> Iterator[NDArray[np.float32]]:
    """Iterate over batches of windows with the covariances that the pipeline's steps were fitted to, weaker and stronger."""
    rng = np.random.default_rng(SEED)
    matrices = [matrix for step in steps for matrix in _covariances_of(step) if len(matrix) == n_chans]
    for matrix in matrices:
        values, vectors = np.linalg.eigh(matrix)
        mixing = vectors * np.sqrt(np.maximum(values, 0.0))
        for size in (0.5, 1.0, 3.0):
            yield (size * mixing @ rng.standard_normal((_BATCH, n_chans, n_times))).astype(np.float32)


def _covariances_of(step: Any) -> list[Array]:
    """Return covariances that a step was fitted to, as far as it holds them."""
    if hasattr(step, "covmeans_"):
        return [np.asarray(mean, dtype=np.float64) for mean in step.covmeans_]
    if hasattr(step, "reference_"):
        return [np.asarray(step.reference_, dtype=np.float64)]
    if hasattr(step, "patterns_"):
        # The patterns mix sources of about equal power; there may be fewer than channels.
        matrix = np.asarray(step.patterns_.T @ step.patterns_, dtype=np.float64)
        return [matrix + 0.01 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))]
    return []


def _checked_windows(windows: NDArray[np.floating], contract: Contract) -> NDArray[np.float32]:
    shape = (contract.n_channels, contract.window_samples)
    if windows.ndim != 3 or windows.shape[1:] != shape or not np.isfinite(windows).all():
        msg = (
            f"Expected finite windows (n_windows, {shape[0]}, {shape[1]}) to compare on, found the shape {windows.shape}; "
            "pass windows as the pipeline was fitted to."
        )
        raise ExportError(msg)
    return windows.astype(np.float32)


def _compare(trial: Trial, reference: PipelineReference, compared: Sequence[NDArray[np.float32]]) -> None:
    for x in compared:
        apart = trial.difference(reference, "logits", "windows like those it was fitted to", x)
        if not apart <= TOLERANCE:
            msg = (
                f"The graph's probabilities differ from the pipeline's by {apart:.2g} (allowed {TOLERANCE:g}) on windows like "
                "those it was fitted to, as happens where covariances are singular or spread over more than eight decades; fit it "
                "with a shrinking estimator (lwf, oas), or leave out channels that follow from others."
            )
            raise ExportError(msg)
