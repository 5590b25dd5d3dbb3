"""Predictions, decisions, axes and events of a running Mindwire service, and commands to it.

Examples
--------
>>> from mindwire_client import connect
>>> with connect("ws://127.0.0.1:8000/ws") as stream:  # doctest: +SKIP
...     for decision in stream.decisions():
...         print(decision.label, decision.confidence)
"""

from mindwire_client.clock import Clock
from mindwire_client.errors import (
    ClientError,
    ConnectionTimeoutError,
    ProtocolError,
    RefusedError,
    TokenError,
    UnknownStreamError,
    UnreachableError,
)
from mindwire_client.iterators import Messages
from mindwire_client.markers import Markers
from mindwire_client.messages import (
    Axes,
    Connection,
    Control,
    Decision,
    Event,
    Hello,
    Message,
    Missed,
    Model,
    Prediction,
    Shadow,
)
from mindwire_client.stream import Stream, connect

__version__ = "0.1.0"

__all__ = [
    "Axes",
    "ClientError",
    "Clock",
    "Connection",
    "ConnectionTimeoutError",
    "Control",
    "Decision",
    "Event",
    "Hello",
    "Markers",
    "Message",
    "Messages",
    "Missed",
    "Model",
    "Prediction",
    "ProtocolError",
    "RefusedError",
    "Shadow",
    "Stream",
    "TokenError",
    "UnknownStreamError",
    "UnreachableError",
    "connect",
]
