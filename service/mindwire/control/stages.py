"""Stages of a control policy as data: evidence, decision and axes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from mindwire_models.contract import Name

Seconds = Annotated[float, Field(gt=0, le=3600)]
Pause = Annotated[float, Field(ge=0, le=3600)]
Probability = Annotated[float, Field(gt=0, le=1)]
# Left out where it is 0, so that policies of earlier versions keep their hash.
Contrast = Annotated[float, Field(ge=0, le=1, exclude_if=lambda value: value == 0)]
# Below the smallest probability that is believed, ``p / prior`` could exceed all numbers.
PriorProbability = Annotated[float, Field(ge=1e-6, le=1)]
# Discriminators: without them a fault in one form is reported as one of the other form.
Thresholds = Annotated[
    Annotated[Probability, Tag("number")]
    | Annotated[dict[Name, Probability], Field(min_length=1, max_length=1024), Tag("per class")],
    Discriminator(lambda value: "per class" if isinstance(value, dict) else "number"),
]


class Strict(BaseModel):
    """Base of everything in a policy: frozen, without unknown fields, conversions or numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class EstimatedPrior(Strict):
    """A class prior that follows the mean of the valid predictions.

    Parameters
    ----------
    time_constant_s : float
        Time constant of the running mean in seconds.
    """

    time_constant_s: Seconds = 120.0


def _prior_form(value: Any) -> str:
    return "per class" if isinstance(value, dict) and value.keys() - {"time_constant_s"} else "estimated"


Prior = Annotated[
    Annotated[EstimatedPrior, Tag("estimated")]
    | Annotated[dict[Name, PriorProbability], Field(min_length=2, max_length=1024), Tag("per class")],
    Discriminator(_prior_form),
]


class Latest(Strict):
    """The newest prediction alone; see :class:`mindwire.control.evidence.LatestEvidence`.

    Parameters
    ----------
    prior : EstimatedPrior, dict or None
        Class prior to divide by; None is uniform.
    """

    kind: Literal["latest"] = "latest"
    prior: Prior | None = None


class Leaky(Strict):
    """Leaky integration of log-probabilities; see :class:`mindwire.control.evidence.LeakyEvidence`.

    Parameters
    ----------
    time_constant_s : float or None
        Time constant of the leak in seconds; None never leaks, the sequential probability ratio test.
    contrast : float
        Part, 0 to 1, of the prediction half a window ago that is taken away from the newest one.
    prior : EstimatedPrior, dict or None
        Class prior to divide by; None is uniform.
    """

    kind: Literal["leaky"] = "leaky"
    time_constant_s: Seconds | None = 2.0
    contrast: Contrast = 0.0
    prior: Prior | None = None


class HiddenMarkov(Strict):
    """Hidden Markov model with an idle state; see :class:`mindwire.control.evidence.HiddenMarkovEvidence`.

    Parameters
    ----------
    idle_s, active_s : float
        Mean duration of rest and of an imagined movement in seconds.
    prior : EstimatedPrior, dict or None
        Class prior to divide by; None is uniform.
    """

    kind: Literal["hidden_markov"] = "hidden_markov"
    idle_s: Seconds = 10.0
    active_s: Seconds = 3.0
    prior: Prior | None = None


class DynamicIntegrator(Strict):
    """Dynamic integrator of two classes; see :class:`mindwire.control.evidence.IntegratorEvidence`.

    Parameters
    ----------
    phi : float
        Weight of the free force against that of the prediction, 0 to 1.
    omega : float
        Half width of the conservative region around the centre, above 0 and below 0.5.
    psi : float
        Strength of the force towards the centre, 0 to 1.
    chi : float
        Speed, per second.
    prior : EstimatedPrior, dict or None
        Class prior to divide by; None is uniform.
    """

    kind: Literal["dynamic_integrator"] = "dynamic_integrator"
    phi: Annotated[float, Field(ge=0, le=1)] = 0.6
    omega: Annotated[float, Field(gt=0, lt=0.5)] = 0.3
    psi: Annotated[float, Field(ge=0, le=1)] = 0.1
    chi: Annotated[float, Field(gt=0, le=100)] = 1.0
    prior: Prior | None = None


Evidence = Annotated[Latest | Leaky | HiddenMarkov | DynamicIntegrator, Field(discriminator="kind")]


class Decide(Strict):
    """When a class is committed and released.

    Parameters
    ----------
    commit : float or dict
        Posterior probability from which a class is committed, one for all or one per class.
    release : float or dict
        Posterior probability below which a committed class is released; between the two the state is ambiguous.
    dwell_s : float
        Time for which a class must hold its commit threshold, from the first to the deciding window, in seconds.
    refractory_s : float
        Time after a decision in which no other one is made, in seconds.
    reset : bool
        Start the evidence again after a decision.
    max_entropy : float or None
        Posteriors with a higher entropy, as a fraction of that of the uniform distribution, are idle.
    """

    commit: Thresholds = 0.8
    release: Thresholds = 0.6
    dwell_s: Pause = 0.5
    refractory_s: Pause = 1.0
    reset: bool = True
    max_entropy: Annotated[float, Field(ge=0, le=1)] | None = None


class Axis(Strict):
    """A continuous output in [−1, 1]: the posterior of one class, or of one minus another.

    Parameters
    ----------
    name : str
    positive : str
        Class that moves the axis up.
    negative : str or None
        Class that moves it down; None takes the idle class or state, which holds it at zero.
    dead_zone : float
        Values up to this are zero; what lies above is stretched to the full range.
    smoothing_s : float
        Time constant of the exponential smoothing in seconds; 0 smooths nothing.
    """

    name: Name
    positive: Name
    negative: Name | None = None
    dead_zone: Annotated[float, Field(ge=0, lt=1)] = 0.1
    smoothing_s: Pause = 0.2
