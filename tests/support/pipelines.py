"""Pipelines of scikit-learn, pyRiemann and MNE, and windows whose classes they tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from mne.decoding import CSP as MneCSP
from numpy.typing import NDArray
from pyriemann.classification import MDM, TSClassifier
from pyriemann.estimation import Covariances
from pyriemann.spatialfilters import CSP
from pyriemann.tangentspace import TangentSpace
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from mindwire_models.band_pass import BandPass

SFREQ = 100.0


def windows(
    rng: np.random.Generator, n_classes: int, n_chans: int, n_times: int = 100, n: int = 12
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return ``n`` windows of each class, in microvolts, with an offset, and their labels."""
    own = rng.normal(size=(n_classes, n_chans, n_chans)) * 0.3 / np.sqrt(n_chans)
    mixing = np.eye(n_chans) + rng.normal(size=(n_chans, n_chans)) * 0.5 / np.sqrt(n_chans) + own
    labels = np.tile(np.arange(n_classes), n)
    sources = rng.normal(size=(len(labels), n_chans, n_times))
    return (10 * mixing[labels] @ sources + 3).astype(np.float32), labels


def outcome(pipeline: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the pipeline's own probabilities; without them, the softmax of its decision values."""
    if hasattr(pipeline, "predict_proba"):
        return np.asarray(pipeline.predict_proba(x.astype(np.float64)))
    scores = pipeline.decision_function(x.astype(np.float64))
    return softmax(np.column_stack([-scores / 2, scores / 2]) if scores.ndim == 1 else scores, axis=1)


def regression() -> LogisticRegression:
    return LogisticRegression(max_iter=3000)


def bank(*steps: Callable[[], Any]) -> FeatureUnion:
    """Return the union of the same steps in three bands."""
    bands = ((4, 10), (10, 20), (20, 40))
    return FeatureUnion(
        [
            (f"{low}-{high}", make_pipeline(BandPass(low, high, SFREQ), *(step() for step in steps)))
            for low, high in bands
        ]
    )


def tangent(
    classifier: Any, estimator: str = "oas", metric: str | dict[str, str] = "riemann", **options: Any
) -> Pipeline:
    return make_pipeline(Covariances(estimator, **options), TangentSpace(metric), StandardScaler(), classifier)


RECIPES: dict[str, Callable[[], Pipeline]] = {
    **{
        f"covariances {name}": lambda name=name: tangent(regression(), name)
        for name in ("scm", "cov", "corr", "lwf", "oas", "sch")
    },
    "covariances not centred": lambda: tangent(regression(), "lwf", assume_centered=True),
    "covariances weighted": lambda: tangent(regression(), "scm", weights=np.hanning(102)[1:-1]),
    "covariances biased": lambda: tangent(regression(), "cov", bias=True),
    **{
        f"mean {metric}": lambda metric=metric: make_pipeline(Covariances("oas"), MDM(metric))
        for metric in ("riemann", "logeuclid", "euclid")
    },
    "mean of two metrics": lambda: make_pipeline(Covariances("lwf"), MDM({"mean": "logeuclid", "distance": "riemann"})),
    "tangent logeuclid": lambda: tangent(regression(), metric="logeuclid"),
    "tangent euclid": lambda: tangent(regression(), metric="euclid"),
    "tangent of two metrics": lambda: tangent(regression(), metric={"mean": "logeuclid", "map": "riemann"}),
    "tangent discriminant": lambda: tangent(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    "tangent classifier": lambda: make_pipeline(Covariances("oas"), TSClassifier(clf=regression())),
    "support vectors": lambda: tangent(SVC(kernel="linear")),
    "linear support vectors": lambda: tangent(LinearSVC()),
    "support vectors by sigmoids": lambda: tangent(CalibratedClassifierCV(SVC(kernel="linear"), cv=3)),
    "support vectors by temperature": lambda: tangent(
        CalibratedClassifierCV(SVC(kernel="linear"), method="temperature", ensemble=False, cv=3)
    ),
    "linear support vectors by sigmoids": lambda: tangent(CalibratedClassifierCV(LinearSVC(), ensemble=False, cv=3)),
    "spatial patterns": lambda: make_pipeline(Covariances("oas"), CSP(3), LinearDiscriminantAnalysis()),
    "spatial patterns as covariances": lambda: make_pipeline(Covariances("oas"), CSP(3, log=False), MDM()),
    "spatial patterns of MNE": lambda: make_pipeline(MneCSP(3), LinearDiscriminantAnalysis()),
    "spatial patterns of MNE as z-scores": lambda: make_pipeline(MneCSP(3, log=False), regression()),
    "spatial patterns of MNE as windows": lambda: make_pipeline(
        MneCSP(3, transform_into="csp_space"), "passthrough", Covariances("cov"), MDM()
    ),
    "one band": lambda: make_pipeline(BandPass(8, 30, SFREQ), tangent(regression())),
    "filter bank": lambda: make_pipeline(
        bank(lambda: Covariances("oas"), TangentSpace), StandardScaler(with_mean=False), regression()
    ),
    "filter bank of patterns": lambda: make_pipeline(
        bank(lambda: Covariances("oas"), lambda: CSP(2)), SelectKBest(k=4), LinearDiscriminantAnalysis()
    ),
    "filter bank of patterns of MNE": lambda: make_pipeline(
        bank(lambda: MneCSP(2)), StandardScaler(), SVC(kernel="linear")
    ),
    "filter bank of distances": lambda: make_pipeline(bank(lambda: Covariances("lwf"), MDM), regression()),
}


def write_pipeline(
    path: Path, recipe: str, classes: Sequence[str], n_chans: int, n_times: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Write a pipeline that is fitted to aligned windows, and return its own probabilities, in the order of ``classes``."""
    x, labels = windows(np.random.default_rng(0), len(classes), n_chans, n_times)
    pipeline = RECIPES[recipe]().fit((x - 3).astype(np.float64) / 10, np.array(classes)[labels])
    joblib.dump(pipeline, path)
    places = [list(pipeline.classes_).index(name) for name in classes]
    return lambda x: outcome(pipeline, x)[:, places]
