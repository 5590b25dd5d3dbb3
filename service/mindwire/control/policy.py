"""The control policy: how predictions become decisions and continuous axes, as one strict, versioned document."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, Self

from pydantic import Field, ValidationError, model_validator

from mindwire.control.stages import Axis, Decide, Evidence, Leaky, Strict
from mindwire.errors import PolicyError
from mindwire_models.contract import Name
from mindwire_models.reading import MIB, first_fault, read_regular

if TYPE_CHECKING:
    from mindwire_models.bundle import Bundle

WITHOUT_POLICY = "has no control policy, so it gives probabilities and no decisions; `mindwire tune` writes one"
_MAX_BYTES = MIB


class FrontierPoint(Strict):
    """One choice along the trade-off that was found by tuning, with its figures on the recordings it was tuned on.

    Parameters
    ----------
    false_per_minute : float
        False activations per minute of rest.
    right, wrong_first : int
        Trials with a right activation, and with one of another class first.
    evidence, decide
        The stages of this choice.
    """

    false_per_minute: Annotated[float, Field(ge=0)]
    right: Annotated[int, Field(ge=0)]
    wrong_first: Annotated[int, Field(ge=0)]
    evidence: Evidence
    decide: Decide


class Tuning(Strict):
    """Origin of a tuned policy.

    Parameters
    ----------
    budget_per_minute : float
        False activations per minute of rest that were allowed.
    proven_per_minute : float
        Exact one-sided 95 % bound of the rate counted with each recording left out in turn, or of the policy's own where
        that cannot be; above the budget where the recorded rest is too short to prove it.
    rest_minutes : float
        Of rest in the recordings.
    trials : int
        Trials in the recordings.
    frontier : tuple of FrontierPoint
        Ascending in false activations.
    recordings : tuple of str
        SHA-256 of each recording that it was tuned on, on which its figures are too good.
    """

    budget_per_minute: Annotated[float, Field(gt=0)]
    proven_per_minute: Annotated[float, Field(gt=0)]
    rest_minutes: Annotated[float, Field(gt=0)]
    trials: Annotated[int, Field(ge=0)]
    frontier: Annotated[tuple[FrontierPoint, ...], Field(max_length=100)] = ()
    recordings: Annotated[tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...], Field(max_length=1000)] = ()


class ControlPolicy(Strict):
    """A complete control policy.

    Parameters
    ----------
    version : int
    evidence : Latest, Leaky, HiddenMarkov or DynamicIntegrator
    decide : Decide
    idle : str or None
        Class of the model that asks for nothing; it competes with the others and is never decided.
    axes : tuple of Axis
    tuning : Tuning or None
        How the policy was found, and the other choices.
    """

    version: Literal[1] = 1
    evidence: Evidence = Leaky()
    decide: Decide = Decide()
    idle: Name | None = None
    axes: Annotated[tuple[Axis, ...], Field(max_length=16)] = ()
    tuning: Tuning | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [axis.name for axis in self.axes]
        if len(set(names)) < len(names):
            msg = f"expected a different name for each axis, found {', '.join(names)}"
            raise ValueError(msg)
        for axis in self.axes:
            if axis.positive == axis.negative:
                msg = f"axis {axis.name}: expected two different classes, found {axis.positive} twice"
                raise ValueError(msg)
        return self

    def threshold(self, which: Literal["commit", "release"], label: str) -> float:
        """Return the threshold of a class.

        Parameters
        ----------
        which : {"commit", "release"}
        label : str

        Returns
        -------
        float
        """
        value = getattr(self.decide, which)
        return float(value[label] if isinstance(value, dict) else value)

    def check(self, classes: Sequence[str]) -> None:
        """Check the policy against the classes of a model.

        Parameters
        ----------
        classes : sequence of str

        Raises
        ------
        PolicyError
            It names a class that the model lacks, leaves one out, or its thresholds are out of order; or there are none.
        """
        if not classes:
            _refuse("there is no model yet, so nothing can be decided; give the stream a model first")
        for name, place in self._named().items():
            if name not in classes:
                _refuse(f"{place}: the model has no class {name}, it has {', '.join(classes)}")
        wanted = [label for label in classes if label != self.idle]
        prior = self.evidence.prior
        _complete("decide.commit", self.decide.commit, wanted)
        _complete("decide.release", self.decide.release, wanted)
        _complete("evidence.prior", prior, classes)
        if isinstance(prior, dict) and not math.isclose(sum(prior.values()), 1, abs_tol=1e-6):
            _refuse(f"evidence.prior: expected values that sum to 1, found {sum(prior.values()):g}")
        for label in wanted:
            commit, release = self.threshold("commit", label), self.threshold("release", label)
            if release > commit:
                _refuse(
                    f"decide.release: expected at most {commit:g}, the commit threshold of {label}, found {release:g}"
                )
        if self.evidence.kind == "dynamic_integrator" and len(classes) != 2:
            _refuse(f"evidence: the dynamic integrator takes a model of two classes, this one has {len(classes)}")

    def _named(self) -> dict[str, str]:
        """Return the class names that the policy uses, each with the field that names it."""
        named = {self.idle: "idle"} if self.idle else {}
        for axis in self.axes:
            named |= {name: f"axis {axis.name}" for name in (axis.positive, axis.negative) if name}
        fields = {
            "decide.commit": self.decide.commit,
            "decide.release": self.decide.release,
            "evidence.prior": self.evidence.prior,
        }
        for field, value in fields.items():
            if isinstance(value, dict):
                named |= dict.fromkeys(value, field)
        return named

    def to_json(self) -> str:
        """Return the document as it is stored."""
        return self.model_dump_json(indent=2) + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of the stored document, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _complete(field: str, value: object, labels: Sequence[str]) -> None:
    """Refuse values per class that leave a class out."""
    if isinstance(value, dict) and (missing := [label for label in labels if label not in value]):
        _refuse(f"{field}: expected a value for each class, missing {', '.join(missing)}")


def _refuse(reason: str) -> NoReturn:
    msg = f"The control policy does not fit the model: {reason}."
    raise PolicyError(msg)


def parse_policy(text: bytes | str, source: str = "The control policy") -> ControlPolicy:
    """Read a control policy from its JSON text.

    Parameters
    ----------
    text : bytes or str
    source : str
        Name of the document in messages.

    Returns
    -------
    ControlPolicy

    Raises
    ------
    PolicyError
        The document is no control policy of this version; the message names the first wrong field.
    """
    try:
        policy = ControlPolicy.model_validate_json(text)
    except ValidationError as error:
        where, reason = first_fault(error)
        msg = f"{source} is not valid: {where + ': ' if where else ''}{reason[0].lower()}{reason[1:]}."
        raise PolicyError(msg) from None

    def unique(pairs: list[tuple[str, object]]) -> None:
        counts = Counter(name for name, _ in pairs)
        if twice := [name for name, count in counts.items() if count > 1]:
            msg = f"{source} is not valid: expected each field once, found {', '.join(twice)} twice."
            raise PolicyError(msg)

    json.loads(text, object_pairs_hook=unique)
    return policy


def load_policy(path: Path) -> ControlPolicy:
    """Read a control policy from a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ControlPolicy

    Raises
    ------
    PolicyError
        The file cannot be read or is no control policy.
    """
    return parse_policy(read_regular(path, _MAX_BYTES, PolicyError), str(path))


def choose_policy(bundle: Bundle, control: ControlPolicy | str | None = None) -> ControlPolicy | None:
    """Return the policy for a bundle: a given one, none for ``none``, by default the bundle's own if it has one.

    Parameters
    ----------
    bundle : Bundle
    control : ControlPolicy or str or None
        A policy, the path of its file, or ``none``.

    Returns
    -------
    ControlPolicy or None

    Raises
    ------
    PolicyError
        The policy cannot be read, is not valid, or does not fit the classes of the bundle.
    """
    if control == "none" or (control is None and bundle.policy is None):
        return None
    if isinstance(control, ControlPolicy):
        policy = control
    elif control is not None:
        policy = load_policy(Path(control))
    else:
        policy = parse_policy(bundle.policy or b"", f"{bundle.path}: its control policy")
    policy.check(bundle.contract.classes)
    return policy
