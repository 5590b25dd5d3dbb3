"""ONNX graph of the tangent-space baseline, from operators that every runtime has.

ONNX knows no eigenvalues, so the matrix logarithm is taken by inverse scaling and squaring: four matrix
square roots by the coupled Newton–Schulz iteration bring the eigenvalues of the scaled matrix near one,
where a Chebyshev polynomial gives the logarithm; ``log A = 16 log(A^(1/16))``. All in double precision.

References
----------
Higham 2008, "Functions of Matrices", chapters 6 and 11.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev

from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.network.riemann import FLOOR, RIDGE, TangentSpaceModel

# Iterations per square root, for eigenvalues that spread over up to five decades.
_ITERATIONS = (20, 13, 9, 7)
_SPREAD = 1e-6
_DEGREE = 14
_DOUBLE = 11  # onnx.TensorProto.DOUBLE
_FLOAT = 1


def tangent_space_graph(model: TangentSpaceModel, temperature: float = 1.0) -> bytes:
    """Build the graph of a fitted baseline, with the inputs and outputs of a folded network.

    Inputs ``x`` (batch, n_chans, n_times), not aligned, and ``alignment`` (batch, n_chans, n_chans); outputs
    ``logits`` and ``probabilities`` (batch, n_classes), the softmax of ``logits / temperature``.

    Raises
    ------
    MissingExtraError
        The package onnx is not installed.
    """
    g = GraphBuilder()
    n_chans, n_classes = len(model.whitening), len(model.intercept)

    def number(value: float) -> str:
        return g.constant(value, np.float64)

    eye = g.constant(np.eye(n_chans), np.float64)
    x = g.add("Cast", "x", to=_DOUBLE)
    aligned = g.add("MatMul", g.add("Cast", "alignment", to=_DOUBLE), x)
    products = g.add("MatMul", aligned, g.add("Transpose", aligned, perm=[0, 2, 1]))
    products = g.add("Div", products, number(model.n_times))
    trace = g.add("ReduceSum", g.add("Mul", products, eye), g.integers(1, 2), keepdims=1)
    ridge = g.add("Add", g.add("Mul", trace, number(RIDGE / n_chans)), number(FLOOR))
    covariance = g.add("Add", products, g.add("Mul", ridge, eye))
    whitening = g.constant(model.whitening, np.float64)
    whitened = g.add("MatMul", g.add("MatMul", whitening, covariance), whitening)
    logarithm = _logarithm(g, whitened, eye)
    flat = g.add("Reshape", logarithm, g.integers(-1, n_chans * n_chans))
    weights = g.constant(model.coefficients.reshape(n_classes, -1).T, np.float64)
    logits = g.add("Add", g.add("MatMul", flat, weights), g.constant(model.intercept, np.float64))
    g.add("Cast", logits, to=_FLOAT, out="logits")
    scaled = g.add("Div", logits, number(temperature))
    g.add("Cast", g.add("Softmax", scaled, axis=1), to=_FLOAT, out="probabilities")
    return g.build(
        {"x": ("batch", n_chans, model.n_times), "alignment": ("batch", n_chans, n_chans)},
        {"logits": ("batch", n_classes), "probabilities": ("batch", n_classes)},
    )


def _logarithm(g: GraphBuilder, matrix: str, eye: str) -> str:
    """Add the logarithm of a batch of symmetric positive definite matrices, ``(batch, n, n)``."""
    row_sums = g.add("ReduceSum", g.add("Abs", matrix), g.integers(2), keepdims=1)
    # An upper bound of the largest eigenvalue: scaled by it, all lie in (0, 1].
    size = g.add("ReduceMax", row_sums, axes=[1], keepdims=1)
    root = g.add("Div", matrix, size)
    for iterations in _ITERATIONS:
        root = _square_root(g, root, eye, iterations)
    times = 2 ** len(_ITERATIONS)
    low = _SPREAD ** (1 / times)
    polynomial = Chebyshev.interpolate(np.log, _DEGREE, domain=[low, 1.0])
    half_width = (1 - low) / 2
    centre = g.add("Mul", eye, g.constant((1 + low) / 2, np.float64))
    moved = g.add("Div", g.add("Sub", root, centre), g.constant(half_width, np.float64))
    series = _clenshaw(g, moved, eye, polynomial.coef.tolist())
    scaled = g.add("Mul", series, g.constant(float(times), np.float64))
    return g.add("Add", scaled, g.add("Mul", g.add("Log", size), eye))


def _square_root(g: GraphBuilder, matrix: str, eye: str, iterations: int) -> str:
    """Add a coupled Newton–Schulz iteration: ``Y`` converges to the square root, ``Z`` to its inverse."""
    three_halves = g.add("Mul", eye, g.constant(1.5, np.float64))
    half = g.constant(0.5, np.float64)
    y = matrix
    z = ""
    for step in range(iterations):
        product = g.add("MatMul", z, y) if z else y
        correction = g.add("Sub", three_halves, g.add("Mul", product, half))
        y = g.add("MatMul", y, correction)
        if step < iterations - 1:
            z = g.add("MatMul", correction, z) if z else correction
    return y


def _clenshaw(g: GraphBuilder, x: str, eye: str, coefficients: list[float]) -> str:
    """Add a Chebyshev series of a matrix."""
    double = g.add("Mul", x, g.constant(2.0, np.float64))

    def term(coefficient: float) -> str:
        return g.add("Mul", eye, g.constant(coefficient, np.float64))

    newer, older = term(coefficients[-1]), ""
    for coefficient in coefficients[-2:0:-1]:
        grown = g.add("Add", g.add("MatMul", double, newer), term(coefficient))
        newer, older = (g.add("Sub", grown, older) if older else grown), newer
    last = g.add("Add", g.add("MatMul", x, newer), term(coefficients[0]))
    return g.add("Sub", last, older)
