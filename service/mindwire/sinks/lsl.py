"""Predictions, decisions and events on the lab's network, as LSL outlets.

A program that reads only numbers must never act on an invalid prediction. Such a prediction is therefore a row of NaN: it
keeps its place and its time, and exceeds no threshold. The events outlet and the websocket give the reason.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from mindwire.control.policy import ControlPolicy
from mindwire.sinks.messages import Encoding, Message
from mindwire.sources.liblsl import pylsl
from mindwire.sources.markers import (
    AXES,
    AXES_TYPE,
    CONVENTION,
    DECISIONS,
    DECISIONS_TYPE,
    EVENTS_TYPE,
    OUTLET,
    PREDICTIONS_TYPE,
)
from mindwire.status import SHOWN_KINDS, Event, ModelStatus, Sink
from mindwire.types import Prediction
from mindwire_models.contract import Contract

# Seconds of backlog that liblsl keeps for a consumer that does not read; for irregular streams the unit
# is 100 samples.
_BUFFERED = 10


class LslSink(Sink):
    """The outlets of one stream: probabilities, events and, where a control policy runs, decisions and axes.

    Rows are irregular in LSL's sense, although they mostly come once per hop: a gap leaves rows out, and
    readers must not spread the rest evenly over time. Each is stamped with the LSL time of the window's
    last sample.

    Parameters
    ----------
    stream : str
        Name of the stream; the outlets are ``Mindwire-{stream}`` and, with the endings ``-events``, ``-Decisions`` and
        ``-Axes``, the others.
    contract : Contract or None
        None for a stream without a model, which has no outlet of probabilities and, until there is one, none of decisions.
    model : ModelStatus
    hop_samples : int or None
        Where it is not the contract's.
    instance : str
        Tells services on one host apart, in the ``source_id``; the port, for example.
    policy : ControlPolicy or None
        The policy to begin with. The first one, also a later one, opens the outlet of decisions; axes have an outlet of
        their own, which is opened again when a policy names others.
    recorded : bool
        Open the outlet of decisions even without a policy, because a recorder does not take outlets that come later.

    Attributes
    ----------
    source_id : str
        What the ``source_id`` of all outlets begins with.
    """

    def __init__(
        self,
        stream: str,
        contract: Contract | None,
        model: ModelStatus,
        *,
        hop_samples: int | None = None,
        instance: str = "",
        policy: ControlPolicy | None = None,
        recorded: bool = False,
    ) -> None:
        self.source_id = "-".join(part for part in ("mindwire", stream, socket.gethostname(), instance) if part)
        self._stream, self._classes = stream, contract.classes if contract is not None else ()
        self._model = {"name": model.name, "sha256": model.sha256}
        self._nan = [float("nan")] * len(self._classes)
        self._predictions: pylsl.StreamOutlet | None = None
        if contract is not None:
            self._predictions = self._opened(
                self._info("", PREDICTIONS_TYPE, contract.classes, "probability", "Probability"),
                _details(stream, contract, model, hop_samples or contract.hop_samples) | {"model": self._model},
            )
        self._events: pylsl.StreamOutlet | None = self._opened(
            self._info("-events", EVENTS_TYPE), {"encoding": "JSON: kind, message, unix_time, data"}
        )
        self._policy: ControlPolicy | None = None
        self._axes_names: tuple[str, ...] = ()
        self._decisions: pylsl.StreamOutlet | None = None
        self._axes: pylsl.StreamOutlet | None = None
        if policy is not None:
            self._follow(policy)
        elif recorded and contract is not None:
            self._open_decisions(None)

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction, and what the control policy made of it."""
        if self._predictions is None:
            return
        row = prediction.probabilities.tolist() if prediction.valid else self._nan
        self._predictions.push_sample(row, prediction.time)
        if (control := prediction.control) is None:
            return
        if control.policy is not self._policy:
            self._follow(control.policy)
        if control.decision is not None and self._decisions is not None:
            self._decisions.push_sample([control.decision.label], prediction.time)
        if self._axes is not None:
            self._axes.push_sample(list(control.axes), prediction.time)

    def event(self, event: Event) -> None:
        """Take one event; markers are on the network already."""
        if self._events is not None and event.kind not in SHOWN_KINDS:
            payload = {key: getattr(event, key) for key in ("kind", "message", "unix_time", "data")}
            self._events.push_sample([Message(payload).encoded(Encoding.JSON)])

    def close(self) -> None:
        """Take the outlets off the network."""
        self._predictions = self._events = self._decisions = self._axes = None

    def _follow(self, policy: ControlPolicy) -> None:
        """Open the outlets that a policy needs and that are not open."""
        self._policy = policy
        if self._decisions is None:
            self._open_decisions(policy)
        names = tuple(axis.name for axis in policy.axes)
        if names != self._axes_names:
            self._axes_names, self._axes = names, None
            if names:
                self._axes = self._opened(
                    self._info(AXES, AXES_TYPE, names, "normalized", "Control"),
                    {"model": self._model, "range": {"minimum": "-1", "maximum": "1"}},
                )

    def _open_decisions(self, policy: ControlPolicy | None) -> None:
        note = f"The policy at the beginning; events of the kind control, on {OUTLET}{self._stream}-events, tell of changes."
        known = {"policy": policy.to_json(), "sha256": policy.hash, "note": note} if policy else {"note": note}
        info = self._info(DECISIONS, DECISIONS_TYPE)
        classes = info.desc().append_child("classes")
        for name in self._classes:
            classes.append_child_value("class", name)
        self._decisions = self._opened(info, {"model": self._model, "control": known})

    def _info(
        self, ending: str, kind: str, labels: Sequence[str] = (), unit: str = "", channel_type: str = ""
    ) -> pylsl.StreamInfo:
        """Describe an outlet of numbers with these channels, or of text without any."""
        name, source_id = f"{OUTLET}{self._stream}{ending}", f"{self.source_id}{ending.lower()}"
        form = pylsl.cf_float32 if labels else pylsl.cf_string
        info = pylsl.StreamInfo(name, kind, len(labels) or 1, pylsl.IRREGULAR_RATE, form, source_id)
        if labels:
            info.set_channel_labels(labels)
            info.set_channel_units(unit)
            info.set_channel_types(channel_type)
        info.desc().append_child_value("manufacturer", "Mindwire")
        if kind != EVENTS_TYPE:
            info.desc().append_child_value("convention", CONVENTION)
        return info

    @staticmethod
    def _opened(info: pylsl.StreamInfo, details: Mapping[str, str | Mapping[str, str]]) -> pylsl.StreamOutlet:
        """Open an outlet with further details in its description."""
        for key, value in details.items():
            if isinstance(value, str):
                info.desc().append_child_value(key, value)
                continue
            child = info.desc().append_child(key)
            for name, text in value.items():
                child.append_child_value(name, text)
        return pylsl.StreamOutlet(info, 1, _BUFFERED)


def _details(
    stream: str, contract: Contract, model: ModelStatus, hop_samples: int
) -> dict[str, str | Mapping[str, str]]:
    """Return the description of an outlet of probabilities."""
    note = f"A row of NaN is an invalid prediction; the outlet {OUTLET}{stream}-events gives the reason."
    return {
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
        "contract": contract.to_json(),
        "calibration": {"temperature": repr(contract.temperature)},
    }
