"""Continuous outputs in [−1, 1] from posteriors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mindwire.control.stages import Axis


class AxisOutput:
    """One axis: difference of two posteriors, dead zone, exponential smoothing.

    ``v = P(positive) − P(negative)``; values up to the dead zone ``d`` are zero and the rest is stretched,
    ``u = sign(v) (|v| − d) / (1 − d)``; the output follows by ``y ← y + (1 − exp(−Δt / τ)) (u − y)``. While
    predictions are invalid ``u`` is zero.

    Parameters
    ----------
    axis : Axis
    classes : sequence of str
    """

    def __init__(self, axis: Axis, classes: Sequence[str]) -> None:
        self._positive = list(classes).index(axis.positive)
        self._negative = list(classes).index(axis.negative) if axis.negative else None
        self._chance = 1 / len(classes)
        self._dead_zone, self._smoothing_s = axis.dead_zone, axis.smoothing_s
        self.value = 0.0

    def update(self, posterior: Sequence[float] | None, elapsed_s: float) -> float:
        """Take the posterior of one window.

        Parameters
        ----------
        posterior : sequence of float or None
            None for an invalid prediction.
        elapsed_s : float
            Seconds since the previous one.

        Returns
        -------
        float
            In [−1, 1].
        """
        target = 0.0
        if posterior is not None:
            if self._negative is None:
                target = max(0.0, posterior[self._positive] - self._chance) / (1 - self._chance)
            else:
                target = posterior[self._positive] - posterior[self._negative]
            size = max(0.0, abs(target) - self._dead_zone) / (1 - self._dead_zone)
            target = math.copysign(size, target)
        gain = -math.expm1(-elapsed_s / self._smoothing_s) if self._smoothing_s else 1.0
        self.value += gain * (target - self.value)
        return self.value
