"""ONNX nodes of the steps of a pipeline that work on features, and of its classifiers, which end in logits."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from mindwire_models.errors import ExportError
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.pipeline_matrices import squared_distances
from mindwire_models.graphs.pipeline_values import Step, Value, check_size, refuse_argument, step_name

# Of libsvm: bounds of pairwise probabilities, and the precision at which their coupling ends.
_LIBSVM_BOUND = 1e-7
_LIBSVM_PRECISION = 0.005
_COUPLINGS = 8
_LEAST = 1e-300


def _scaled(g: GraphBuilder, value: Value, step: Any) -> Value:
    check_size(step, step.n_features_in_, value)
    name = value.name
    if step.mean_ is not None and step.with_mean:
        name = g.Sub(name, step.mean_)
    if step.scale_ is not None:
        name = g.Div(name, step.scale_)
    return Value(name, "features", value.sizes)


def _selected(g: GraphBuilder, value: Value, step: Any) -> Value:
    check_size(step, step.n_features_in_, value)
    chosen = step.get_support(indices=True)
    return Value(g.Gather(value.name, chosen, axis=1), "features", (len(chosen),))


def _logits(name: str, step: Any) -> Value:
    return Value(name, "logits", (len(step.classes_),))


def _nearest_mean(g: GraphBuilder, value: Value, step: Any) -> Value:
    return _logits(g.Neg(squared_distances(g, value, step)), step)


def _scores(g: GraphBuilder, value: Value, step: Any) -> str:
    """Add the linear function of a classifier's coefficients, a column per row of them."""
    coefficients = np.asarray(step.coef_, dtype=np.float64)
    check_size(step, coefficients.shape[1], value)
    return g.Add(g.MatMul(value.name, coefficients.T), np.asarray(step.intercept_, dtype=np.float64).ravel())


def _decisions(g: GraphBuilder, value: Value, step: Any) -> str:
    """Add the decision values of a linear classifier: one column for two classes, else one for each."""
    scores = _scores(g, value, step)
    n_classes = len(step.classes_)
    if type(step).__name__ != "SVC" or n_classes == 2:
        return scores
    if step.decision_function_shape != "ovr":
        raise refuse_argument(step, "decision_function_shape", "'ovr'")
    signs = np.zeros((len(step.coef_), n_classes))
    for row, (one, other) in enumerate(combinations(range(n_classes), 2)):
        signs[row, [one, other]] = 1, -1
    # A vote for one class or for the other, and for no score the first; the sum of the scores breaks ties.
    votes = g.Where(g.Less(scores, 0.0), np.array(0.0), np.array(1.0))
    votes = g.Add(g.MatMul(votes, signs), (signs < 0).sum(axis=0).astype(np.float64))
    sums = g.MatMul(scores, signs)
    return g.Add(votes, g.Div(sums, g.Mul(g.Add(g.Abs(sums), 1.0), 3.0)))


def _linear(g: GraphBuilder, value: Value, step: Any) -> Value:
    decisions = _decisions(g, value, step)
    if len(step.classes_) == 2:
        decisions = g.MatMul(decisions, np.array([[-0.5, 0.5]]))
    return _logits(decisions, step)


def _check_kernel(step: Any) -> None:
    if step.kernel != "linear":
        raise refuse_argument(step, "kernel", "'linear'")


def _support_vectors(g: GraphBuilder, value: Value, step: Any) -> Value:
    _check_kernel(step)
    # Their public names warn since scikit-learn 1.9, whether they are there or not.
    slopes, offsets = (np.asarray(getattr(step, name, ())) for name in ("_probA", "_probB"))
    if not slopes.size:
        return _linear(g, value, step)
    scores = _scores(g, value, step)
    n_classes = len(step.classes_)
    if n_classes == 2:
        scores = g.Neg(scores)
    raised = g.Add(g.Mul(scores, slopes), offsets)
    pairs = g.Min(g.Max(g.Sigmoid(g.Neg(raised)), _LIBSVM_BOUND), 1 - _LIBSVM_BOUND)
    return _logits(g.Log(g.Max(_coupled(g, pairs, n_classes), _LEAST)), step)


