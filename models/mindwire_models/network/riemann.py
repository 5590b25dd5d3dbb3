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
    coefficients[present], intercept[present] = _symmetric(rows, n_chans), offsets
    values, vectors = np.linalg.eigh(reference)
    return _network((vectors / np.sqrt(values)) @ vectors.T, coefficients, intercept, windows.shape[2])


def update_tangent_space(
    network: TangentSpaceNetwork,
    windows: NDArray[np.float32],
    labels: NDArray[np.intp],
    *,
    weights: NDArray[np.float64] | None = None,
) -> TangentSpaceNetwork:
    """Fit a copy of a fitted baseline to further windows, its own weights in the place of zero in the penalty.

    The penalty is as strong as :func:`fit_tangent_space` has it, and the reference stays. Arguments are as there.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    whitening, coefficients, intercept = (buffer.double().numpy() for buffer in network.buffers())
    n_classes, n_chans = len(intercept), network.n_chans
    values, vectors = np.linalg.eigh(whitening @ covariances(windows) @ whitening)
    logs = (vectors * np.log(values)[:, None, :]) @ vectors.swapaxes(1, 2)
    upper = np.triu_indices(n_chans)
    features = np.column_stack([logs[:, *upper] / _share(upper), np.ones(len(logs))])
    before = np.column_stack([coefficients[:, *upper] / _share(upper), intercept])
    target = np.eye(n_classes)[labels] * (np.ones(len(labels)) if weights is None else weights)[:, None]

    def loss(flat: Matrices) -> tuple[float, Matrices]:
        change = flat.reshape(before.shape) - before
        likelihood = log_softmax(features @ (before + change).T, axis=1)
        error = np.exp(likelihood) * target.sum(axis=1, keepdims=True) - target
        return float((change**2).sum() / 2 - (likelihood * target).sum()), (error.T @ features + change).ravel()

    found = minimize(loss, before.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    fitted = found.x.reshape(before.shape)
    return _network(whitening, _symmetric(fitted[:, :-1], n_chans), fitted[:, -1], network.n_times)


def _share(upper: tuple[NDArray[np.intp], ...]) -> Matrices:
    """Return factors of the elements above the diagonal: features carry the square root of two, and coefficients count twice there."""
    return np.where(upper[0] == upper[1], 1.0, np.sqrt(2) / 2)


def _symmetric(rows: Matrices, n_chans: int) -> Matrices:
    """Return the symmetric coefficients of weights ``(n_classes, n_features)`` in the tangent space."""
    upper = np.triu_indices(n_chans)
    coefficients = np.zeros((len(rows), n_chans, n_chans))
    coefficients[:, *upper] = rows * _share(upper)
    return np.asarray(coefficients + np.triu(coefficients, 1).swapaxes(1, 2))


def _network(whitening: Matrices, coefficients: Matrices, intercept: Matrices, n_times: int) -> TangentSpaceNetwork:
    network = TangentSpaceNetwork(len(whitening), n_times, len(intercept)).eval()
    network.whitening.copy_(torch.from_numpy(whitening))
    network.coefficients.copy_(torch.from_numpy(coefficients))
    network.intercept.copy_(torch.from_numpy(intercept))
    return network
