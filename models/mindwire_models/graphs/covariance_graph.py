"""ONNX nodes of pyRiemann's estimators of covariances, with its formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from mindwire_models.errors import ExportError
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.pipeline_values import TINY, Value, refuse_argument

# A divisor that is zero only where what it divides is, too.
_NOT_ZERO = 1e-300

_ARGUMENTS = {
    "scm": {"assume_centered", "weights"},
    "cov": {"bias", "ddof"},
    "corr": set[str](),
    "lwf": {"assume_centered", "block_size"},
    "oas": {"assume_centered"},
    "sch": set[str](),
}


def covariances(g: GraphBuilder, value: Value, step: Any) -> Value:
    """Add pyRiemann's ``Covariances`` of windows, ``(batch, n_chans, n_times)`` to ``(batch, n_chans, n_chans)``.

    Raises
    ------
    ExportError
        The estimator or one of its arguments is not known.
    """
    estimator, options = step.estimator, dict(step.kwds)
    if not isinstance(estimator, str) or estimator not in _ARGUMENTS:
        raise refuse_argument(step, "estimator", f"one of {', '.join(_ARGUMENTS)}")
    if unknown := sorted(set(options) - _ARGUMENTS[estimator]):
        msg = f"Covariances(estimator={estimator!r}) has no graph with the argument {unknown[0]!r}; leave it out."
        raise ExportError(msg)
    n_chans, n_times = value.sizes
    weights = options.get("weights")
    share = np.ones(n_times) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    x = value.name
    if not options.get("assume_centered"):
        x = g.Sub(x, g.ReduceSum(g.Mul(x, share), [-1], keepdims=1))
    covariance = g.MatMul(g.Mul(x, share), g.Transpose(x, perm=[0, 2, 1]))
    if estimator == "cov":
        ddof = options.get("ddof")
        ddof = (0 if options.get("bias") else 1) if ddof is None else int(ddof)
        covariance = g.Mul(covariance, n_times / (n_times - ddof))
    elif estimator == "corr":
        covariance = _correlations(g, covariance, np.eye(n_chans))
    elif estimator == "sch":
        covariance = _schaefer_strimmer(g, x, covariance, np.eye(n_chans), n_times)
    elif estimator in {"lwf", "oas"} and n_chans > 1:
        covariance = _shrunk(g, x, covariance, value.sizes, estimator)
    return Value(g.Add(covariance, TINY * np.eye(n_chans)), "covariances", (n_chans, n_chans))


def _variances(g: GraphBuilder, covariance: str, eye: Any) -> tuple[str, str]:
    """Add the diagonal, as a column and as a row."""
    diagonal = g.Mul(covariance, eye)
    return g.ReduceSum(diagonal, [2], keepdims=1), g.ReduceSum(diagonal, [1], keepdims=1)


def _correlations(g: GraphBuilder, covariance: str, eye: Any) -> str:
    column, row = _variances(g, covariance, eye)
    deviations = g.Mul(g.Sqrt(column), g.Sqrt(row))
    return g.Div(covariance, g.Max(deviations, _NOT_ZERO))


def _schaefer_strimmer(g: GraphBuilder, x: str, covariance: str, eye: Any, n_times: int) -> str:
    column, row = _variances(g, covariance, eye)
    product = g.Max(g.Mul(column, row), _NOT_ZERO)
    squares = g.Mul(x, x)
    fourth = g.MatMul(squares, g.Transpose(squares, perm=[0, 2, 1]))
    spread = g.Sub(fourth, g.Mul(g.Mul(covariance, covariance), float(n_times)))
    spread = g.Mul(g.Div(spread, product), n_times / (n_times - 1) ** 3)
    correlations = g.Mul(g.Div(g.Mul(covariance, covariance), product), (n_times / (n_times - 1)) ** 2)
    sums = [g.ReduceSum(g.Mul(part, 1 - eye), [1, 2], keepdims=1) for part in (spread, correlations)]
    gamma = g.Min(g.Max(g.Div(sums[0], g.Max(sums[1], _NOT_ZERO)), 0.0), 1.0)
    shrunk = g.Mul(covariance, g.Add(g.Mul(gamma, eye), g.Sub(1.0, gamma)))
    return g.Mul(shrunk, n_times / (n_times - 1))


def _shrunk(g: GraphBuilder, x: str, covariance: str, sizes: tuple[int, ...], estimator: str) -> str:
    """Add the covariance shrunk towards its mean variance, by Ledoit and Wolf's rule or by oracle approximation."""
    n_chans, n_times = sizes
    eye = np.eye(n_chans)
    mean = g.Div(g.ReduceSum(g.Mul(covariance, eye), [1, 2], keepdims=1), float(n_chans))
    square = g.Mul(mean, mean)
    total = g.ReduceSum(g.Mul(covariance, covariance), [1, 2], keepdims=1)
    if estimator == "lwf":
        powers = g.ReduceSum(g.Mul(x, x), [1], keepdims=1)
        fourth = g.ReduceSum(g.Mul(powers, powers), [1, 2], keepdims=1)
        beta = g.Mul(g.Sub(g.Div(fourth, float(n_times)), total), 1 / (n_chans * n_times))
        delta = g.Div(g.Sub(total, g.Mul(square, float(n_chans))), float(n_chans))
        shrinkage = g.Div(g.Min(beta, delta), g.Max(delta, _NOT_ZERO))
    else:
        alpha = g.Div(total, float(n_chans**2))
        divisor = g.Mul(g.Sub(alpha, g.Div(square, float(n_chans))), float(n_times + 1))
        shrinkage = g.Min(g.Div(g.Add(alpha, square), g.Max(divisor, _NOT_ZERO)), 1.0)
    return g.Add(g.Mul(covariance, g.Sub(1.0, shrinkage)), g.Mul(g.Mul(mean, shrinkage), eye))
