"""Baseline: logistic regression in the tangent space of covariances, fitted with pyRiemann and scikit-learn.

Barachant et al. 2012, "Multiclass brain-computer interface classification by Riemannian geometry". The fitted model is plain
arrays and runs without either: the covariance of an aligned window is whitened by a fixed reference, its matrix logarithm is
taken, and its inner products with one matrix per class are the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ArgumentError, MissingExtraError

# Of the mean eigenvalue: keeps windows of interpolated or re-referenced channels positive definite, and
# the spread of eigenvalues within what the ONNX graph's matrix logarithm resolves.
RIDGE = 1e-3
FLOOR = 1e-10
TENSORS = ("whitening", "coefficients", "intercept")

Matrices = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TangentSpaceModel:
    """Fitted baseline.

    Parameters
    ----------
    whitening : ndarray of float64, shape (n_chans, n_chans)
        Inverse square root of the reference, the Riemannian mean of the training covariances.
    coefficients : ndarray of float64, shape (n_classes, n_chans, n_chans)
        Symmetric; a logit is ``sum(coefficients[k] * log(W C W)) + intercept[k]``.
    intercept : ndarray of float64, shape (n_classes,)
    n_times : int
        Samples per window it was fitted on.
    """

    whitening: Matrices
    coefficients: Matrices
    intercept: NDArray[np.float64]
    n_times: int

    def logits(self, windows: NDArray[np.floating]) -> Matrices:
        """Return the logits, ``(n_windows, n_classes)``, of aligned windows ``(n_windows, n_chans, n_times)``."""
        whitened = self.whitening @ covariances(windows) @ self.whitening
        values, vectors = np.linalg.eigh(whitened)
        logs = (vectors * np.log(values)[:, None, :]) @ vectors.swapaxes(1, 2)
        return np.asarray(np.einsum("bij,kij->bk", logs, self.coefficients) + self.intercept)

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays by the names they have in a bundle's weights."""
        return dict(zip(TENSORS, (self.whitening, self.coefficients, self.intercept), strict=True))


def covariances(windows: NDArray[np.floating]) -> Matrices:
    """Return the covariances, ``x xᵀ / n_times`` with a small ridge, of windows ``(n_windows, n_chans, n_times)``."""
    x = windows.astype(np.float64)
    n_chans = x.shape[1]
    products = x @ x.swapaxes(1, 2) / x.shape[2]
    ridge = RIDGE * np.trace(products, axis1=1, axis2=2) / n_chans + FLOOR
    return np.asarray(products + ridge[:, None, None] * np.eye(n_chans))


def fit_tangent_space(
    windows: NDArray[np.float32],
    labels: NDArray[np.intp],
    n_classes: int,
    *,
    weights: NDArray[np.float64] | None = None,
) -> TangentSpaceModel:
    """Fit the baseline to aligned windows ``(n_windows, n_chans, n_times)``; a class without windows gets no probability.

    Raises
    ------
    MissingExtraError
        PyRiemann or scikit-learn are not installed.
    ArgumentError
        Fewer than two classes have windows.
    """
    try:
        from pyriemann.geometry.mean import mean_riemann
        from pyriemann.geometry.tangentspace import tangent_space
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        msg = "The tangent-space baseline needs pyriemann and scikit-learn; install them with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    present = np.unique(labels)
    if len(present) < 2:
        msg = f"A classifier needs windows of at least two classes, found {len(present)}; record the others too."
        raise ArgumentError(msg)
    matrices = covariances(windows)
    reference = mean_riemann(matrices, sample_weight=weights)
    features = tangent_space(matrices, reference, metric="riemann")
    regression = LogisticRegression(max_iter=5000)
    regression.fit(features, labels, sample_weight=weights)
    rows, offsets = regression.coef_, regression.intercept_
    if len(present) == 2:  # one row stands for both classes
        rows, offsets = np.concatenate([-rows / 2, rows / 2]), np.concatenate([-offsets / 2, offsets / 2])
    n_chans = windows.shape[1]
    coefficients = np.zeros((n_classes, n_chans, n_chans))
    intercept = np.full(n_classes, -30.0)
    upper = np.triu_indices(n_chans)
    # Off the diagonal the features carry a factor of the square root of two, and each element counts twice here.
    share = np.where(upper[0] == upper[1], 1.0, np.sqrt(2) / 2)
    for label, row, offset in zip(present, rows, offsets, strict=True):
        coefficients[label][upper] = row * share
        coefficients[label] += np.triu(coefficients[label], 1).T
        intercept[label] = offset
    values, vectors = np.linalg.eigh(reference)
    whitening = (vectors / np.sqrt(values)) @ vectors.T
    # A bundle keeps single precision: what is scored is what is kept.
    return TangentSpaceModel(_single(whitening), _single(coefficients), _single(intercept), windows.shape[2])


def _single(array: Matrices) -> Matrices:
    return array.astype(np.float32).astype(np.float64)
