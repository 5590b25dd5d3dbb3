"""Pulling from an inlet into memory of one's own, without making anything anew at each pull.

``StreamInlet.pull_chunk`` makes a ctypes type, an array for a thousand stamps and views of both each time, which takes
five times as long as the library's own call, and a service of many streams pulls thousands of times a second. This is
that call, with everything it is given prepared once.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pylsl.util import handle_error

from mindwire.sources.liblsl import pylsl


class Puller:
    """Takes numbers from one inlet.

    Parameters
    ----------
    inlet : pylsl.StreamInlet
        Of numbers, not of text.
    n_rows : int
        Most samples of one pull.

    Attributes
    ----------
    inlet : pylsl.StreamInlet
    samples : ndarray, shape (n_rows, n_channels)
        In the inlet's number format and the stream's units.
    stamps : ndarray of float64, shape (n_rows,)
        Seconds, in the sender's clock.
    """

    def __init__(self, inlet: pylsl.StreamInlet, n_rows: int) -> None:
        self.samples: NDArray[Any] = np.empty((n_rows, inlet.channel_count), dtype=inlet.np_dtype)
        self.stamps = np.empty(n_rows)
        self.inlet = inlet
        self._call = inlet.do_pull_chunk
        self._error = ctypes.c_int()
        self._n_channels: int = inlet.channel_count
        # where the first row is written, and where the second; how much fits from there on
        self._all = self._target(0, n_rows)
        self._one, self._rest = self._target(0, 1), self._target(1, n_rows - 1)
        self._at_once = ctypes.c_double(0.0)
        self._error_at = ctypes.byref(self._error)

    def _target(
        self, row: int, n_rows: int
    ) -> tuple[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]:
        return (
            ctypes.c_void_p(self.samples.ctypes.data + row * self.samples.strides[0]),
            ctypes.c_void_p(self.stamps.ctypes.data + row * self.stamps.itemsize),
            ctypes.c_size_t(n_rows * self._n_channels),
            ctypes.c_size_t(n_rows),
        )

    def pull(self, timeout: float) -> int:
        """Overwrite the first rows with what has arrived.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the first sample; the others are not waited for.

        Returns
        -------
        int
            How many rows.

        Raises
        ------
        pylsl.util.LostError
            The outlet has gone.
        """
        if not timeout:
            return self._pull(self._all, self._at_once)
        first = self._pull(self._one, ctypes.c_double(timeout))
        return first + self._pull(self._rest, self._at_once) if first else 0

    def _pull(self, target: tuple[Any, ...], timeout: ctypes.c_double) -> int:
        self._error.value = 0
        n_values: int = self._call(self.inlet.obj, *target, timeout, self._error_at)
        handle_error(self._error)
        return n_values // self._n_channels
