"""Logarithm of symmetric positive definite matrices, from ONNX operators that every runtime has.

ONNX knows no eigenvalues, so the matrix logarithm is taken by inverse scaling and squaring: four matrix
square roots by the coupled Newton–Schulz iteration bring the eigenvalues of the scaled matrix near one,
where a Chebyshev polynomial gives the logarithm; ``log A = 16 log(A^(1/16))``. A wider spread of eigenvalues takes a fifth
root. All in double precision.

References
----------
Higham 2008, "Functions of Matrices", chapters 6 and 11.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from numpy.typing import NDArray

from mindwire_models.graphs.onnx_builder import GraphBuilder

Matrices = NDArray[np.float64]

# By the decades over which eigenvalues may spread: iterations per square root, and the least eigenvalue of the polynomial.
_PLANS = {5: ((20, 13, 9, 7), 1e-6), 8: ((28, 18, 12, 9, 7), 1e-9)}
_DEGREE = 14


def logarithm(g: GraphBuilder, matrix: str, eye: Matrices, decades: Literal[5, 8] = 5) -> str:
    """Add the logarithm of a batch of symmetric positive definite matrices, ``(batch, n, n)``, and return its name.

    Parameters
    ----------
    eye : array, shape (n, n)
        The identity.
    decades : {5, 8}
        Spread of the eigenvalues that is resolved, to 1e-9 or better; more takes half as long again.
    """
    plan, spread = _PLANS[decades]
    # An upper bound of the largest eigenvalue: scaled by it, all lie in (0, 1].
    size = g.ReduceMax(g.ReduceSum(g.Abs(matrix), [2], keepdims=1), axes=[1], keepdims=1)
    root = g.Div(matrix, size)
    for iterations in plan:
        root = _square_root(g, root, eye, iterations)
    times = 2 ** len(plan)
    low = spread ** (1 / times)
    polynomial = Chebyshev.interpolate(np.log, _DEGREE, domain=[low, 1.0])
    moved = g.Div(g.Sub(root, g.Mul(eye, (1 + low) / 2)), (1 - low) / 2)
    series = _clenshaw(g, moved, eye, polynomial.coef.tolist())
    return g.Add(g.Mul(series, float(times)), g.Mul(g.Log(size), eye))


def _square_root(g: GraphBuilder, matrix: str, eye: Matrices, iterations: int) -> str:
    """Add a coupled Newton–Schulz iteration: ``y`` converges to the square root, ``z`` to its inverse."""
    three_halves, y, z = g.Mul(eye, 1.5), matrix, ""
    for step in range(iterations):
        correction = g.Sub(three_halves, g.Mul(g.MatMul(z, y) if z else y, 0.5))
        y = g.MatMul(y, correction)
        if step < iterations - 1:
            z = g.MatMul(correction, z) if z else correction
    return y


def _clenshaw(g: GraphBuilder, x: str, eye: Matrices, coefficients: list[float]) -> str:
    """Add a Chebyshev series of a matrix."""
    double = g.Mul(x, 2.0)
    newer, older = g.Mul(eye, coefficients[-1]), ""
    for coefficient in coefficients[-2:0:-1]:
        grown = g.Add(g.MatMul(double, newer), g.Mul(eye, coefficient))
        newer, older = (g.Sub(grown, older) if older else grown), newer
    return g.Sub(g.Add(g.MatMul(x, newer), g.Mul(eye, coefficients[0])), older)
