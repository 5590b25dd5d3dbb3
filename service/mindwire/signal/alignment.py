"""Online alignment: whiten the signal by the mean of its own covariances, without labels.

Euclidean: the arithmetic mean (He & Wu 2020). Riemannian: the inductive mean on the manifold of
positive definite matrices, ``M <- M #_w C`` (Ho et al. 2013; Zanini et al. 2018), one step per block.
It can be frozen, rolled back and saved; once ready, no block moves the mean far, and pieces of signal that are
unlike the rest are left out (:mod:`mindwire.signal.artefacts`), and long rest is limited (:mod:`mindwire.signal.rest_limit`).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.artefacts import ArtefactGuard, Block, Pieces
from mindwire.signal.manifold import Matrix, distance_from, geodesic_from, matrix_power, spectrum
from mindwire.signal.rest_limit import ALARM_SECONDS, REFERENCE_SECONDS, RestLimit
from mindwire.signal.rollback import remembered
from mindwire_models.contract import Alignment

_STEP_LIMIT = 0.25  # of the mean's norm: how far one block may move a mean that is ready
# The matrix follows the mean when that is further, per channel and in power, from the one that it whitens. A new matrix costs
# a decoder as much as several windows; 2 % were seen to change decisions, half a percent not.
_NEAR = 0.005


@dataclass(frozen=True, slots=True)
class AlignmentState:
    """State learnt by an alignment.

    Parameters
    ----------
    covariance : ndarray of float64, shape (n_channels, n_channels)
        Mean per sample, in unit².
    weight : float
        Samples it stands for, less those forgotten.
    good_samples : int
        Good samples seen, with those that were too few at a time, or unlike the rest, to be learnt from.
    reference : ndarray of float64, shape (n_channels, n_channels), or None
        Mean of the first two minutes, from which rest is limited; None before, and without an axis of rest.
    most_active : float
        Place on that axis, of all means since, that is furthest towards activity.
    """

    covariance: Matrix
    weight: float
    good_samples: int
    reference: Matrix | None = None
    most_active: float = 0.0

    def __deepcopy__(self, _: object) -> Self:
        return self  # nothing changes it, and a history holds hundreds


def _size(matrix: Matrix) -> float:
    """Frobenius norm."""
    flat = matrix.ravel()
    return math.sqrt(flat @ flat)


class OnlineAlignment:
    """The mean covariance of the good samples so far, and the matrix that whitens them.

    Parameters
    ----------
    spec : Alignment
    n_channels : int
    window_samples : int
    sfreq : float
        Hertz; turns the forgetting time into samples.

    Attributes
    ----------
    kind : {"euclidean", "riemannian"}
    state : AlignmentState
        State learnt so far, for :meth:`restore`.
    frozen : bool
        While true, nothing is learnt.
    version : int
        Changes whenever ``matrix`` does.
    matrix : ndarray of float32, shape (n_channels, n_channels)
        Whitens the mean, or one within half a percent of it: it follows as soon as the mean has moved further.
    left_out : int
        Good samples that were unlike the rest, and not learnt from.
    rest_left_out : int
        Good samples not learnt from because of the limit on rest, since the last command.
    """

    def __init__(self, spec: Alignment, n_channels: int, window_samples: int, sfreq: float) -> None:
        self._spec = spec
        self.kind = spec.kind
        self._factor = window_samples if spec.scale == "window_sum" else 1
        self._forgetting = spec.forgetting_seconds * sfreq if spec.forgetting_seconds else None
        self.state = AlignmentState(np.zeros((n_channels, n_channels)), 0.0, 0)
        self._spectrum = self.state, spectrum(self.state.covariance)
        self._whitened = self.state.covariance
        self._reference: Matrix | None = None  # inverse square root of the mean when it first was ready
        self._history: deque[AlignmentState] = deque(maxlen=remembered(self.state.covariance.nbytes))  # one per update
        self._guard = ArtefactGuard()
        self._rest = RestLimit(spec.rest_axis) if spec.rest_axis is not None else None
        self._reference_samples, self._alarm_samples = REFERENCE_SECONDS * sfreq, ALARM_SECONDS * sfreq
        self._revisable = True
        self._relearnt: tuple[AlignmentState, list[Block | None]] = (self.state, [])
        self.frozen = False
        self.version = 0
        self.left_out = self.rest_left_out = 0
        self.matrix = np.eye(n_channels, dtype=np.float32)
        if spec.warm_start is not None:
            weight = max(spec.warm_start_samples, 1)
            self.restore(AlignmentState(np.array(spec.warm_start), float(weight), weight))

    @property
    def ready(self) -> bool:
        """True if enough good samples were seen."""
        return self.state.weight > 0 and self.state.good_samples >= self._spec.ready_samples

    @property
    def missing_samples(self) -> int:
        """Number of good samples missing until it is ready."""
        return max(0, self._spec.ready_samples - self.state.good_samples)

    @property
    def drift(self) -> float:
        """Riemannian distance between the mean now and when it first was ready; 0 before that."""
        return 0.0 if self._reference is None else distance_from(self._reference, self.state.covariance)

    def update(self, good: NDArray[np.float32]) -> None:
        """Learn from one block of good conditioned samples, ``(n_samples, n_channels)``, without what is unlike the rest.

        It may be empty, and is ignored when too short and while frozen.
        """
        if self.frozen:
            return
        n = len(good)
        seen = self.state.good_samples + n
        learnt: AlignmentState | None = None
        if n >= 2 * good.shape[1]:
            pieces = Pieces(good)
            if self._revisable:
                learnt = self._learn_again(pieces)
            else:
                self._guard.judge(pieces)
                block = pieces.block()
                self.left_out += n - (block.n if block else 0)
                learnt = self._with(self.state, block) if block else None
        if learnt and self._allows_rest(learnt, n):
            self._adopt(self._referred(replace(learnt, good_samples=seen)))
        else:
            self.state = replace(self.state, good_samples=seen)

    @property
    def alarm(self) -> bool:
        """True if two minutes of rest were not learnt from."""
        return self.rest_left_out >= self._alarm_samples

    def _allows_rest(self, learnt: AlignmentState, n: int) -> bool:
        """Return true if learning of a block of ``n`` samples keeps the limit on rest; count them if not."""
        reference = self.state.reference
        if self._rest is None or reference is None:
            return True
        allowed = self._rest.allows(reference, self.state.most_active, self.state.covariance, learnt.covariance)
        self.rest_left_out += 0 if allowed else n
        return allowed

    def _referred(self, learnt: AlignmentState) -> AlignmentState:
        """Return a new state with the reference of the limit on rest."""
        if self._rest is None:
            return learnt
        if (reference := self.state.reference) is not None:
            most = max(self.state.most_active, self._rest.place(reference, learnt.covariance))
            return replace(learnt, reference=reference, most_active=most)
        if self._revisable or learnt.weight < self._reference_samples:
            return learnt
        return replace(learnt, reference=learnt.covariance)

    def accept_rest(self) -> None:
        """Begin the limit on rest again at the present mean, and end its alarm."""
        self.rest_left_out = 0
        if self.state.reference is not None:
            self.state = replace(self.state, reference=self.state.covariance, most_active=0.0)

    def _learn_again(self, pieces: Pieces) -> AlignmentState | None:
        """Learn from all blocks so far, while they are remembered, without those that turn out to be artefacts.

        None if nothing is left: of many channels, each block may have too few pieces that are alike.
        """
        judged = self._guard.judge_all(pieces)
        blocks = [some.block() for some in judged]
        self.left_out = sum(some.n - (block.n if block else 0) for some, block in zip(judged, blocks, strict=True))
        state, before = self._relearnt
        # as a rule hindsight changes nothing, and what was learnt from the earlier blocks is what would be learnt again
        if not all(block is earlier for block, earlier in zip(blocks, before, strict=False)):
            state, before = AlignmentState(np.zeros_like(self.state.covariance), 0.0, 0), []
        for block in blocks[len(before) :]:
            if block is not None:
                state = self._with(state, block)
        self._revisable = self._guard.remembers_all
        self._relearnt = (state, blocks) if self._revisable else (state, [])
        if not state.weight:
            return None
        if self.ready:
            here, there = self.state.covariance, state.covariance
            step = min(1.0, _STEP_LIMIT * _size(here) / max(_size(there - here), 1e-300))
            state = replace(state, covariance=here + step * (there - here))
        return state

    def _with(self, old: AlignmentState, block: Block) -> AlignmentState:
        """A state that has learnt from one block more."""
        covariance, n = block.covariance, block.n
        kept = old.weight * (math.exp(-n / self._forgetting) if self._forgetting else 1.0)
        weight = n / (kept + n)
        if old.good_samples >= self._spec.ready_samples:
            far = _size(covariance - old.covariance)
            weight = min(weight, _STEP_LIMIT * _size(old.covariance) / max(far, 1e-300))
        if self._spec.kind == "euclidean" or not old.weight:
            mean = (1 - weight) * old.covariance + weight * covariance
        else:
            mean = geodesic_from(self._spectrum_of(old), covariance, weight)
        return AlignmentState(mean, kept + n, old.good_samples + n)

    def rollback(self, updates: int) -> int:
        """Take back the last updates, at most those remembered (:func:`mindwire.signal.rollback.remembered`); return their number."""
        history = list(self._history)
        count = min(updates, len(history))
        self._revisable = False
        if count:
            self._adopt(history[-count], exactly=True)
            self._history = deque(history[:-count], maxlen=self._history.maxlen)
        return count

    def restore(self, state: AlignmentState) -> None:
        """Go on from a state that was saved, of this session or another."""
        self._revisable = False
        self._adopt(state, exactly=True)

    def _adopt(self, state: AlignmentState, *, exactly: bool = False) -> None:
        if self.state.weight:
            self._history.append(self.state)
        self.state = state
        if self._reference is None and self.ready:
            self._reference = matrix_power(state.covariance, -0.5)
        if exactly or self._far(state.covariance):
            values, vectors = self._spectrum_of(state)
            self.matrix = ((vectors / np.sqrt(values * self._factor)) @ vectors.T).astype(np.float32)
            self.version += 1
            self._whitened = state.covariance

    def _far(self, covariance: Matrix) -> bool:
        """Return true if a mean is too far from the whitened one for the matrix to stay."""
        if not self.version:
            return True
        moved = self.matrix @ (covariance - self._whitened) @ self.matrix
        return _size(moved) * self._factor > _NEAR * math.sqrt(len(covariance))

    def _spectrum_of(self, state: AlignmentState) -> tuple[Matrix, Matrix]:
        """The spectrum of a state's mean, computed once for the newest one asked for."""
        if self._spectrum[0] is not state:
            self._spectrum = state, spectrum(state.covariance)
        return self._spectrum[1]
