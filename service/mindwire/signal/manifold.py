"""Geometry of covariances: powers, geodesics and distances of symmetric positive definite matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
TINY = float(np.finfo(np.float64).tiny)
_FLOOR = 1e-6  # of the mean eigenvalue: directions without signal are not blown up


def spectrum(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Return eigenvalues and eigenvectors of symmetric matrices, shape (..., n, n).

    Returns
    -------
    values : ndarray of float64, shape (..., n)
        Ascending, floored at 1e-6 of their mean.
    vectors : ndarray of float64, shape (..., n, n)
        In the columns.
    """
    values, vectors = np.linalg.eigh(matrix)
    least = np.maximum(values.sum(axis=-1, keepdims=True) / values.shape[-1], TINY)
    return np.maximum(values, _FLOOR * least), vectors


def matrix_power(matrix: Matrix, exponent: float) -> Matrix:
    """Power of a symmetric positive definite matrix, shape (n, n), its eigenvalues floored at 1e-6 of their mean."""
    values, vectors = spectrum(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)


def geodesic(start: Matrix, end: Matrix, weight: float) -> Matrix:
    """Point ``start #_weight end`` on the geodesic between two positive definite matrices."""
    return geodesic_from(spectrum(start), end, weight)


def geodesic_from(start: tuple[Matrix, Matrix], end: Matrix, weight: float) -> Matrix:
    """The same from a start whose :func:`spectrum` is known."""
    values, vectors = start
    halves = np.sqrt(values)
    root, inverse = (vectors * halves) @ vectors.T, (vectors / halves) @ vectors.T
    moved: Matrix = root @ matrix_power(inverse @ end @ inverse, weight) @ root
    return np.asarray((moved + moved.T) / 2)


def distance(one: Matrix, other: Matrix) -> float:
    """Affine-invariant Riemannian distance of two positive definite matrices (Förstner & Moonen 1999)."""
    return distance_from(matrix_power(one, -0.5), other)


def distance_from(inverse: Matrix, other: Matrix) -> float:
    """The same from a matrix whose inverse square root is known."""
    values = np.linalg.eigvalsh(inverse @ other @ inverse)
    return float(np.sqrt((np.log(np.maximum(values, TINY)) ** 2).sum()))
