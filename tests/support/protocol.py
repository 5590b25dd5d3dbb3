"""Check of websocket messages against the AsyncAPI document, and clients that check all that they receive.

The document allows fields that it does not name, because such may be added; here they are faults, so that the document
stays complete.
"""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import jsonschema_rs
import msgspec
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as _connect

from mindwire.api.asyncapi import document
from mindwire.api.event_data import EVENT_DATA

CHANNELS = {"predictions": "predictions", "ws": "predictions", "signal": "signal", "clock": "clock"}


def strict(schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas of a document, which allow nothing that they do not name."""

    def close(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("properties"), dict) and "type" in part:
                part["additionalProperties"] = False
            for inner in part.values():
                close(inner)
        elif isinstance(part, list):
            for inner in part:
                close(inner)

    closed = copy.deepcopy(schemas)
    close(closed)
    closed["EventMessage"]["properties"]["kind"]["enum"] = list(EVENT_DATA)
    return closed


class Contract:
    """What a document says of the messages of each channel.

    Parameters
    ----------
    described : dict
        AsyncAPI document.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        components = {"schemas": strict(described["components"]["schemas"])}
        messages = described["components"]["messages"]
        self._validators: dict[tuple[str, str], list[Any]] = {}
        for channel, content in described["channels"].items():
            for name in content["messages"]:
                payload = messages[name]["payload"]
                if "$ref" in payload:
                    schema = {"allOf": [payload], "components": components}
                    key = channel, messages[name]["name"]
                    self._validators.setdefault(key, []).append(jsonschema_rs.Draft7Validator(schema))

    def faults(self, message: Any, channel: str = "predictions") -> list[str]:
        """What is wrong with a message, as sentences."""
        plain = json.loads(msgspec.json.encode(message))  # what is not finite is null, as it is in JSON
        kind = plain.get("type") if isinstance(plain, dict) else None
        validators = self._validators.get((channel, kind))
        if validators is None:
            return [f"{channel} has no message of type {kind!r}."]
        if any(validator.is_valid(plain) for validator in validators):
            return []
        found = (error for validator in validators for error in validator.iter_errors(plain))
        return [f"{kind}{'.'.join(['', *map(str, error.instance_path)])}: {error.message[:500]}" for error in found]


@functools.cache
def contract() -> Contract:
    """What this version's own document says."""
    return Contract(document())


def checked(message: Any, channel: str = "predictions") -> Any:
    """The message, which conforms."""
    faults = contract().faults(message, channel)
    assert not faults, (faults, message)
    return message


class CheckedConnection(ClientConnection):
    """A websocket client each of whose messages is checked, in JSON and MessagePack alike."""

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        data = super().recv(*args, **kwargs)
        channel = CHANNELS.get(self.request.path.partition("?")[0].rpartition("/")[2])
        if channel is not None and isinstance(data, str):
            checked(json.loads(data), channel)
        elif channel == "predictions":
            checked(msgspec.msgpack.decode(data), channel)
        return data

    def __iter__(self) -> Any:
        while True:
            try:
                yield self.recv()
            except ConnectionClosedOK:
                return


connect = functools.partial(_connect, create_connection=CheckedConnection)
