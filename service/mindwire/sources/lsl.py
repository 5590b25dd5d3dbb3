"""Samples from a Lab Streaming Layer outlet.

liblsl's own recovery is off, because it goes on with another nominal rate and does not report it; a loss is an error here, and
:class:`mindwire.sources.lsl_connector.LslConnector` finds the stream again. Its time-stamp processing is off too, because it
corrupts stamps after a gap; the clock offset is added here instead.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import SourceError, StreamLostError
from mindwire.sources.liblsl import InternalError, LostError, LslTimeoutError, Puller, pylsl, time_correction
from mindwire.sources.lsl_discovery import FoundStream, ask, describe, lsl_resources, patiently
from mindwire.types import Chunk, Reason, SignalInfo

log = logging.getLogger(__name__)

BUFFER_SECONDS = 60
CONNECT_TIMEOUT_S = 3.0
# The first estimate of the clock offset takes liblsl about 0.65 s; samples wait in the inlet meanwhile.
FIRST_OFFSET_TIMEOUT_S = 3.0
OFFSET_INTERVAL_S = 5.0
# Drift of two clocks between two estimates: 60 ppm.
_OFFSET_DRIFT_S = 3e-4
# Least error of an estimate, however short its round trip.
_OFFSET_ERROR_S = 5e-5
# Largest step of the correction; no time base takes it for lost samples.
_LARGEST_STEP_S = 1e-3
# A clock that was set moves by more than this, plus half the round trip.
CLOCK_RESET_S = 0.1
# After a pause this long the backlog arrives in several pulls.
PAUSE_S = 0.5
FLOOD_LIMIT_S = 0.2
DRAIN_WAIT_S = 0.002


@dataclass(slots=True)
class ClockOffset:
    """Offset that maps a sender's time stamps to this machine's LSL clock.

    An estimate is wrong by at most half its round trip, and by as much when one way took all of it: over a busy network, or
    while the sender's program hung. A scalar Kalman filter weights it accordingly.
    """

    seconds: float | None = None  # to be added to a stamp; None until the first estimate
    _variance: float = 0.0

    def update(self, estimate: float, round_trip_s: float) -> bool:
        """Take a new estimate and the time between its question and answer, both in seconds.

        Return true if one of the clocks was set meanwhile, so that earlier stamps do not compare.
        """
        worst = max(round_trip_s / 2, _OFFSET_ERROR_S)
        if self.seconds is None or abs(estimate - self.seconds) > CLOCK_RESET_S + worst:
            reset = self.seconds is not None
            # One machine has one LSL clock: when nothing speaks against it, this is that machine.
            self.seconds = 0.0 if abs(estimate) <= worst else estimate
            self._variance = worst**2
            return reset
        self._variance += _OFFSET_DRIFT_S**2
        weight = self._variance / (self._variance + worst**2)
        self._variance *= 1 - weight
        self.seconds += min(max(weight * (estimate - self.seconds), -_LARGEST_STEP_S), _LARGEST_STEP_S)
        return False


class LslSource:
    """Source of one outlet's samples; a :class:`mindwire.sources.live.Source`.

    One thread reads. Nothing is lost between construction and the first read.

    Parameters
    ----------
    found : FoundStream
        The outlet.
    sfreq : float or None
        Rate in hertz given by the user, for an outlet that states none.
    cancelled : threading.Event, optional
        Ends the wait for an outlet that does not answer.

    Raises
    ------
    SourceError
        The stream holds text or has no regular rate, or does not answer.
    StreamLostError
        It has gone.
    """

    def __init__(
        self, found: FoundStream, *, sfreq: float | None = None, cancelled: threading.Event | None = None
    ) -> None:
        _refuse_unusable(found.info, sfreq)  # before it is waited for
        with lsl_resources():
            inlet = pylsl.StreamInlet(found.handle, max_buflen=BUFFER_SECONDS, recover=False)
            self.info: SignalInfo = ask(inlet, found, CONNECT_TIMEOUT_S, cancelled)
        _refuse_unusable(self.info, sfreq)
        self._sfreq = self.info.sfreq or sfreq or 0.0
        self.clock = ClockOffset()
        self._found = found
        self._puller: Puller | None = Puller(inlet, n_rows=max(256, int(self._sfreq)))
        self._discontinuity = Reason.NONE  # of the next chunk
        self._last_read = self._next_offset = time.monotonic()
        try:
            with lsl_resources():
                patiently(inlet.open_stream, CONNECT_TIMEOUT_S, cancelled)
                self._measure_offset(inlet, FIRST_OFFSET_TIMEOUT_S, cancelled)
        except LslTimeoutError as error:
            msg = f"Stream {found} is on the network but sends nothing; is a firewall between, or its program hanging?"
            raise SourceError(msg) from error
        except LostError as error:
            raise StreamLostError(self._gone) from error

    @property
    def _gone(self) -> str:
        return f"Lost stream {self._found}: its program stopped or the network dropped."

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds that are added to the outlet's stamps; None when they could not be measured."""
        return self.clock.seconds

    @staticmethod
    def now() -> float:
        """Return the LSL clock of this machine, the clock of the chunks' times, in seconds."""
        return float(pylsl.local_clock())

    def read(self, timeout: float) -> Chunk | None:
        """Return everything that has arrived; wait up to ``timeout`` seconds for the first sample only."""
        puller = self._puller
        if puller is None:
            msg = f"The source {describe(self.info)} is closed."
            raise SourceError(msg)
        try:
            n = puller.pull(timeout)
            now = time.monotonic()
            if now >= self._next_offset:
                self._measure_offset(puller.inlet, 0.0)
            if not n:
                return None
            samples, stamps = puller.samples[:n], puller.stamps[:n]
            paused = now - self._last_read
            if n == len(puller.stamps) or paused > PAUSE_S:
                samples, stamps = self._drain(puller, n, DRAIN_WAIT_S if timeout else 0.0)
                n = len(stamps)
        except LostError as error:
            raise StreamLostError(self._gone) from error
        except InternalError as error:
            msg = f"Stream {self._found} cannot be read any more ({error})."
            raise StreamLostError(msg) from error
        capacity = 0.9 * BUFFER_SECONDS
        if paused > capacity or n > capacity * self._sfreq:
            # liblsl dropped samples from its full buffer, and the stamps do not show where
            self._discontinuity |= Reason.GAP
        self._last_read = now
        reason, self._discontinuity = self._discontinuity, Reason.NONE
        return Chunk(samples, stamps + (self.clock.seconds or 0.0), reason)

    def _drain(self, puller: Puller, n: int, wait: float) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Go on pulling while samples arrive faster than the signal's rate: a backlog after a pause, or a burst."""
        parts = [(puller.samples[:n].copy(), puller.stamps[:n].copy())]
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < FLOOD_LIMIT_S and (n := puller.pull(wait)):
            parts.append((puller.samples[:n].copy(), puller.stamps[:n].copy()))
            if sum(len(part) for _, part in parts[1:]) < 2 * elapsed * self._sfreq:
                break
        return np.concatenate([part for part, _ in parts]), np.concatenate([part for _, part in parts])

    def _measure_offset(
        self, inlet: pylsl.StreamInlet, timeout: float, cancelled: threading.Event | None = None
    ) -> None:
        """Update the clock offset; after the first answer liblsl measures by itself and this does not wait."""
        now = time.monotonic()
        self._next_offset = now + OFFSET_INTERVAL_S
        try:
            estimate, round_trip = patiently(partial(time_correction, inlet), timeout, cancelled)
        except LslTimeoutError:
            if timeout:
                log.warning(
                    "The clock offset to %s cannot be measured; its time stamps are used as they are. "
                    "Is UDP blocked by a firewall?",
                    describe(self.info),
                )
            return
        if self.clock.update(estimate, round_trip) or inlet.was_clock_reset():
            self._discontinuity |= Reason.CLOCK_JUMP

    def close(self) -> None:
        """Disconnect; reading afterwards is an error."""
        self._puller = None  # the inlet disconnects when it is destroyed


def _refuse_unusable(info: SignalInfo, sfreq: float | None) -> None:
    if info.dtype == "string":
        msg = f"Stream {describe(info)} carries text, not samples; choose a stream with numbers."
        raise SourceError(msg)
    if not (info.sfreq > 0 or sfreq):
        msg = (
            f"Stream {describe(info)} has no regular sampling rate, and a model needs one; "
            "choose a stream with a nominal rate, or give its rate with --rate."
        )
        raise SourceError(msg)
