"""Predictions, decisions and axes as OSC messages over UDP, for game engines and media programs.

Open Sound Control 1.0. One datagram per message, sent at once and without waiting: what the network does not take is counted.
UDP reports no missing receiver. As on LSL, an invalid prediction is a row of NaN.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from pythonosc.osc_message_builder import OscMessageBuilder

from mindwire.errors import ServiceError
from mindwire.status import Sink
from mindwire.types import Prediction

log = logging.getLogger(__name__)

# Sequence numbers begin again at 0 above this, after 99 days of 250 predictions a second.
_INT32 = 0x7FFFFFFF


class OscSink(Sink):
    """OSC messages of one stream, to one address.

    Per prediction: ``/mindwire/{stream}/probabilities``, a float per class in the model's order and then the sequence number;
    ``/mindwire/{stream}/decision`` if there is one, with class, confidence, sequence number and LSL time as a double; and
    ``/mindwire/{stream}/axes``, a float per axis of the control policy, if it has any.

    Parameters
    ----------
    stream : str
    host : str
        Name or address, of either version of IP; of a name that has both, IPv4.
    port : int
    emit : callable
        Publishes an event of a kind with a message and data.

    Raises
    ------
    ServiceError
        The host is not known, or this machine lacks its version of IP.

    Attributes
    ----------
    unsent : int
        Messages that could not be sent.
    """

    def __init__(self, stream: str, host: str, port: int, emit: Callable[[str, str, Mapping[str, Any]], None]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            # Most receivers listen on IPv4 alone, while a name such as localhost may mean both.
            family, kind, proto, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
            self._socket = socket.socket(family, kind, proto)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            msg = f"OSC messages cannot be sent to {host} ({why}); give another address with --osc."
            raise ServiceError(msg) from error
        self._address = address
        self._socket.settimeout(0.0)
        self._prefix = f"/mindwire/{stream}/"
        self._shown = f"{host} port {port}"
        self._emit = emit
        self.unsent = 0

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction, and what the control policy made of it."""
        values = (
            prediction.probabilities.tolist() if prediction.valid else [float("nan")] * len(prediction.probabilities)
        )
        self._send("probabilities", "f" * len(values) + "i", *values, prediction.seq & _INT32)
        if (control := prediction.control) is None:
            return
        if (made := control.decision) is not None:
            self._send("decision", "sfid", made.label, made.confidence, made.seq & _INT32, made.time)
        if control.axes:
            self._send("axes", "f" * len(control.axes), *control.axes)

    def close(self) -> None:
        """Close the socket."""
        if self.unsent:
            log.warning("%d OSC messages could not be sent to %s.", self.unsent, self._shown)
        self._socket.close()

    def _send(self, name: str, types: str, *values: float | str) -> None:
        message = OscMessageBuilder(self._prefix + name)
        for kind, value in zip(types, values, strict=True):
            message.add_arg(value, kind)
        try:
            self._socket.sendto(message.build().dgram, self._address)
        except OSError as error:
            self.unsent += 1
            if self.unsent == 1:
                why = error.strerror or error
                text = f"An OSC message to {self._shown} could not be sent ({why}); others that cannot are counted."
                self._emit("error", text, {"osc": self._shown})
