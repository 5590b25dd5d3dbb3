"""An amplifier with a photodiode in one of its channels, which responds to the markers of a stream a known time later.

The samples are sent half a second late, at their own times, so that the response can begin exactly where it should.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np
import pylsl

from mindwire.sources.liblsl import LostError

SFREQ = 250.0
_LATE_S = 0.5
_CHUNK = 10


@contextlib.contextmanager
def photodiode(
    name: str, labels: tuple[str, ...], stream: str, *, delay_s: float, on: str = "patch_on", off: str = "patch_off"
) -> Iterator[None]:
    """Run the amplifier ``name``: noise in these channels, and light in one more, ``Photo``, after markers of the stream."""
    info = pylsl.StreamInfo(name, "EEG", len(labels) + 1, SFREQ, pylsl.cf_float32, name)
    info.set_channel_labels([*labels, "Photo"])
    info.set_channel_units("microvolts")
    stop = threading.Event()

    def run() -> None:
        outlet = pylsl.StreamOutlet(info, _CHUNK)
        resolver = pylsl.ContinuousResolver(prop="name", value=f"Mindwire-{stream}-Markers")
        inlet = None
        rng = np.random.default_rng(1)
        changes: list[tuple[float, float]] = []
        begin, n = pylsl.local_clock(), 0
        while not stop.is_set():
            if inlet is None and (there := resolver.results()):
                inlet = pylsl.StreamInlet(there[0], recover=False)
            try:
                while inlet is not None and (pulled := inlet.pull_sample(0.0))[0] is not None:
                    (label,), at = pulled
                    changes += [(at + delay_s, float(label == on))] if label in (on, off) else []
            except LostError:  # the service has ended
                inlet = None
            times = begin + (n + np.arange(_CHUNK)) / SFREQ
            samples = 10 * rng.standard_normal((_CHUNK, len(labels) + 1)).astype(np.float32)
            samples[:, -1] = rng.standard_normal(_CHUNK)
            for i, at in enumerate(times):
                samples[i, -1] += 500.0 * next((level for when, level in reversed(changes) if when <= at), 0.0)
            time.sleep(max(0.0, times[-1] + _LATE_S - pylsl.local_clock()))
            outlet.push_chunk(samples, times.tolist())
            n += _CHUNK

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
