"""Recordings made odd by chance go through the reader and the pipeline; nothing may hang, crash or be joined over a cut.

    python -m tests.fuzz_recordings --seconds 3600 --seed 1

Each case follows from its number alone, and a failure names it: ``--case N`` repeats one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from mindwire.errors import MindwireError
from mindwire.offline.trials import trials_from_markers
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.recording import open_recording
from mindwire.types import Reason, Window
from mindwire_models.contract import Contract, Filters, NoNormalisation
from tests.support.odd_recordings import LABELS, MAKERS, SFREQ, Made

LIMIT_S = 20.0
WINDOW, HOP = 60, 7


class FuzzError(AssertionError):
    """What a case found."""


def contract(sfreq: float = SFREQ) -> Contract:
    """A contract that changes no sample, so that a window tells which samples it is made of."""
    return Contract(
        channels=LABELS,
        sfreq=sfreq,
        unit="uV",
        filters=Filters(),
        normalisation=NoNormalisation(),
        window_samples=WINDOW,
        hop_samples=HOP,
        classes=("a", "b"),
    )


class _Collector:
    """A decoder that decides nothing and keeps the windows' first channel, which counts the samples."""

    engine = device = reason = "fuzz"

    def __init__(self) -> None:
        self.valid: list[np.ndarray] = []
        self.count = 0
        self.reasons = Reason.NONE

    def session(self) -> None:
        return None

    def decode(self, sessions: object, windows: list[Window]) -> np.ndarray:
        del sessions
        self.count += len(windows)
        for window in windows:
            self.reasons |= window.reasons
        self.valid += [np.rint(window.samples[:, 0]) for window in windows if window.valid]
        if not all(np.isfinite(window.time) for window in windows):
            msg = "a window's time is no number"
            raise FuzzError(msg)
        return np.zeros((len(windows), 2), np.float32)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in whatever takes longer; in the main thread only."""

    def ring(*_: object) -> None:
        msg = f"no end within {seconds:g} s"
        raise FuzzError(msg)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def check(made: Made) -> str:
    """Read and decode a recording; returns what came of it, and raises where that is wrong."""
    try:
        recording = open_recording(made.path)
        source = recording.signal()
        markers = recording.markers()
        if any(later.time < earlier.time for earlier, later in pairwise(markers)):
            msg = "markers are not in the order of time"
            raise FuzzError(msg)
        with suppress(MindwireError):
            trials_from_markers(markers, ("a", "b"))
        decoder = _Collector()
        demanded = contract(source.info.sfreq if 20 <= source.info.sfreq <= 2000 else SFREQ)
        pipeline = Pipeline(demanded, source.info, decoder, PipelineOptions(unit=made.unit, bad_channels="invalidate"))
        for chunk in source.chunks():
            pipeline.process(chunk)
        pipeline.finish()
    except MindwireError as error:
        text = str(error)
        if made.cuts is not None or "\n" in text or not 10 < len(text) < 3000:
            msg = f"refused: {text[:500]!r}"
            raise FuzzError(msg) from error
        return "refused"
    if made.cuts is not None:
        _check_windows(made, decoder)
    if made.n_markers is not None and len([m for m in markers if _is_cue(m.label)]) != made.n_markers:
        msg = f"{made.n_markers} cues became {markers}"
        raise FuzzError(msg)
    return "read"


def _is_cue(label: str) -> bool:
    return not label.casefold().startswith(("new segment", "boundary", "bad", "edge", "-99", "32766"))


def _check_windows(made: Made, decoder: _Collector) -> None:
    """No valid window holds samples of both sides of a cut, and none is missing between the cuts."""
    cuts = np.array(made.cuts or [], dtype=float)
    for window in decoder.valid:
        if (np.diff(window) != 1).any() or ((window[0] < cuts) & (cuts <= window[-1])).any():
            msg = f"a valid window of the samples {window[0]:g} to {window[-1]:g} lies across a cut out of {made.cuts}"
            raise FuzzError(msg)
    edges = np.array([0, *(made.cuts or []), made.n_samples])
    expected = int(sum(max(0, (length - WINDOW) // HOP + 1) for length in np.diff(edges)))
    if decoder.count != expected or len(decoder.valid) != expected:
        msg = f"expected {expected} windows, all valid, found {decoder.count} with {len(decoder.valid)} valid ({decoder.reasons!r}); cuts {made.cuts}"
        raise FuzzError(msg)


def run_case(number: int, folder: Path) -> tuple[str, str]:
    """Make and check one case; returns its kind and what came of it.

    Raises
    ------
    FuzzError
        Whatever was found, with the number that repeats it.
    """
    rng = np.random.default_rng(number)
    make = MAKERS[rng.integers(0, len(MAKERS))]
    try:
        with limited(LIMIT_S):
            return make.__name__, check(make(rng, folder))
    except Exception as error:
        msg = f"case {number} ({make.__name__}): {type(error).__name__}: {error}"
        raise FuzzError(msg) from error


def main() -> int:
    """Run cases until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="cases are numbered from a million times this on")
    parser.add_argument("--case", type=int, help="run this one only")
    options = parser.parse_args()
    number, end = options.seed * 1_000_000, time.monotonic() + options.seconds
    outcomes: Counter[tuple[str, str]] = Counter()
    failures = 0
    while time.monotonic() < end:
        case = number if options.case is None else options.case
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[run_case(case, Path(folder))] += 1
            except FuzzError as error:
                failures += 1
                print(error, file=sys.stderr)
                if options.case is not None:
                    traceback.print_exc()
        number += 1
        if options.case is not None:
            break
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind}: {count} {outcome}")
    print(f"{sum(outcomes.values()) + failures} cases, {failures} failures.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
