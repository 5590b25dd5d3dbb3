"""Checks of the rules about samples and time stamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindwire.offline.convention.descriptions import (
    Check,
    UncheckedError,
    ViolationError,
    classes_of,
    number_in,
    shown,
    violated,
)
from mindwire.offline.convention.rules import AGES, LONGEST_TEXT, PART_OF_HOP, SUM_ERROR
from mindwire.offline.convention.streams import ObservedStream
from mindwire_models.text import counted

_TOLERANCE = 1e-6  # of float32 near 1


def first_of(wrong: NDArray[np.bool_], times: NDArray[np.float64]) -> str:
    """Return number and first time of what is wrong."""
    return f"{int(wrong.sum())} of {len(wrong)}, the first at {times[wrong.argmax()]:.3f} s"


def need(stream: ObservedStream, fewest: int = 1) -> None:
    """Require a number of samples, to check anything with."""
    if len(stream.times) < fewest:
        msg = f"{counted(len(stream.times), 'sample')}, {fewest} needed"
        raise UncheckedError(msg)


def numbers(stream: ObservedStream) -> NDArray[np.float64]:
    """Return the samples as numbers."""
    need(stream)
    if stream.info.dtype == "string":
        msg = "the samples are text"
        raise UncheckedError(msg)
    return stream.values.astype(float)


def increasing(stream: ObservedStream) -> None:
    """Check that stamps increase."""
    need(stream, 2)
    wrong = np.logical_not(np.diff(stream.times) > 0)
    if wrong.any():
        violated("a later stamp each time", f"none later in {first_of(wrong, stream.times[1:])}")


def hops(stream: ObservedStream) -> None:
    """Check P7."""
    need(stream, 3)
    try:
        hop = number_in(stream, "decoding/hop_samples") / number_in(stream, "decoding/sfreq")
    except ViolationError as error:
        raise UncheckedError(str(error)) from error
    count = float(np.median(np.diff(stream.times))) / hop
    if count < 1 - PART_OF_HOP or abs(count - round(count)) > PART_OF_HOP:
        violated(f"a multiple of {hop * 1e3:g} ms", f"{count * hop * 1e3:.4g} ms")


def age(number: str) -> Check:
    """Return a check of the age of samples when they arrived."""
    least, most = AGES[number]

    def check(stream: ObservedStream) -> None:
        need(stream)
        if stream.ages is None:
            msg = "a recording does not state when a sample arrived"
            raise UncheckedError(msg)
        wrong = ~((stream.ages >= least) & (stream.ages <= most))
        if wrong.any():
            violated(f"an age of {least:g} to {most:g} s", f"{stream.ages[wrong.argmax()]:.3f} s")

    return check


def valid_rows(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are meant as probabilities: they are neither NaN nor another sign of an invalid prediction."""
    finite = np.isfinite(values) & (values >= -_TOLERANCE)
    return np.asarray(finite.all(axis=1) & (values > 0).any(axis=1), dtype=bool)


def sums(stream: ObservedStream) -> None:
    """Check P9."""
    values = numbers(stream)
    meant = valid_rows(values)
    if not meant.any():
        msg = "no valid row"
        raise UncheckedError(msg)
    wrong = np.asarray(meant & (np.abs(values.sum(axis=1) - 1) > SUM_ERROR), dtype=bool)
    if wrong.any():
        violated("a sum of 1", f"{values[wrong.argmax()].sum():.4g} in {first_of(wrong, stream.times)}")


def invalid_rows(stream: ObservedStream) -> None:
    """Check P10."""
    values = numbers(stream)
    wrong = np.asarray(~valid_rows(values) & ~np.isnan(values).all(axis=1), dtype=bool)
    if wrong.any():
        row = " ".join(f"{value:.4g}" for value in values[wrong.argmax()][:8])
        violated("NaN in each channel, or probabilities", f"the row {row} in {first_of(wrong, stream.times)}")


def known_classes(stream: ObservedStream) -> None:
    """Check D4."""
    need(stream)
    names = classes_of(stream)
    wrong = np.array([str(value) not in names for value in stream.values[:, 0]])
    if wrong.any():
        text = shown(str(stream.values[wrong.argmax(), 0]))
        violated(f"one of {', '.join(names) or 'no class'}", f"{text} in {first_of(wrong, stream.times)}")


def in_range(stream: ObservedStream) -> None:
    """Check A6."""
    values = numbers(stream)
    wrong = np.asarray(~(np.abs(values) <= 1 + _TOLERANCE).all(axis=1), dtype=bool)
    if wrong.any():
        row = " ".join(f"{value:.4g}" for value in values[wrong.argmax()][:8])
        violated("-1 to 1", f"the row {row} in {first_of(wrong, stream.times)}")


def marker_texts(stream: ObservedStream) -> None:
    """Check M3."""
    need(stream)
    texts = [str(value) for value in stream.values[:, 0]]
    wrong = np.array([not text.isprintable() or not 1 <= len(text) <= LONGEST_TEXT for text in texts])
    if wrong.any():
        violated(
            f"1 to {LONGEST_TEXT} printable characters",
            f"{shown(texts[wrong.argmax()])} in {first_of(wrong, stream.times)}",
        )
