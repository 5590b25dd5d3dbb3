"""Predictions on the lab's network: an LSL outlet of probabilities, and one of events.

A program that reads only numbers must never act on an invalid prediction. Such a prediction is therefore a row of NaN: it
keeps its place and its time, and exceeds no threshold. The events outlet and the websocket give the reason.
"""

from __future__ import annotations

import socket

from mindwire.sinks.messages import Encoding, Message
from mindwire.sources.liblsl import pylsl
from mindwire.sources.markers import EVENTS_TYPE, PREDICTIONS_TYPE
from mindwire.status import SHOWN_KINDS, Event, ModelStatus, Sink
from mindwire.types import Prediction
from mindwire_models.contract import Contract

# Seconds of backlog that liblsl keeps for a consumer that does not read; for irregular streams the unit
# is 100 samples.
_BUFFERED = 10


class LslSink(Sink):
    """The two outlets of one stream.

    Rows are irregular in LSL's sense, although they mostly come once per hop: a gap leaves rows out, and
    readers must not spread the rest evenly over time. Each is stamped with the LSL time of the window's
    last sample.

    Parameters
    ----------
    stream : str
        Name of the stream; the outlets are ``Mindwire-{stream}`` and ``Mindwire-{stream}-events``.
    contract : Contract
    model : ModelStatus
    hop_samples : int
    instance : str
        Tells services on one host apart, in the ``source_id``; the port, for example.

    Attributes
    ----------
    source_id : str
        What the ``source_id`` of both outlets begins with.
    """

    def __init__(
        self, stream: str, contract: Contract, model: ModelStatus, *, hop_samples: int, instance: str = ""
    ) -> None:
        n_classes = len(contract.classes)
        self.source_id = "-".join(part for part in ("mindwire", stream, socket.gethostname(), instance) if part)
        self._nan = [float("nan")] * n_classes
        info = pylsl.StreamInfo(
            f"Mindwire-{stream}", PREDICTIONS_TYPE, n_classes, pylsl.IRREGULAR_RATE, pylsl.cf_float32, self.source_id
        )
        note = f"A row of NaN is an invalid prediction; the outlet Mindwire-{stream}-events gives the reason."
        desc = info.desc()
        desc.append_child_value("manufacturer", "Mindwire")
        for element, values in {
            "model": {"name": model.name, "sha256": model.sha256},
            "decoding": {
                "engine": model.engine,
                "device": model.device,
                "reason": model.engine_reason,
                "sfreq": f"{contract.sfreq:g}",
                "window_samples": str(contract.window_samples),
                "hop_samples": str(hop_samples),
                "nominal_rows_per_second": f"{contract.sfreq / hop_samples:g}",
            },
            "validity": {"invalid": "NaN", "note": note},
        }.items():
            child = desc.append_child(element)
            for key, value in values.items():
                child.append_child_value(key, value)
        info.set_channel_labels(contract.classes)
        info.set_channel_units("probability")
        info.set_channel_types("Probability")
        self._outlet: pylsl.StreamOutlet | None = pylsl.StreamOutlet(info, 1, _BUFFERED)
        name = f"Mindwire-{stream}-events"
        events = pylsl.StreamInfo(name, EVENTS_TYPE, 1, pylsl.IRREGULAR_RATE, "string", f"{self.source_id}-events")
        events.desc().append_child_value("manufacturer", "Mindwire")
        events.desc().append_child_value("encoding", "JSON: kind, message, unix_time, data")
        self._events: pylsl.StreamOutlet | None = pylsl.StreamOutlet(events, 1, _BUFFERED)

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        if self._outlet is not None:
            row = prediction.probabilities.tolist() if prediction.valid else self._nan
            self._outlet.push_sample(row, prediction.time)

    def event(self, event: Event) -> None:
        """Take one event; markers are on the network already."""
        if self._events is not None and event.kind not in SHOWN_KINDS:
            payload = {key: getattr(event, key) for key in ("kind", "message", "unix_time", "data")}
            self._events.push_sample([Message(payload).encoded(Encoding.JSON)])

    def close(self) -> None:
        """Take the outlets off the network."""
        self._outlet = self._events = None
