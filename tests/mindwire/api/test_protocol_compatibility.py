"""Version 1 of the websocket protocol is frozen: fields are added, never removed, renamed or changed in type."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from mindwire.api.asyncapi import document
from tests.support.protocol import contract
from tests.support.protocol_fields import FROZEN, breaks, grown

VERSION = json.loads(FROZEN.read_text(encoding="utf-8"))
CHANNELS = {"SignalHello": "signal", "ClockHello": "clock", "ClockQuestion": "clock", "ClockAnswer": "clock"}


def test_nothing_of_version_1_is_gone_or_changed():
    assert breaks(VERSION["fields"], document()) == []


def test_every_frozen_message_and_kind_of_event_has_an_example():
    wanted = {name for name in VERSION["fields"] if name not in ("EventMessage", "SignalBlock")}
    assert set(VERSION["examples"]) == wanted


@pytest.mark.parametrize("name", VERSION["examples"])
def test_the_examples_of_version_1_conform(name):
    for example in VERSION["examples"][name]:
        assert contract().faults(example, CHANNELS.get(name, "predictions")) == []
        kind = name.partition("/")[2]
        assert not kind or example["kind"] == kind


def _rename(schemas: dict[str, Any]) -> None:
    properties = schemas["PredictionMessage"]["properties"]
    properties["probs"] = properties.pop("probabilities")


def _remove(schemas: dict[str, Any]) -> None:
    del schemas["Hello"]["properties"]["classes"]


def _retype(schemas: dict[str, Any]) -> None:
    schemas["DecisionMessage"]["properties"]["seq"] = {"type": "string"}


def _widen(schemas: dict[str, Any]) -> None:
    schemas["AxesMessage"]["properties"]["time"] = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def _leave_out(schemas: dict[str, Any]) -> None:
    schemas["EventMessage"]["required"].remove("unix_time")


def _rename_in_data(schemas: dict[str, Any]) -> None:
    properties = schemas["MarkerData"]["properties"]
    properties["name"] = properties.pop("label")


def _take_a_value(schemas: dict[str, Any]) -> None:
    schemas["StreamState"]["enum"].remove("lost")


def _demand(schemas: dict[str, Any]) -> None:
    schemas["ClockQuestion"]["properties"]["zone"] = {"type": "string"}
    schemas["ClockQuestion"]["required"].append("zone")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_rename, "PredictionMessage: probabilities is no longer there."),
        (_remove, "Hello: classes is no longer there."),
        (_retype, "DecisionMessage: seq is string, but was integer."),
        (_widen, "AxesMessage: time is null or number, but was number."),
        (_leave_out, "EventMessage: unix_time may be left out, but was always there."),
        (_rename_in_data, "EventMessage/marker: data.label is no longer there."),
        (_take_a_value, "EventMessage/state: data.state no longer has lost."),
        (_demand, "ClockQuestion: zone is demanded of clients, but was not."),
    ],
)
def test_a_change_that_breaks_clients_is_found(change: Callable[[dict[str, Any]], None], sentence: str):
    changed = document()
    change(changed["components"]["schemas"])
    assert sentence in breaks(VERSION["fields"], changed)


def test_a_message_or_kind_that_is_gone_is_found():
    changed = document()
    del changed["components"]["messages"]["AxesMessage"]
    rules = changed["components"]["schemas"]["EventMessage"]["allOf"]
    rules[:] = [rule for rule in rules if rule["if"]["properties"]["kind"]["const"] != "gap"]
    assert set(breaks(VERSION["fields"], changed)) == {
        "AxesMessage is no longer there.",
        "EventMessage/gap is no longer there.",
    }


def test_a_field_may_be_added_and_is_then_frozen_too():
    changed = document()
    changed["components"]["schemas"]["PredictionMessage"]["properties"]["entropy"] = {"type": "number"}
    assert breaks(VERSION["fields"], changed) == []
    after = grown(copy.deepcopy(VERSION["fields"]), changed)
    assert after["PredictionMessage"]["entropy"] == {"types": ["number"], "required": False}
    assert breaks(after, document()) == ["PredictionMessage: entropy is no longer there."]
