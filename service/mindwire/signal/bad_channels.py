"""Handling of bad channels: interpolated where they are few, otherwise their windows are invalid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ArgumentError, ContractError
from mindwire.signal.interpolation import Interpolator
from mindwire.types import Reason

BadChannels = Literal["auto", "interpolate", "invalidate"]

_LARGE = (Reason.AMPLITUDE | Reason.SATURATED).bit
_SHARE = {"auto": 0.15, "interpolate": 0.5, "invalidate": 0.0}


class BadChannelPolicy:
    """Replacement of bad channels, each until the filters have forgotten what it did.

    Parameters
    ----------
    mode : {"auto", "interpolate", "invalidate"}
        ``auto`` interpolates up to 15 % of the channels, ``interpolate`` up to half.
    labels : tuple of str
    hold_samples : int
        Conditioned samples for which a channel that was bad stays so: the filters' settling. A channel
        that was out of range stays bad for twice as long, because one percent of it would still be much.

    Raises
    ------
    ContractError
        ``interpolate`` was asked for, and a label has no place on the head.

    Attributes
    ----------
    most : int
        Largest number of channels that are interpolated.
    """

    def __init__(self, mode: BadChannels, labels: tuple[str, ...], hold_samples: int) -> None:
        self.most = int(_SHARE[mode] * len(labels))
        self._hold = max(1, hold_samples)
        self._n = len(labels)
        self.reset()
        self._interpolator = None
        if not self.most:
            return
        try:
            self._interpolator = Interpolator(labels)
        except ArgumentError as error:
            self.most = 0
            if mode == "interpolate":
                msg = f"Bad channels cannot be interpolated: {error} Use --bad-channels invalidate."
                raise ContractError(msg) from error

    def reset(self) -> None:
        """Forget the past."""
        self._since = np.full(self._n, self._hold)
        self._since_large = 2 * self._since
        self._quiet = True  # no channel is bad or was so recently

    def process(
        self, samples: NDArray[np.float64], marks: NDArray[np.uint32] | None, flags: NDArray[np.uint32]
    ) -> None:
        """Replace or flag, in place, samples whose channels are bad.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        marks : ndarray of uint32, shape (n_samples, n_channels), or None
            Reasons against each channel, as bits; None where there is none.
        flags : ndarray of uint32, shape (n_samples,)
        """
        if not len(samples) or (self._quiet and marks is None):
            return
        if marks is None:
            marks = np.zeros(samples.shape, dtype=np.uint32)
        since = _since(marks != 0, self._since)
        since_large = _since(marks & _LARGE != 0, self._since_large)
        self._since, self._since_large = since[-1], since_large[-1]
        whole = np.bitwise_or.reduce(marks, axis=1)
        bad = (since < self._hold) | (since_large < 2 * self._hold)
        self._quiet = not bad[-1].any()
        count = bad.sum(axis=1)
        many = count > self.most
        flags[many] |= whole[many]
        # Once too many channels were bad, their filters still ring: no interpolation hides that.
        flags[many & (whole == 0)] |= Reason.AMPLITUDE.bit
        if self._interpolator is None:
            return
        few = (count > 0) & ~many
        flags[few] |= Reason.INTERPOLATED.bit
        changes = np.flatnonzero((bad[1:] != bad[:-1]).any(axis=1)) + 1
        for start, stop in zip([0, *changes], [*changes, len(bad)], strict=True):
            if start < stop and few[start]:
                self._interpolator.fill(samples[start:stop], bad[start])


def _since(marked: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples since the last marked one, per channel, given how many it had been before these."""
    position = np.arange(len(marked))[:, None]
    last = np.maximum.accumulate(np.where(marked, position, -1), axis=0)
    return np.asarray(np.where(last < 0, before + position + 1, position - last))
