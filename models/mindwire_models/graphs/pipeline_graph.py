"""ONNX graph of a fitted pipeline of scikit-learn, pyRiemann and MNE, from operators that every runtime has.

The graph computes in double precision what the pipeline computes of windows in double precision; nothing of the pipeline
is executed by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mindwire_models.errors import ExportError
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.pipeline_classifiers import CLASSIFIERS, FEATURE_STEPS
from mindwire_models.graphs.pipeline_matrices import MATRIX_STEPS
from mindwire_models.graphs.pipeline_values import Value, step_name

_DOUBLE = 11  # onnx.TensorProto.DOUBLE
_FLOAT = 1
_TRANSFORMERS = {**MATRIX_STEPS, **FEATURE_STEPS}
_BEFORE = {
    "windows": "a step that gives windows",
    "covariances": "Covariances",
    "features": "TangentSpace, CSP or MDM",
}


def pipeline_graph(pipeline: Any, n_chans: int, n_times: int, order: Sequence[int] | None = None) -> bytes:
    """Build the graph of a fitted pipeline: windows ``x`` to normalised ``logits``, the logarithms of its probabilities.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted, of known steps; it ends in a classifier. Pipelines and a ``FeatureUnion`` may stand within.
    n_chans, n_times : int
        Sizes of the windows, ``(batch, n_chans, n_times)`` float32, in the unit in which the pipeline was fitted.
    order : sequence of int or None
        Places in ``classes_`` of the logits' classes; None leaves them as they are.

    Returns
    -------
    bytes
        The model; its output ``logits`` is ``(batch, n_classes)`` float32. Of a classifier without probabilities they are
        its decision values (for two classes, plus and minus half of the one) less the logarithm of the sum of their exponentials.

    Raises
    ------
    ExportError
        A step is unknown, not fitted, or was fitted to other sizes.
    MissingExtraError
        The package onnx is not installed.
    """
    g = GraphBuilder(np.float64)
    value = Value(g.Cast("x", to=_DOUBLE), "windows", (n_chans, n_times))
    *transformers, (label, classifier) = list(flat_steps(pipeline)) or [("", pipeline)]
    for name, step in transformers:
        value = _transformed(g, value, name, step)
    known = CLASSIFIERS.get(step_name(classifier))
    if known is None:
        msg = (
            f"The last step {label!r} is a {type(classifier).__name__}, which has no graph as a classifier; known are "
            f"{_listed(CLASSIFIERS)}."
        )
        raise ExportError(msg)
    _check(label, classifier, value)
    logits = known.convert(g, value, classifier)
    (n_classes,) = logits.sizes
    normalised = g.LogSoftmax(logits.name, axis=1)
    if order is not None:
        normalised = g.Gather(normalised, list(order), axis=1)
    g.Cast(normalised, to=_FLOAT, out="logits")
    return g.build(({"x": ("batch", n_chans, n_times)}, {"logits": ("batch", n_classes)}))


def flat_steps(pipeline: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the named steps of a pipeline and of those within, without the ones that pass their input through.

    A ``FeatureUnion`` is one step; an estimator that is no pipeline is a step itself.
    """
    if step_name(pipeline) == "sklearn.Pipeline":
        for name, step in pipeline.steps:
            if step is not None and not (isinstance(step, str) and step == "passthrough"):
                inner = [(f"{name}.{label}" if label else name, part) for label, part in flat_steps(step)]
                yield from inner
    elif step_name(pipeline) == "pyriemann.TSClassifier" and hasattr(pipeline, "_pipe"):
        yield from flat_steps(pipeline._pipe)  # noqa: SLF001 - it has no public name
    else:
        yield "", pipeline


def union_members(union: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the named members of a ``FeatureUnion`` that are not dropped."""
    for name, member in union.transformer_list:
        if not (isinstance(member, str) and member == "drop"):
            yield name, member


def _transformed(g: GraphBuilder, value: Value, label: str, step: Any) -> Value:
    if step_name(step) == "sklearn.FeatureUnion":
        return _union(g, value, label, step)
    known = _TRANSFORMERS.get(step_name(step))
    if known is None:
        msg = (
            f"The pipeline's step {label!r} is a {type(step).__name__}, which has no graph; known are "
            f"{_listed({**_TRANSFORMERS, 'sklearn.FeatureUnion': None, **CLASSIFIERS})}."
        )
        raise ExportError(msg)
    _check(label, step, value)
    return known.convert(g, value, step)


def _union(g: GraphBuilder, value: Value, label: str, union: Any) -> Value:
    parts, width = [], 0
    weights = union.transformer_weights or {}
    for name, member in union_members(union):
        part = value
        steps = [] if isinstance(member, str) else flat_steps(member)  # "passthrough"
        for inner, step in steps:
            part = _transformed(g, part, f"{label}.{name}.{inner}".rstrip("."), step)
        if part.kind != "features":
            msg = (
                f"The FeatureUnion {label!r} joins features, but its member {name!r} gives {part.kind}; "
                f"end it with {_BEFORE['features']}."
            )
            raise ExportError(msg)
        parts.append(g.Mul(part.name, float(weights[name])) if name in weights else part.name)
        width += part.sizes[0]
    return Value(g.Concat(*parts, axis=1), "features", (width,))


def _check(label: str, step: Any, value: Value) -> None:
    """Refuse a step that is not fitted or takes another kind of value."""
    known = {**_TRANSFORMERS, **CLASSIFIERS}[step_name(step)]
    if known.fitted is not None and not hasattr(step, known.fitted):
        msg = f"The pipeline's step {label!r}, a {type(step).__name__}, is not fitted; fit the pipeline first."
        raise ExportError(msg)
    if value.kind != known.takes:
        msg = (
            f"The pipeline's step {label!r}, a {type(step).__name__}, takes {known.takes}, but gets {value.kind}; "
            f"put {_BEFORE[known.takes]} before it."
        )
        raise ExportError(msg)


def _listed(names: Any) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[2] for name in names))
