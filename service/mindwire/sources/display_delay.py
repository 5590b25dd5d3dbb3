"""Delay from the time of markers until a photodiode or a microphone, in a channel of the signal, shows what they mark.

The channel is read by an inlet of its own, as a recorder reads it, so that it need not be one that the model uses.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import SourceError
from mindwire.sources.liblsl import LostError, pylsl
from mindwire.status import DelayChannel, DelayFound, DisplayDelayStatus, SignalKind, SourceStatus

log = logging.getLogger(__name__)

_LIGHT = re.compile(r"photo|diode|light|lux|optic", re.IGNORECASE)
_SOUND = re.compile(r"audio|sound|mic(rophone)?\b|beep", re.IGNORECASE)
# Around each marker, in seconds: the channel at rest, and where its response is looked for.
_REST, _RESPONSE = (-0.25, -0.06), (-0.06, 0.5)
_ABOVE_REST = 6.0  # times the scatter at rest
_OF_USUAL_PEAK = 0.5
_ANSWER_S = 5.0
_POLL_S = 0.05


def channels_of(source: SourceStatus) -> list[DelayChannel]:
    """Return all channels of a source; those without a label by their number from 1."""
    labels = source.labels or [""] * source.n_channels
    return [DelayChannel(label=label or str(i), kind=kind_of(label)) for i, label in enumerate(labels, 1)]


def kind_of(label: str) -> SignalKind | None:
    """Return what a channel measures by its label; None if that says nothing."""
    return "light" if _LIGHT.search(label) else "sound" if _SOUND.search(label) else None


def response_delays(
    times: NDArray[np.float64], values: NDArray[np.float64], markers: Sequence[float]
) -> NDArray[np.float64]:
    """Return the seconds from each marker to the response of a channel; NaN where it does not respond.

    The response begins where the channel is half of its largest deviation away from where it rested before the marker,
    between two samples by their line.

    Parameters
    ----------
    times, values : ndarray of shape (n_samples,)
        Samples of the channel and their times in seconds.
    markers : sequence of float
        Times in seconds.
    """
    delays, peaks = np.full(len(markers), np.nan), np.zeros(len(markers))
    for i, marker in enumerate(markers):
        rest = values[slice(*np.searchsorted(times, marker + np.array(_REST)))]
        begin, end = np.searchsorted(times, marker + np.array(_RESPONSE))
        if len(rest) < 4 or end - begin < 2 or times[-1] < marker + _RESPONSE[1]:
            continue
        baseline = float(np.median(rest))
        away = np.abs(values[begin:end] - baseline)
        peak = float(away.max())
        scatter = 1.4826 * float(np.median(np.abs(rest - baseline)))
        first = int(np.argmax(away >= peak / 2))
        if peak <= _ABOVE_REST * scatter or peak == 0.0 or first == 0:
            continue
        part = (peak / 2 - away[first - 1]) / (away[first] - away[first - 1])
        before, after = times[begin + first - 1], times[begin + first]
        delays[i], peaks[i] = before + part * (after - before) - marker, peak
    responded = np.isfinite(delays)
    if responded.any():
        delays[peaks < _OF_USUAL_PEAK * np.median(peaks[responded])] = np.nan
    return delays


class DisplayDelay:
    """Measurement that runs in a thread of its own for a limited time.

    Parameters
    ----------
    source : SourceStatus
        The signal.
    channel : str
        Label, or number, of the channel.
    marker : str
        Label of the markers that the channel responds to.
    seconds : float
        Time after which it ends.

    Raises
    ------
    SourceError
        The source has no such channel.
    """

    def __init__(self, source: SourceStatus, channel: str, marker: str, seconds: float) -> None:
        channels = [one.label for one in channels_of(source)]
        if channel not in channels:
            msg = f"Expected one of the source's channels, {', '.join(channels)}; found {channel!r}."
            raise SourceError(msg)
        self.channel, self._source, self._marker = channel, source, marker
        self._index = channels.index(channel)
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._parts: list[tuple[list[float], list[float]]] = []
        self._markers: list[float] = []
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mindwire-display-delay", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self._thread.is_alive()

    def take(self, label: str, at: float) -> None:
        """Take a marker of the stream; none after the end."""
        if label == self._marker and self.running and not self._stop.is_set():
            with self._lock:
                self._markers.append(at)

    def end(self) -> None:
        """End it; what was found stays."""
        self._stop.set()

    def status(self) -> DisplayDelayStatus:
        """Return what was found so far."""
        with self._lock:
            parts, markers = list(self._parts), list(self._markers)
        found = None
        if parts and markers:
            times, values = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
            delays = 1e3 * response_delays(times, values, markers)
            delays = delays[np.isfinite(delays)]
            if len(delays):
                low, middle, high = np.quantile(delays, [0.05, 0.5, 0.95])
                found = DelayFound(
                    markers=len(markers), responses=len(delays), median=middle, p05=low, p95=high, spread=delays.std()
                )
        return DisplayDelayStatus(
            channels=channels_of(self._source),
            channel=self.channel,
            running=self.running,
            delay_ms=found,
            problem=self._problem,
        )

    def _run(self) -> None:
        try:
            there = pylsl.resolve_byprop("uid", self._source.uid, 1, _ANSWER_S)
            if not there:
                self._problem = f"{self._source.name!r} does not answer on the network."
                return
            flags = pylsl.proc_clocksync | pylsl.proc_dejitter
            inlet = pylsl.StreamInlet(there[0], max_buflen=10, recover=False, processing_flags=flags)
            while not self._stop.wait(_POLL_S) and time.monotonic() < self._until:
                values, times = inlet.pull_chunk(0.0, max_samples=100_000)
                if times:
                    with self._lock:
                        self._parts.append((times, [float(row[self._index]) for row in values]))
        except (LostError, RuntimeError) as error:
            self._problem = f"{self._source.name!r} was lost while the delay was measured."
            log.warning("The display's delay is not measured on: %s", error)
