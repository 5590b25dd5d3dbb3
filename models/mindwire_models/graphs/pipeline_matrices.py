"""ONNX nodes of the steps of a pipeline that work on windows and covariances."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mindwire_models.graphs.covariance_graph import covariances
from mindwire_models.graphs.matrix_logarithm import logarithm
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.pipeline_values import (
    TINY,
    Numbers,
    Step,
    Value,
    check_size,
    refuse_argument,
    symmetric_log,
    symmetric_power,
)

# Covariances of unfiltered channels, or of few samples, spread widely.
_DECADES: Final = 8
_METRICS = ("riemann", "logeuclid", "euclid")


def _metric(step: Any, role: str) -> str:
    """Return the metric of one role, which stands alone or in a dictionary by role."""
    metric = step.metric.get(role) if isinstance(step.metric, dict) else step.metric
    if metric not in _METRICS:
        raise refuse_argument(step, "metric", f"one of {', '.join(_METRICS)}")
    return str(metric)


def _band_pass(g: GraphBuilder, value: Value, step: Any) -> Value:
    taper, waves = step.basis(value.sizes[1])
    return Value(g.MatMul(g.MatMul(value.name, taper[:, None] * waves), waves.T), "windows", value.sizes)


def _tangent_space(g: GraphBuilder, value: Value, step: Any) -> Value:
    """Add the weighted upper triangle of the logarithmic map at the reference."""
    if step.tsupdate:
        raise refuse_argument(step, "tsupdate", "False, for a window is decided without those beside it")
    reference = np.asarray(step.reference_, dtype=np.float64)
    n = len(reference)
    check_size(step, n, value)
    metric = _metric(step, "map")
    if metric == "riemann":
        mapped = _whitened_log(g, value.name, symmetric_power(reference, -0.5))
    elif metric == "logeuclid":
        values, vectors = np.linalg.eigh(symmetric_log(reference))
        change = g.Sub(logarithm(g, value.name, np.eye(n), _DECADES), symmetric_log(reference))
        turned = g.MatMul(g.MatMul(vectors.T, change), vectors)
        mapped = g.MatMul(g.MatMul(vectors, g.Mul(turned, _exponential_slopes(values))), vectors.T)
    else:
        mapped = g.Sub(value.name, reference)
    rows, columns = np.triu_indices(n)
    upper = g.Gather(g.Reshape(mapped, [-1, n * n]), rows * n + columns, axis=1)
    weighted = g.Mul(upper, np.where(rows == columns, 1.0, np.sqrt(2)))
    return Value(weighted, "features", (len(rows),))


def _exponential_slopes(values: Numbers) -> Numbers:
    """Return the divided differences of the exponential between eigenvalues, ``(n, n)``."""
    differences = values[:, None] - values[None, :]
    level = np.exp((values[:, None] + values[None, :]) / 2)
    half = differences / 2
    near = np.abs(half) < 1e-8
    return np.asarray(level * np.where(near, 1.0, np.sinh(half) / np.where(near, 1.0, half)))


def _whitened_log(g: GraphBuilder, matrices: str, whitening: Numbers) -> str:
    return logarithm(g, g.MatMul(g.MatMul(whitening, matrices), whitening), np.eye(len(whitening)), _DECADES)


def squared_distances(g: GraphBuilder, value: Value, step: Any) -> str:
    """Add the squared distances to the means of pyRiemann's ``MDM``, ``(batch, n_classes)``."""
    means = np.asarray(step.covmeans_, dtype=np.float64)
    n_classes, n = means.shape[:2]
    check_size(step, n, value)
    metric = _metric(step, "distance")
    each = g.Unsqueeze(value.name, [1])
    if metric == "riemann":
        whitenings = np.array([symmetric_power(mean, -0.5) for mean in means])
        whitened = g.Reshape(g.MatMul(g.MatMul(whitenings, each), whitenings), [-1, n, n])
        change = g.Reshape(logarithm(g, whitened, np.eye(n), _DECADES), [-1, n_classes, n, n])
    elif metric == "logeuclid":
        logarithms = np.array([symmetric_log(mean) for mean in means])
        change = g.Sub(g.Unsqueeze(logarithm(g, value.name, np.eye(n), _DECADES), [1]), logarithms)
    else:
        change = g.Sub(each, means)
    return g.ReduceSum(g.Mul(change, change), [2, 3], keepdims=0)


def _distances(g: GraphBuilder, value: Value, step: Any) -> Value:
    return Value(g.Sqrt(squared_distances(g, value, step)), "features", (len(step.covmeans_),))


def _pyriemann_csp(g: GraphBuilder, value: Value, step: Any) -> Value:
    filters = np.asarray(step.filters_, dtype=np.float64)
    check_size(step, filters.shape[1], value)
    filtered = g.MatMul(g.MatMul(filters, value.name), filters.T)
    n = len(filters)
    if not step.log:
        return Value(filtered, "covariances", (n, n))
    return Value(g.Log(g.ReduceSum(g.Mul(filtered, np.eye(n)), [2], keepdims=0)), "features", (n,))


def _mne_csp(g: GraphBuilder, value: Value, step: Any) -> Value:
    filters = np.asarray(step.filters_[: step.n_components], dtype=np.float64)
    check_size(step, filters.shape[1], value)
    sources = g.MatMul(filters, value.name)
    if step.transform_into == "csp_space":
        return Value(sources, "windows", (len(filters), value.sizes[1]))
    power = g.ReduceMean(g.Mul(sources, sources), axes=[2], keepdims=0)
    if step.log is None or step.log:
        return Value(g.Log(g.Add(power, TINY)), "features", (len(filters),))
    return Value(g.Div(g.Sub(power, step.mean_), step.std_), "features", (len(filters),))


MATRIX_STEPS = {
    "mindwire_models.BandPass": Step(_band_pass, "windows"),
    "pyriemann.Covariances": Step(covariances, "windows"),
    "pyriemann.TangentSpace": Step(_tangent_space, "covariances", "reference_"),
    "pyriemann.CSP": Step(_pyriemann_csp, "covariances", "filters_"),
    "mne.CSP": Step(_mne_csp, "windows", "filters_"),
    "pyriemann.MDM": Step(_distances, "covariances", "covmeans_"),
}
