"""Control of one stream as it is set at the moment, and changes to it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec
from pydantic import computed_field

from mindwire.control.policy import ControlPolicy, parse_policy
from mindwire.control.stages import Strict
from mindwire.errors import PolicyError


class ControlSetting(Strict):
    """Policy that a stream runs, and pause.

    Parameters
    ----------
    policy : ControlPolicy or None
        None decides nothing.
    paused : bool
    """

    policy: ControlPolicy | None = None
    paused: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @cached_property  # a tuned policy takes a millisecond
    def hash(self) -> str | None:
        """SHA-256 of the policy's document, in hexadecimal."""
        return None if self.policy is None else self.policy.hash


def changed_policy(before: ControlPolicy | None, change: bytes) -> ControlPolicy:
    """Return a policy after a change, validated as a whole.

    Parameters
    ----------
    before : ControlPolicy or None
    change : bytes
        JSON: a policy with its ``version``, or an object of those fields of ``before`` that change, at any depth.

    Returns
    -------
    ControlPolicy

    Raises
    ------
    PolicyError
        The change is no JSON object, the result is no valid policy, or there is none to change.
    """
    try:
        asked = msgspec.json.decode(change)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"The control policy is not valid JSON ({error})."
        raise PolicyError(msg) from error
    if not isinstance(asked, dict):
        msg = "The control policy is not valid: expected a JSON object."
        raise PolicyError(msg)
    if "version" in asked:
        return parse_policy(change)
    if before is None:
        msg = "The stream has no control policy of which single fields could change; give a whole one with its version."
        raise PolicyError(msg)
    return parse_policy(msgspec.json.encode(_merged(before.model_dump(mode="json"), asked)))


def _merged(before: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return an object with changed fields; an object in it changes in part if it has the same fields and kind."""
    merged = before | change
    for name, value in change.items():
        old = before.get(name)
        if not isinstance(value, dict) or not isinstance(old, dict):
            continue
        if value.keys() <= old.keys() and value.get("kind", old.get("kind")) == old.get("kind"):
            merged[name] = _merged(old, value)
    return merged
