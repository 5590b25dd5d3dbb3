"""Baseline: logistic regression in the tangent space of covariances, fitted with pyRiemann and scikit-learn.

Barachant et al. 2012, "Multiclass brain-computer interface classification by Riemannian geometry".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError, extra

# Of the mean eigenvalue: keeps windows of interpolated or re-referenced channels positive definite, and
# the spread of eigenvalues within what the ONNX graph's matrix logarithm resolves.
RIDGE = 1e-3
FLOOR = 1e-10

Matrices = NDArray[np.float64]


class TangentSpaceNetwork(nn.Module):
    """Fitted baseline: a logit is ``sum(coefficients[k] * log(W C W)) + intercept[k]`` for an aligned window's covariance ``C``.

    Attributes
    ----------
    whitening : Tensor, shape (n_chans, n_chans)
        ``W``, the inverse square root of the reference, the Riemannian mean of the training covariances.
    coefficients : Tensor, shape (n_outputs, n_chans, n_chans)
        Symmetric.
    intercept : Tensor, shape (n_outputs,)
    """

    whitening: Tensor
    coefficients: Tensor
    intercept: Tensor
    attention_mode = None

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.n_chans, self.n_times, self.n_outputs = n_chans, n_times, n_outputs
        self.register_buffer("whitening", torch.eye(n_chans, dtype=torch.float32))
        self.register_buffer("coefficients", torch.zeros(n_outputs, n_chans, n_chans, dtype=torch.float32))
        self.register_buffer("intercept", torch.zeros(n_outputs, dtype=torch.float32))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TangentSpaceNetwork:
        """Make a module of the sizes that :meth:`get_config` states."""
        return cls(int(config["n_chans"]), int(config["n_times"]), int(config["n_outputs"]))

    def get_config(self) -> dict[str, Any]:
        """Return the sizes and the kind of decoder."""
        sizes = {"n_chans": self.n_chans, "n_times": self.n_times, "n_outputs": self.n_outputs}
        return {"decoder": "tangent_space", **sizes}

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(batch, n_outputs)``, of windows ``(batch, n_chans, n_times)``; computed in double precision."""
        windows = x.double()
        products = windows @ windows.mT / self.n_times
        trace = products.diagonal(dim1=1, dim2=2).sum(dim=1)
        eye = torch.eye(self.n_chans, dtype=torch.float64, device=x.device)
        covariance = products + (RIDGE / self.n_chans * trace + FLOOR)[:, None, None] * eye
        whitening = self.whitening.double()
        values, vectors = torch.linalg.eigh(whitening @ covariance @ whitening)
        logarithm = (vectors * values.log()[:, None, :]) @ vectors.mT
        logits = torch.einsum("bij,kij->bk", logarithm, self.coefficients.double()) + self.intercept.double()
        return logits.to(x.dtype)

    def logits(self, windows: NDArray[np.floating]) -> Matrices:
        """Logits as of :meth:`forward`, by NumPy, whose rounding trained weights reproduce."""
        whitening, coefficients, intercept = (buffer.double().numpy() for buffer in self.buffers())
        values, vectors = np.linalg.eigh(whitening @ covariances(windows) @ whitening)
        logs = (vectors * np.log(values)[:, None, :]) @ vectors.swapaxes(1, 2)
        return np.asarray(np.einsum("bij,kij->bk", logs, coefficients) + intercept)


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
) -> TangentSpaceNetwork:
    """Fit the baseline to aligned windows ``(n_windows, n_chans, n_times)``; a class without windows gets no probability.

    An ArgumentError says that fewer than two classes have windows, a MissingExtraError that a library is not installed.
    """
    with extra("train", "The tangent-space baseline needs pyriemann and scikit-learn"):
        from pyriemann.geometry.mean import mean_riemann
        from pyriemann.geometry.tangentspace import tangent_space
        from sklearn.linear_model import LogisticRegression
    present = np.unique(labels)
    if len(present) < 2:
        msg = f"A classifier needs windows of at least two classes, found {len(present)}; record the others too."
        raise ArgumentError(msg)
    matrices = covariances(windows)
    reference = mean_riemann(matrices, sample_weight=weights)
    regression = LogisticRegression(max_iter=5000)
    regression.fit(tangent_space(matrices, reference, metric="riemann"), labels, sample_weight=weights)
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
    network = TangentSpaceNetwork(n_chans, windows.shape[2], n_classes).eval()
    network.whitening.copy_(torch.from_numpy((vectors / np.sqrt(values)) @ vectors.T))
    network.coefficients.copy_(torch.from_numpy(coefficients))
    network.intercept.copy_(torch.from_numpy(intercept))
    return network
