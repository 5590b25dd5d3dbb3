"""Commands from posteriors: thresholds with hysteresis, dwell, refractory time and idle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mindwire.control.policy import ControlPolicy
from mindwire.types import ControlState


def hops(seconds: float, hop_s: float) -> int:
    """Return a duration as a number of hops, rounded up but for rounding errors.

    Parameters
    ----------
    seconds, hop_s : float

    Returns
    -------
    int
    """
    return math.ceil(seconds / hop_s - 1e-6)


class Decider:
    """Decide when a class is committed.

    Times are counted in hops, by the sequence numbers of the predictions. A class is committed once its posterior has
    led, at or above its commit threshold, in every window from a first one to one that is ``dwell_s`` later, with no
    decision within ``refractory_s`` before; :meth:`interrupt` ends a dwell. It stays active, and is not decided again,
    until its posterior falls below the release threshold.

    Parameters
    ----------
    policy : ControlPolicy
    classes : sequence of str
    hop_s : float
        Time between two windows in seconds.
    resting_until : int or None
        Sequence number before which nothing is decided; of an earlier policy.
    """

    def __init__(
        self, policy: ControlPolicy, classes: Sequence[str], hop_s: float, resting_until: int | None = None
    ) -> None:
        self._idle = list(classes).index(policy.idle) if policy.idle else -1
        self._commit = [1.0 if k == self._idle else policy.threshold("commit", c) for k, c in enumerate(classes)]
        self._release = [1.0 if k == self._idle else policy.threshold("release", c) for k, c in enumerate(classes)]
        self._dwell = hops(policy.decide.dwell_s, hop_s)
        self._refractory = hops(policy.decide.refractory_s, hop_s)
        self._reset = policy.decide.reset
        entropy = policy.decide.max_entropy
        self._max_entropy = None if entropy is None else entropy * math.log(len(classes))
        self._candidate, self._since = -1, 0
        self._active = -1
        self.resting_until = resting_until
        self.state: ControlState = "idle"

    def update(self, seq: int, posterior: Sequence[float] | None) -> int | None:
        """Take the posterior of one window.

        Parameters
        ----------
        seq : int
            Sequence number of the window.
        posterior : sequence of float or None
            One per class; None for an invalid prediction, which ends a dwell and releases the active class.

        Returns
        -------
        int or None
            Index of the class that is decided.
        """
        if posterior is None:
            self.interrupt()
            self.state = "invalid"
            return None
        if self._active >= 0 and posterior[self._active] < self._release[self._active]:
            self._active = -1
        resting = self.resting_until is not None and seq < self.resting_until
        peak = max(posterior)
        top = posterior.index(peak)
        idle = top == self._idle or 1 - math.fsum(posterior) > peak or self._too_uncertain(posterior)
        if idle or peak < self._commit[top] or top == self._active:
            self._candidate = -1
            ambiguous = not idle and peak >= self._release[top]
            self.state = self._name("ambiguous" if ambiguous else "idle", resting=resting)
            return None
        if self._candidate != top:
            self._candidate, self._since = top, seq
        if resting or seq - self._since < self._dwell:
            self.state = self._name("dwelling", resting=resting)
            return None
        self.resting_until = seq + self._refractory
        self._candidate = -1
        self._active = -1 if self._reset else top
        self.state = "active"
        return top

    def interrupt(self) -> None:
        """End a dwell and release the active class, because the next window does not continue the last one."""
        self._candidate = self._active = -1

    def _name(self, otherwise: ControlState, *, resting: bool) -> ControlState:
        if self._active >= 0:
            return "active"
        return "refractory" if resting else otherwise

    def _too_uncertain(self, posterior: Sequence[float]) -> bool:
        if self._max_entropy is None:
            return False
        return -math.fsum(p * math.log(p) for p in posterior if p > 0) > self._max_entropy
