"""Streams that keep the convention, as recordings and as live outlets; a test changes what it wants broken."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pylsl

from tests.support.threads import meanwhile
from tests.support.xdf_writer import XdfWriter, chunk

HOP_S, ROWS, BEGIN = 0.04, 50, 1000.0
CLASSES = ["left_hand", "right_hand"]
MODEL = {"name": "other", "sha256": "0123456789abcdef" * 4}
POLICY = '{"decide": {"commit": 0.8}}'


@dataclass
class Spec:
    """A stream: its description, where a list is repeated elements, and its samples."""

    name: str
    type: str
    dtype: str
    desc: dict
    values: list
    times: list
    channels: list = field(default_factory=list)  # label, unit, type
    sfreq: float = 0.0
    source_id: str = "other-cap"

    @property
    def n_channels(self) -> int:
        return len(self.channels) or 1


def good_streams() -> dict[str, Spec]:
    """One decoder's streams by their kinds; row 10 is invalid."""
    times = [BEGIN + i * HOP_S for i in range(ROWS)]
    left = np.linspace(0.1, 0.9, ROWS)
    rows = np.stack([left, 1 - left], axis=1)
    rows[10] = np.nan
    decoding = {"sfreq": "250", "window_samples": "1000", "hop_samples": "10"}
    contract = json.dumps({"classes": CLASSES, "window_samples": 1000})
    common = {"manufacturer": "Laboratory", "convention": "1"}
    hashed = {"policy": POLICY, "sha256": hashlib.sha256(POLICY.encode()).hexdigest()}
    return {
        "probabilities": Spec(
            "Other-cap",
            "Probabilities",
            "float32",
            common
            | {"model": dict(MODEL), "decoding": decoding, "contract": contract}
            | {"validity": {"invalid": "NaN"}, "calibration": {"temperature": "1.5"}},
            rows.tolist(),
            list(times),
            [(name, "probability", "Probability") for name in CLASSES],
        ),
        "decisions": Spec(
            "Other-cap-Decisions",
            "Markers",
            "string",
            common | {"model": dict(MODEL), "classes": {"class": list(CLASSES)}, "control": hashed},
            [["left_hand"], ["right_hand"]],
            [times[20], times[40]],
            source_id="other-cap-decisions",
        ),
        "axes": Spec(
            "Other-cap-Axes",
            "Control",
            "float32",
            common | {"model": dict(MODEL), "range": {"minimum": "-1", "maximum": "1"}},
            [[value] for value in np.linspace(-1, 1, ROWS)],
            list(times),
            [("x", "normalized", "Control")],
            source_id="other-cap-axes",
        ),
        "markers": Spec(
            "Other-cap-Markers",
            "Markers",
            "string",
            dict(common),
            [["cue_left"], ["end"]],
            [BEGIN + 0.5, BEGIN + 1.5],
            source_id="other-cap-sent-markers",
        ),
    }


def write_streams(path: Path, streams: dict[str, Spec]) -> Path:
    """Write streams as a recorder does."""
    writer = XdfWriter()
    for number, spec in enumerate(streams.values(), 1):
        writer.raw(chunk(2, _header(spec).encode(), number))
        writer._dtypes[number] = spec.dtype
        for at in range(0, len(spec.times), 20):
            writer.samples(spec.values[at : at + 20], spec.times[at : at + 20], number)
        writer.footer(len(spec.times), number)
    return writer.write(path)


@contextmanager
def sent(spec: Spec):
    """Send a stream on LSL, its stamps moved to the present, once, as soon as a consumer comes."""
    info = pylsl.StreamInfo(spec.name, spec.type, spec.n_channels, spec.sfreq, spec.dtype, spec.source_id)
    _append(info.desc(), spec.desc)
    channels = info.desc().append_child("channels")
    for label, unit, kind in spec.channels:
        channel = channels.append_child("channel")
        for key, text in (("label", label), ("unit", unit), ("type", kind)):
            channel.append_child_value(key, text)
    outlet = pylsl.StreamOutlet(info)

    def send(end: threading.Event) -> None:
        while not outlet.wait_for_consumers(0.1):
            if end.is_set():
                return
        shift = pylsl.local_clock() - max(spec.times, default=0.0)
        for row, time in zip(spec.values, spec.times, strict=True):
            outlet.push_sample(row, time + shift)

    with meanwhile(send):
        yield


def changed(change) -> dict[str, Spec]:
    """The good streams after a change."""
    streams = deepcopy(good_streams())
    change(streams)
    return streams


def _append(element, desc: dict) -> None:
    for key, value in desc.items():
        if isinstance(value, dict):
            _append(element.append_child(key), value)
        elif isinstance(value, list):
            for one in value:
                element.append_child_value(key, one)
        else:
            element.append_child_value(key, value)


def _xml(desc: dict) -> str:
    elements = ((key, one) for key, value in desc.items() for one in (value if isinstance(value, list) else [value]))
    return "".join(f"<{key}>{_xml(one) if isinstance(one, dict) else escape(one)}</{key}>" for key, one in elements)


def _header(spec: Spec) -> str:
    channels = [{"label": label, "unit": unit, "type": kind} for label, unit, kind in spec.channels]
    fields = {
        "name": spec.name,
        "type": spec.type,
        "channel_count": str(spec.n_channels),
        "nominal_srate": repr(spec.sfreq),
        "channel_format": spec.dtype,
        "source_id": spec.source_id,
        "desc": spec.desc | {"channels": {"channel": channels}},
    }
    return f"<?xml version='1.0'?>{_xml({'info': fields})}"