def _coupled(g: GraphBuilder, pairs: str, n: int) -> str:
    """Add libsvm's coupling of pairwise probabilities, with its early end (Wu, Lin and Weng 2004, second method)."""
    places = list(combinations(range(n), 2))
    spread, offset = np.zeros((len(places), n, n)), np.zeros((n, n))
    for row, (one, other) in enumerate(places):
        spread[row, one, other], spread[row, other, one], offset[other, one] = 1, -1, 1
    flat = g.Add(g.MatMul(pairs, spread.reshape(len(places), n * n)), offset.ravel())
    wins = g.Reshape(flat, [-1, n, n])
    eye = np.eye(n)
    squares = g.ReduceSum(g.Mul(wins, wins), [1], keepdims=1)
    q = g.Sub(g.Mul(squares, eye), g.Mul(wins, g.Transpose(wins, perm=[0, 2, 1])))
    p = g.Add(g.ReduceSum(g.Mul(wins, 0.0), [2], keepdims=1), 1 / n)
    for _ in range(_COUPLINGS):
        products = g.MatMul(q, p)
        level = g.ReduceSum(g.Mul(p, products), [1], keepdims=1)
        error = g.ReduceMax(g.Abs(g.Sub(products, level)), axes=[1], keepdims=1)
        moved = p
        for place in range(n):
            unit = eye[:, place : place + 1]
            column = g.MatMul(q, unit)
            diagonal, product = (g.ReduceSum(g.Mul(part, unit), [1], keepdims=1) for part in (column, products))
            change = g.Div(g.Sub(level, product), diagonal)
            growth = g.Add(change, 1.0)
            moved = g.Div(g.Add(moved, g.Mul(change, unit)), growth)
            gain = g.Mul(change, g.Add(g.Mul(change, diagonal), g.Mul(product, 2.0)))
            level = g.Div(g.Add(level, gain), g.Mul(growth, growth))
            products = g.Div(g.Add(products, g.Mul(change, column)), growth)
        p = g.Where(g.Less(error, _LIBSVM_PRECISION / n), p, moved)
    return g.Reshape(p, [-1, n])


def _calibrated(g: GraphBuilder, value: Value, step: Any) -> Value:
    """Add the mean probability of classifiers that scikit-learn calibrated by sigmoids or by a temperature."""
    members = step.calibrated_classifiers_
    total = ""
    for member in members:
        known = CLASSIFIERS.get(step_name(member.estimator))
        if known is None or known.convert not in {_linear, _support_vectors}:
            msg = (
                f"CalibratedClassifierCV has no graph around {type(member.estimator).__name__}; "
                f"expected one of {', '.join(_LINEAR)}."
            )
            raise ExportError(msg)
        if len(member.estimator.classes_) != len(step.classes_):  # the names may be numbers there
            msg = (
                "CalibratedClassifierCV has members that know only some of the classes; fit it to more trials of each."
            )
            raise ExportError(msg)
        probabilities = _member(g, value, member, step)
        total = g.Add(total, probabilities) if total else probabilities
    return _logits(g.Log(g.Max(g.Div(total, float(len(members))), _LEAST)), step)


def _member(g: GraphBuilder, value: Value, member: Any, step: Any) -> str:
    if step_name(member.estimator) == "sklearn.SVC":
        _check_kernel(member.estimator)
    decisions = _decisions(g, value, member.estimator)
    two = len(step.classes_) == 2
    if member.method == "temperature":
        logits = g.MatMul(decisions, np.array([[-1.0, 1.0]])) if two else decisions
        return g.Softmax(g.Mul(logits, float(member.calibrators[0].beta_)), axis=1)
    if member.method != "sigmoid":
        raise refuse_argument(step, "method", "'sigmoid' or 'temperature'")
    slopes, offsets = (np.array([getattr(c, name) for c in member.calibrators]) for name in ("a_", "b_"))
    raised = g.Add(g.Mul(decisions, slopes), offsets)
    if two:
        return g.Sigmoid(g.MatMul(raised, np.array([[1.0, -1.0]])))
    each = g.Sigmoid(g.Neg(raised))
    return g.Div(each, g.Max(g.ReduceSum(each, [1], keepdims=1), _LEAST))


FEATURE_STEPS = {
    "sklearn.StandardScaler": Step(_scaled, "features", "scale_"),
    "sklearn.SelectKBest": Step(_selected, "features", "scores_"),
}
_LINEAR = ("LogisticRegression", "LinearDiscriminantAnalysis", "LinearSVC", "SVC")
CLASSIFIERS = {
    "pyriemann.MDM": Step(_nearest_mean, "covariances", "covmeans_"),
    "sklearn.LogisticRegression": Step(_linear, "features", "coef_"),
    "sklearn.LinearDiscriminantAnalysis": Step(_linear, "features", "coef_"),
    "sklearn.LinearSVC": Step(_linear, "features", "coef_"),
    "sklearn.SVC": Step(_support_vectors, "features", "support_"),
    "sklearn.CalibratedClassifierCV": Step(_calibrated, "features", "calibrated_classifiers_"),
}
