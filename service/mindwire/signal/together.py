"""Many streams through the usual steps of conditioning at once, at the price of a few.

On a chunk of ten samples the arithmetic is little and its calls are many, so a call per step and stream costs
several times what a call per step does. Streams of one kind whose chunks are equally long therefore go through
the same operations as rows of one array: the same numbers, bit for bit. Wherever anything is unusual (a start, a
late stamp, a gap, a bad sample) a stream is left alone, untouched, for its own conditioner.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.conditioner import Conditioned, Conditioner
from mindwire.signal.quality import equal_runs, steps_beyond
from mindwire.signal.recursion import run_sections
from mindwire.signal.timebase import TimeBase
from mindwire.types import Chunk

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.int64)
# Below this many the rows cost more to put together than they save.
_FEWEST = 3


def condition_together(conditioners: Sequence[Conditioner], chunks: Sequence[Chunk]) -> list[Conditioned | None]:
    """Condition a chunk of each of several streams.

    Parameters
    ----------
    conditioners : sequence of Conditioner
        All different.
    chunks : sequence of Chunk

    Returns
    -------
    list of Conditioned or None
        None where the stream's own :meth:`Conditioner.process` must do it; nothing has happened to it then.
    """
    found: list[Conditioned | None] = [None] * len(chunks)
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, (conditioner, chunk) in enumerate(zip(conditioners, chunks, strict=True)):
        if len(chunk) and not chunk.broken and conditioner.steady:
            key = (conditioner.kind, conditioner.montage.key, chunk.samples.dtype, chunk.samples.shape)
            groups.setdefault(key, []).append(place)
    for places in groups.values():
        if len(places) >= _FEWEST:
            rows = _Rows([conditioners[place] for place in places], [chunks[place] for place in places])
            try:
                each = rows.run()
            except Exception:
                if rows.begun:
                    raise
                log.warning(
                    "%d streams could not be conditioned together; each is by itself.", len(places), exc_info=True
                )
                continue
            for place, conditioned in zip(places, each, strict=True):
                found[place] = conditioned
    return found


class _Rows:
    """Chunks of streams of one kind, a row each."""

    def __init__(self, conditioners: list[Conditioner], chunks: list[Chunk]) -> None:
        self._all = conditioners
        self.begun = False  # something has happened to a conditioner
        self._stamps = _stack([chunk.times for chunk in chunks])
        samples = np.concatenate([chunk.samples for chunk in chunks])
        self._samples = conditioners[0].montage.apply(samples).reshape(*self._stamps.shape, -1)
        self._usual = np.ones(len(chunks), dtype=np.bool_)

    def run(self) -> list[Conditioned | None]:
        """Condition the rows in which all is as usual, and let their conditioners go on from there."""
        times, flags, courses = self._follow()
        runs, peaks = self._check()
        filtered, states = self._filter()
        # windows are of float32: rounded here, for all rows at once
        scaled = np.ascontiguousarray(self._all[0].scaled(filtered), dtype=np.float32)
        before = self._samples.astype(np.float32)
        # What is kept is not a part of what is not, which would stay as long.
        last, ends, n_samples = self._samples[:, -1].copy(), times[:, -1].tolist(), times.shape[1]
        found: list[Conditioned | None] = []
        self.begun = True
        for row, usual in enumerate(self._usual.tolist()):
            if not usual:
                found.append(None)
                continue
            conditioner = self._all[row]
            _go_on(conditioner.timebase, courses[row], n_samples)
            conditioner.timebase.rate.watch(self._stamps[row], flags[row])
            check, end = conditioner.check, last[row]
            check.last, check.run, check.peak = end, runs[row], peaks[row]
            if states is not None:
                conditioner.filter.state = states[row]
            found.append(conditioner.took(before[row], (end, ends[row]), scaled[row], times[row], flags[row]))
        return found

    def _follow(self) -> tuple[Floats, NDArray[np.uint32], list[list[float]]]:
        """Honest times, flags, and where each tracker then stands."""
        tracker = self._all[0].timebase.tracker
        before = np.array([_course(conditioner.timebase) for conditioner in self._all])
        origin, index, jitter, swing = before[:, :4].T
        lean, state = (before[:, columns].reshape(-1, 1, 2).copy() for columns in (slice(4, 6), slice(6, 8)))
        times = tracker.elapsed(index, self._stamps.shape[1])
        followed = tracker.follow(self._stamps, origin, times, state, jitter)
        if not followed.sizes.max() <= 0.5 * tracker.period:
            self._usual &= followed.sizes.max(axis=1) <= 0.5 * tracker.period
        leaning = tracker.leaning(followed.residuals, lean, swing)
        if leaning.marks.any():
            self._usual &= ~leaning.marks.any(axis=1)
        times += origin[:, None]
        times += followed.offsets
        flags = np.zeros(times.shape, dtype=np.uint32)
        after = np.empty((len(before), 7))
        after[:, 0], after[:, 1], after[:, 2] = followed.offsets[:, -1], followed.jitters[:, -1], leaning.swing
        after[:, 3:5], after[:, 5:] = lean[:, 0], state[:, 0]
        return times, flags, after.tolist()

    def _check(self) -> tuple[NDArray[np.int64], Floats]:
        """Runs of equal samples and peaks after the rows; what is bad in them makes a row unusual."""
        checks = [conditioner.check for conditioner in self._all]
        samples = self._samples
        peaks = np.abs(samples).max(axis=1)
        largest = peaks.max()  # NaN where anything is
        if not largest < checks[0].impossible:
            self._usual &= peaks.max(axis=1) < checks[0].impossible
        last = _stack([check.last for check in checks])
        steps = steps_beyond(samples, last, checks[0].step, largest)
        if steps is not None:
            self._usual &= ~steps.any(axis=(1, 2))
        runs = np.zeros(last.shape, dtype=np.int64)
        if (samples[:, 0] == last).any() or (samples[:, 1:] == samples[:, :-1]).any():
            all_runs = equal_runs(samples, last, _stack([check.run for check in checks]))
            self._usual &= (all_runs < checks[0].rail_run).all(axis=(1, 2))
            runs = all_runs[:, -1]
        return runs, np.maximum(peaks, _stack([check.peak for check in checks]))

    def _filter(self) -> tuple[Floats, Floats | None]:
        """Filtered rows and the filters' states after them; what is too large makes a row unusual."""
        sections = self._all[0].filter.sections
        states = None
        # one row per channel, as the recursion wants it
        columns = self._samples.transpose(0, 2, 1).copy()
        if sections is not None:
            kept = [conditioner.filter.state for conditioner in self._all]
            states = _stack([state for state in kept if state is not None])
            n_rows, n_channels, n_samples = columns.shape
            run_sections(
                sections,
                columns.reshape(n_rows * n_channels, n_samples),
                states.reshape(n_rows * n_channels, *states.shape[2:]),
            )
        sizes = np.abs(columns)
        if not sizes.max() <= self._all[0].limit:
            self._usual &= sizes.max(axis=(1, 2)) <= self._all[0].limit
        return columns.transpose(0, 2, 1), states


def _stack(rows: list[NDArray[Number]]) -> NDArray[Number]:
    """As :func:`numpy.stack`, in a third of the time."""
    return np.concatenate(rows).reshape(len(rows), *rows[0].shape)


def _course(timebase: TimeBase) -> tuple[float | None, ...]:
    course = timebase.course
    state = timebase.tracker.state_of(course)
    return course.origin, course.index, course.jitter, course.swing, *course.lean, *state


def _go_on(timebase: TimeBase, after: list[float], n_samples: int) -> None:
    """Let a tracker stand where following the row has brought it."""
    course = timebase.course
    course.offset, course.jitter, course.swing, lean, lean_too, first, second = after
    course.lean, course.state = (lean, lean_too), (first, second)
    course.drift = timebase.tracker.drift_after(first, course.offset)
    course.index += n_samples
