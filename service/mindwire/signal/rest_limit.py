"""Limit on what long rest does to the alignment.

Self-paced use is mostly rest, and the mean of a mostly resting person's covariances is that of rest: rest then looks like
activity to the model. Between a mean of balanced use and one of rest lies a direction that the model's training knows
(:attr:`mindwire_models.contract.Alignment.rest_axis`). Once the mean stands for two minutes of signal, it moves freely
towards activity, but towards rest no further than a tenth of the distance between the two: blocks that would take it
beyond are not learnt from. It costs two products of vectors per block.
"""

from __future__ import annotations

import numpy as np

from mindwire.signal.manifold import Matrix, matrix_power

REFERENCE_SECONDS = 120.0
LIMIT = 0.1  # of the distance between rest and activity; docs/adaptation.md has the comparison
ALARM_SECONDS = 120.0  # of good signal left out, together


class RestLimit:
    """Place of a mean covariance between rest and activity, relative to a reference, in units of their distance.

    Parameters
    ----------
    axis : sequence of sequence of float
        The contract's.
    """

    def __init__(self, axis: tuple[tuple[float, ...], ...]) -> None:
        matrix = np.array(axis)
        self._axis = matrix / (matrix * matrix).sum()
        self._reference: Matrix | None = None
        self._direction = np.zeros(0)
        self._origin = 0.0

    def place(self, reference: Matrix, covariance: Matrix) -> float:
        """Return the place of a mean, to first order about the reference: positive towards activity."""
        if self._reference is not reference:
            inverse = matrix_power(reference, -0.5)
            self._direction = (inverse @ self._axis @ inverse).ravel()
            self._origin = float(self._direction @ reference.ravel())
            self._reference = reference
        return float(self._direction @ covariance.ravel()) - self._origin

    def allows(self, reference: Matrix, most_active: float, before: Matrix, after: Matrix) -> bool:
        """Return true if a mean may go from one place to another when it has been as active as this."""
        place = self.place(reference, after)
        return place >= most_active - LIMIT or place >= self.place(reference, before)
