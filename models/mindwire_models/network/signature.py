"""Checks and inferences on AttentionBaseNet's constructor arguments, each failing with an ArgumentError."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from mindwire_models.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class TemporalLengths:
    """Kernels, pools and strides along time: of the stem in samples, of the attention block in pooled samples."""

    temp_filter_length_inp: int
    pool_length_inp: int
    pool_stride_inp: int
    temp_filter_length: int
    pool_length: int
    pool_stride: int

    @property
    def least_n_times(self) -> int:
        """The shortest window, in samples, that leaves one step after both pools."""
        return self.pool_stride_inp * (self.pool_length - 1) + self.pool_length_inp

    def scaled_to(self, n_times: int) -> TemporalLengths:
        """Return these lengths, scaled down in proportion for a window too short for them."""
        if n_times >= self.least_n_times:
            return self
        factor = n_times / self.least_n_times
        return TemporalLengths(**{name: max(1, int(length * factor)) for name, length in asdict(self).items()})

    def describe_scaling(self, n_times: int) -> str:
        """Describe in a sentence how :meth:`scaled_to` changes these lengths."""
        scaled = asdict(self.scaled_to(n_times))
        changes = ", ".join(f"{name} {old} to {scaled[name]}" for name, old in asdict(self).items())
        return (
            f"n_times={n_times} is shorter than the {self.least_n_times} samples that these kernels and pools need; "
            f"temporal lengths and strides are scaled by {n_times / self.least_n_times:.2f}: {changes}."
        )

    def sequence_lengths(self, n_times: int) -> tuple[int, int]:
        """Time steps after the stem's pool and after the last pool; an even kernel adds one step."""
        longer, longer_later = 1 - self.temp_filter_length_inp % 2, 1 - self.temp_filter_length % 2
        first = (n_times + longer - self.pool_length_inp) // self.pool_stride_inp + 1
        return first, (first + longer_later - self.pool_length) // self.pool_stride + 1


def infer_signal(
    *,
    n_times: int | None,
    n_chans: int | None,
    n_outputs: int | None,
    chs_info: Sequence[dict[str, Any]] | None,
    sfreq: float | None,
    input_window_seconds: float | None,
) -> tuple[int, int, int, float | None, float | None]:
    """Complete ``n_times, n_chans, n_outputs, sfreq, input_window_seconds`` as far as they follow from each other.

    Raises
    ------
    ArgumentError
        Something needed is missing, of the wrong type or range, or contradicts another.
    """
    if n_outputs is None:
        msg = "n_outputs, the number of classes, is needed."
        raise ArgumentError(msg)
    if n_chans is None and chs_info is None:
        msg = "The number of channels is needed: give n_chans or chs_info."
        raise ArgumentError(msg)
    if chs_info is not None and not (isinstance(chs_info, list | tuple) and all(isinstance(c, dict) for c in chs_info)):
        msg = "chs_info must be a list with one dictionary per channel, as mne.Info['chs'] is."
        raise ArgumentError(msg)
    channels = check_integer("n_chans", len(chs_info or ()) if n_chans is None else n_chans)
    if chs_info is not None and len(chs_info) != channels:
        msg = f"n_chans={channels} contradicts chs_info, which describes {len(chs_info)} channels."
        raise ArgumentError(msg)
    rate = None if sfreq is None else _positive("sfreq", sfreq)
    seconds = None if input_window_seconds is None else _positive("input_window_seconds", input_window_seconds)
    if n_times is None:
        if rate is None or seconds is None:
            msg = "The window's length is needed: give n_times, or sfreq and input_window_seconds."
            raise ArgumentError(msg)
        samples = check_integer("n_times (sfreq times input_window_seconds)", round(rate * seconds))
    else:
        samples = check_integer("n_times", n_times)
    if rate is not None and seconds is not None and samples != round(rate * seconds):
        msg = (
            f"n_times={samples}, sfreq={rate:g} and input_window_seconds={seconds:g} contradict each other: "
            f"{seconds:g} s at {rate:g} Hz are {round(rate * seconds)} samples; leave one of the three out."
        )
        raise ArgumentError(msg)
    if rate is None and seconds is not None:
        rate = samples / seconds
    elif seconds is None and rate is not None:
        seconds = samples / rate
    return samples, channels, check_integer("n_outputs", n_outputs), rate, seconds


def check_integer(name: str, value: object, *, least: int = 1) -> int:
    """Return the value as an int; refuse what is no integer (a bool is none) or below ``least``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        msg = f"{name} must be an integer of at least {least}; found {value!r}."
        raise ArgumentError(msg)
    return number


def check_probability(name: str, value: object) -> float:
    """Return the value as a float; refuse what is no number from 0 to 1."""
    if not 0 <= (number := _number(value)) <= 1:
        msg = f"{name} must be a probability from 0 to 1; found {value!r}."
        raise ArgumentError(msg)
    return number


def check_flag(name: str, value: object) -> bool:
    """Return the value; refuse what is neither True nor False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False; found {value!r}."
        raise ArgumentError(msg)
    return value


def check_activation(activation: object) -> None:
    """Refuse anything but a class of modules that can be built without arguments."""
    if not (isinstance(activation, type) and issubclass(activation, nn.Module)):
        msg = f"activation must be a class such as torch.nn.ELU, not an instance or a name; found {activation!r}."
        raise ArgumentError(msg)
    try:
        activation()
    except TypeError as error:
        msg = f"activation must be a class that needs no arguments, such as torch.nn.ELU; found {activation.__name__}."
        raise ArgumentError(msg) from error


def _positive(name: str, value: object) -> float:
    if not 0 < (number := _number(value)) < math.inf:
        msg = f"{name} must be a positive number; found {value!r}."
        raise ArgumentError(msg)
    return number


def _number(value: object) -> float:
    """Return the value as a float, NaN where it is no number."""
    try:
        return math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
