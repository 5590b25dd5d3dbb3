"""Direction from rest to activity, learnt from aligned trials, about which a stream's alignment is limited."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindwire.evaluation.idle import idle_class
from mindwire.signal.manifold import Matrix, spectrum
from mindwire.training.data import RecordedTrials
from mindwire_models.contract import Alignment, Contract, Normalisation


def with_rest_axis(contract: Contract, data: RecordedTrials) -> Normalisation:
    """Return a contract's normalisation with the axis of rest; as it is without alignment, or without trials of a class of rest."""
    spec, rest = contract.normalisation, idle_class(None, contract.classes)
    if not isinstance(spec, Alignment) or rest is None:
        return spec
    at_rest = data.labels[data.decided] == contract.classes.index(rest)
    if at_rest.all() or not at_rest.any():
        return spec
    logarithms = np.array([_logarithm(window) for window in data.deciding])
    axis = logarithms[~at_rest].mean(axis=0) - logarithms[at_rest].mean(axis=0)
    return spec.model_copy(update={"rest_axis": tuple(map(tuple, ((axis + axis.T) / 2).tolist()))})


def _logarithm(window: NDArray[np.float32]) -> Matrix:
    """Return the logarithm of the covariance of a window, ``(n_channels, n_times)``."""
    precise = window.astype(np.float64)
    values, vectors = spectrum(precise @ precise.T / precise.shape[1])
    return np.asarray((vectors * np.log(values)) @ vectors.T)
