"""ONNX graph of the tangent-space baseline, from operators that every runtime has, in double precision."""

from __future__ import annotations

import numpy as np

from mindwire_models.graphs.interfaces import folded_interface
from mindwire_models.graphs.matrix_logarithm import logarithm
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.network.riemann import FLOOR, RIDGE, TangentSpaceNetwork

_DOUBLE = 11  # onnx.TensorProto.DOUBLE
_FLOAT = 1


def tangent_space_graph(network: TangentSpaceNetwork, temperature: float = 1.0) -> bytes:
    """Build the graph of a fitted baseline; see :func:`folded_interface`.

    Raises
    ------
    MissingExtraError
        The package onnx is not installed.
    """
    g = GraphBuilder(np.float64)
    n_chans, n_classes = network.n_chans, network.n_outputs
    whitening, coefficients, intercept = (buffer.double().numpy() for buffer in network.buffers())
    eye = np.eye(n_chans)
    x = g.Cast("x", to=_DOUBLE)
    aligned = g.MatMul(g.Cast("alignment", to=_DOUBLE), x)
    products = g.Div(g.MatMul(aligned, g.Transpose(aligned, perm=[0, 2, 1])), float(network.n_times))
    trace = g.ReduceSum(g.Mul(products, eye), [1, 2], keepdims=1)
    ridge = g.Add(g.Mul(trace, RIDGE / n_chans), FLOOR)
    covariance = g.Add(products, g.Mul(ridge, eye))
    log = logarithm(g, g.MatMul(g.MatMul(whitening, covariance), whitening), eye)
    flat = g.Reshape(log, [-1, n_chans * n_chans])
    logits = g.Add(g.MatMul(flat, coefficients.reshape(n_classes, -1).T), intercept)
    g.Cast(logits, to=_FLOAT, out="logits")
    g.Cast(g.Softmax(g.Div(logits, temperature), axis=1), to=_FLOAT, out="probabilities")
    return g.build(folded_interface(n_chans, network.n_times, n_classes))
