"""Evidence for each class, accumulated over predictions.

Each accumulator turns class probabilities into a posterior over the same classes. Windows overlap: of a window of
``window_s`` seconds only the part that is new since the previous prediction, ``Δt``, is independent of it, so each
log-probability counts with the weight ``λ = min(1, Δt / window_s)``, which is hop ÷ window. Invalid predictions add
nothing; while they last the evidence is forgotten with the shorter of its own time constant and the window's length.
All of it is plain arithmetic on a few floats, because NumPy would take longer for so few values.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import DynamicIntegrator, EstimatedPrior, HiddenMarkov, Latest, Leaky, Prior

_ROUNDING_S = 1e-6  # Of sums of times.
_FLOOR = 1e-6  # Smallest probability that is believed: one window never decides alone.


class EvidenceAccumulator(Protocol):
    """State of the evidence; updated once per prediction."""

    def update(self, probabilities: Sequence[float] | None, elapsed_s: float) -> list[float]:
        """Add a prediction.

        Parameters
        ----------
        probabilities : sequence of float or None
            One per class; None for an invalid prediction.
        elapsed_s : float
            Seconds since the previous prediction.

        Returns
        -------
        list of float
            Posterior probability of each class; may sum to less than one where idle has a state of its own.
        """
        ...

    def reset(self) -> None:
        """Forget the evidence, but not the estimated prior."""
        ...

    def restart(self) -> None:
        """Forget earlier predictions too, because the signal does not continue that of the next one."""
        ...


class ClassPrior:
    """Class prior: uniform, given, or the running mean of the valid predictions.

    Parameters
    ----------
    prior : EstimatedPrior, dict or None
    classes : sequence of str
    """

    def __init__(self, prior: Prior | None, classes: Sequence[str]) -> None:
        self.values = [1 / len(classes)] * len(classes)
        self._time_constant_s = 0.0
        if isinstance(prior, EstimatedPrior):
            self._time_constant_s = prior.time_constant_s
        elif prior is not None:
            self.values = [prior[label] for label in classes]

    def log_ratios(self, probabilities: Sequence[float], elapsed_s: float) -> list[float]:
        """Return ``log(p / prior)`` for each class, then update an estimated prior by ``p``.

        Parameters
        ----------
        probabilities : sequence of float
        elapsed_s : float

        Returns
        -------
        list of float
        """
        ratios = [math.log(max(p, _FLOOR) / q) for p, q in zip(probabilities, self.values, strict=True)]
        if self._time_constant_s:
            gain = -math.expm1(-elapsed_s / self._time_constant_s)
            self.values = [max(q + gain * (p - q), _FLOOR) for p, q in zip(probabilities, self.values, strict=True)]
        return ratios


def softmax(values: Sequence[float]) -> list[float]:
    """Return ``exp(values)`` divided by their sum.

    Parameters
    ----------
    values : sequence of float

    Returns
    -------
    list of float
    """
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


class LatestEvidence:
    """The newest prediction alone, ``p / prior`` normalised; after invalid predictions it starts at uniform.

    Parameters
    ----------
    options : Latest
    classes : sequence of str
    """

    def __init__(self, options: Latest, classes: Sequence[str]) -> None:
        self._prior = ClassPrior(options.prior, classes)
        self._uniform = [1 / len(classes)] * len(classes)

    def update(self, probabilities: Sequence[float] | None, elapsed_s: float) -> list[float]:
        """See :meth:`EvidenceAccumulator.update`."""
        if probabilities is None:
            return self._uniform
        return softmax(self._prior.log_ratios(probabilities, elapsed_s))

    def reset(self) -> None:
        """See :meth:`EvidenceAccumulator.reset`."""

    restart = reset


class LeakyEvidence:
    """Leaky integration of log-probability ratios.

    ``L ← exp(−Δt / τ) L + λ log(p / prior)``; the posterior is ``softmax(L)``. An infinite ``τ`` makes it Wald's
    sequential probability ratio test [1]_ (for more than two classes the test of Baum and Veeravalli [2]_), a small
    one the exponential smoothing that is common in brain-computer interfaces.

    With a contrast ``c`` the evidence is of ``log(p / prior) − c log(p' / prior')``, where ``p'`` is the newest
    prediction that is at least half a window old, as long as its window overlaps the newest one; none, or an invalid
    one, takes nothing away. The log-ratio of a window is about the mean over what was imagined during it, so the older
    half of the window counts ``1 − c`` and the half window before it ``−c``: what began a short while ago stands out
    against what went on before.

    Parameters
    ----------
    options : Leaky
    classes : sequence of str
    window_s : float
        Length of a window in seconds.

    References
    ----------
    .. [1] A. Wald, "Sequential tests of statistical hypotheses", Ann. Math. Stat. 16 (1945).
    .. [2] C. W. Baum and V. V. Veeravalli, "A sequential procedure for multihypothesis testing",
       IEEE Trans. Inf. Theory 40 (1994).
    """

    def __init__(self, options: Leaky, classes: Sequence[str], window_s: float) -> None:
        self._prior = ClassPrior(options.prior, classes)
        self._leak = 1 / options.time_constant_s if options.time_constant_s else 0.0
        self._forget = max(self._leak, 1 / window_s)
        self._window_s = window_s
        self._evidence = [0.0] * len(classes)
        self._contrast = options.contrast
        self._time_s = 0.0
        self._earlier: deque[tuple[float, list[float] | None]] = deque()  # Time and log-ratios, oldest first.

    def update(self, probabilities: Sequence[float] | None, elapsed_s: float) -> list[float]:
        """See :meth:`EvidenceAccumulator.update`."""
        ratios = None if probabilities is None else self._prior.log_ratios(probabilities, elapsed_s)
        if self._contrast:
            ratios = self._contrasted(ratios, elapsed_s)
        if ratios is None:
            kept = math.exp(-elapsed_s * self._forget)
            self._evidence = [kept * value for value in self._evidence]
        else:
            kept = math.exp(-elapsed_s * self._leak)
            weight = min(1.0, elapsed_s / self._window_s)
            self._evidence = [
                kept * value + weight * ratio for value, ratio in zip(self._evidence, ratios, strict=True)
            ]
        return softmax(self._evidence)

    def _contrasted(self, ratios: list[float] | None, elapsed_s: float) -> list[float] | None:
        """Return log-ratios less a part of those of half a window ago, and keep them for half a window."""
        self._time_s += elapsed_s
        self._earlier.append((self._time_s, ratios))
        newest = self._time_s - self._window_s / 2 + _ROUNDING_S
        while len(self._earlier) > 1 and self._earlier[1][0] <= newest:
            self._earlier.popleft()
        time_s, before = self._earlier[0]
        if ratios is None or before is None or not self._time_s - self._window_s + _ROUNDING_S < time_s <= newest:
            return ratios
        return [ratio - self._contrast * value for ratio, value in zip(ratios, before, strict=True)]

    def reset(self) -> None:
        """See :meth:`EvidenceAccumulator.reset`."""
        self._evidence = [0.0] * len(self._evidence)

    def restart(self) -> None:
        """See :meth:`EvidenceAccumulator.restart`."""
        self.reset()
        self._earlier.clear()


class HiddenMarkovEvidence:
    """Hidden Markov model with one state per class and one for idle; the posterior is that of its forward filter.

    The states are the classes and, where the model has no idle class, an idle state of which a prediction says
    nothing (``p = prior``). In the time ``Δt`` an active state turns to idle with probability
    ``a = 1 − exp(−Δt / active_s)`` and idle to one of the ``n`` active states with ``b = 1 − exp(−Δt / idle_s)``,
    ``b / n`` each. A prediction then multiplies the belief in class ``k`` by ``(p_k / prior_k)^λ`` [1]_.

    Parameters
    ----------
    options : HiddenMarkov
    classes : sequence of str
    idle : str or None
        Class of the model that is idle; None adds a state.
    window_s : float
        Length of a window in seconds.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989).
    """

    def __init__(self, options: HiddenMarkov, classes: Sequence[str], idle: str | None, window_s: float) -> None:
        self._prior = ClassPrior(options.prior, classes)
        self._window_s = window_s
        self._idle_rate, self._active_rate = 1 / options.idle_s, 1 / options.active_s
        self._n_classes = len(classes)
        self._idle = len(classes) if idle is None else list(classes).index(idle)
        self._belief = [0.0] * (len(classes) + (idle is None))
        self.reset()

    def update(self, probabilities: Sequence[float] | None, elapsed_s: float) -> list[float]:
        """See :meth:`EvidenceAccumulator.update`."""
        begin = -math.expm1(-elapsed_s * self._idle_rate)
        end = -math.expm1(-elapsed_s * self._active_rate)
        idle = self._belief[self._idle]
        share = idle * begin / (len(self._belief) - 1)
        belief = [value * (1 - end) + share for value in self._belief]
        belief[self._idle] = idle * (1 - begin) + (1 - idle) * end
        if probabilities is not None:
            weight = min(1.0, elapsed_s / self._window_s)
            for state, ratio in enumerate(self._prior.log_ratios(probabilities, elapsed_s)):
                belief[state] *= math.exp(weight * ratio)
        total = math.fsum(belief)
        self._belief = [value / total for value in belief]
        return self._belief[: self._n_classes]

    def reset(self) -> None:
        """See :meth:`EvidenceAccumulator.reset`."""
        self._belief = [0.0] * len(self._belief)
        self._belief[self._idle] = 1.0

    restart = reset


class IntegratorEvidence:
    """Dynamic integrator of Tonin et al. for two classes [1]_.

    The state ``y`` in [0, 1] moves by ``dy/dt = χ (φ F_free(y) + (1 − φ) F_bmi(p))``, where ``p`` is
    the probability of the first class with the prior removed, ``F_bmi(p) = 6.4 (p − ½)³ + 0.4 (p − ½)``, and
    ``F_free`` pulls towards the centre within ``ω`` of it and towards the nearer end beyond::

        y < ½ − ω        −sin(π y / (½ − ω))
        |y − ½| ≤ ω      −ψ sin(π (y − ½) / ω)
        y > ½ + ω         sin(π (y − ½ − ω) / (½ − ω))

    Beyond ``ω`` the state runs to the nearer end unless the prediction is stronger; a decision with ``reset`` returns
    it to the centre. The posterior is ``(y, 1 − y)``. An invalid prediction counts as ``p = ½``.

    Parameters
    ----------
    options : DynamicIntegrator
    classes : sequence of str
        Two.

    References
    ----------
    .. [1] L. Tonin, F. C. Bauer and J. d. R. Millán, "The role of the control framework for continuous teleoperation
       of a brain–machine interface-driven mobile robot", IEEE Trans. Robot. 36 (2020).
    """

    def __init__(self, options: DynamicIntegrator, classes: Sequence[str]) -> None:
        self._options = options
        self._prior = ClassPrior(options.prior, classes)
        self._state = 0.5

    def update(self, probabilities: Sequence[float] | None, elapsed_s: float) -> list[float]:
        """See :meth:`EvidenceAccumulator.update`."""
        options, centred = self._options, 0.0
        if probabilities is not None:
            centred = softmax(self._prior.log_ratios(probabilities, elapsed_s))[0] - 0.5
        force = options.phi * self._free_force()
        force += (1 - options.phi) * (6.4 * centred**3 + 0.4 * centred)
        self._state = min(1.0, max(0.0, self._state + elapsed_s * options.chi * force))
        return [self._state, 1 - self._state]

    def reset(self) -> None:
        """See :meth:`EvidenceAccumulator.reset`."""
        self._state = 0.5

    restart = reset

    def _free_force(self) -> float:
        state, omega = self._state, self._options.omega
        if state < 0.5 - omega:
            return -math.sin(math.pi * state / (0.5 - omega))
        if state <= 0.5 + omega:
            return -self._options.psi * math.sin(math.pi * (state - 0.5) / omega)
        return math.sin(math.pi * (state - 0.5 - omega) / (0.5 - omega))


def accumulator(policy: ControlPolicy, classes: Sequence[str], window_s: float) -> EvidenceAccumulator:
    """Return the accumulator that a policy asks for.

    Parameters
    ----------
    policy : ControlPolicy
    classes : sequence of str
    window_s : float
        Length of a window in seconds.

    Returns
    -------
    EvidenceAccumulator
    """
    match policy.evidence:
        case Latest() as options:
            return LatestEvidence(options, classes)
        case Leaky() as options:
            return LeakyEvidence(options, classes, window_s)
        case HiddenMarkov() as options:
            return HiddenMarkovEvidence(options, classes, policy.idle, window_s)
        case DynamicIntegrator() as options:
            return IntegratorEvidence(options, classes)
