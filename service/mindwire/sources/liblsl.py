"""The Lab Streaming Layer library, and what pylsl's public interface lacks of it.

Import liblsl from here, so that its log is off before it is first used: liblsl writes to standard error by itself, in a form
of its own. The log is on with ``mindwire --debug``, or where a configuration file of the user sets its level.

Private parts of pylsl are used in this module alone, hence the upper bound of its version: :class:`Puller` (one pull in 7 to
10 µs of processor time, 21 to 31 with ``StreamInlet.pull_chunk(as_numpy=True)``, measured in turn at 22 channels; a poll that finds
nothing in 0.8 instead of 4.5; a service of 150 streams pulls and polls some thousand times a second), the round trip of a
clock's measurement, and the check of a predicate.
"""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ServiceError
from mindwire_models.text import first_line

try:
    import pylsl
    from pylsl.lib import lib
    from pylsl.util import InternalError, LostError, handle_error
    from pylsl.util import TimeoutError as LslTimeoutError
except (ImportError, OSError, RuntimeError) as error:  # pylsl raises RuntimeError when liblsl is missing
    msg = (
        f"The Lab Streaming Layer library cannot be loaded ({first_line(error)}); "
        "install it with `pip install pylsl`, or set PYLSL_LIB to the path of liblsl."
    )
    raise ServiceError(msg) from error

__all__ = ["InternalError", "LostError", "LslTimeoutError", "pylsl"]

# In the order in which liblsl searches them, after the file that LSLAPICFG names.
CONFIG_FILES = ("lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")
_LOG_SECTION = re.compile(r"^[ \t]*\[log\][ \t]*$(?P<settings>(?:\n(?![ \t]*\[).*)*)", re.MULTILINE)

lib.lsl_time_correction_ex.restype = ctypes.c_double


def quiet_config(text: str) -> str | None:
    """Return a configuration with the log turned off; None where it sets the log itself."""
    section = _LOG_SECTION.search(text)
    if section is None:
        return f"{text.rstrip()}\n\n[log]\nlevel = -3\n"
    if re.search(r"^[ \t]*(level|file)[ \t]*=", section["settings"], re.MULTILINE):
        return None
    at = section.start("settings")
    return f"{text[:at]}\nlevel = -3{text[at:]}"


def _current_config() -> str:
    for name in filter(None, (os.environ.get("LSLAPICFG"), *CONFIG_FILES)):
        with suppress(OSError, RuntimeError):  # RuntimeError: there is no home
            return Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
    return ""


if not os.environ.get("MINDWIRE_DEBUG"):
    _config = quiet_config(_current_config())
    if _config is not None and hasattr(lib, "lsl_set_config_content"):  # not in every version
        pylsl.set_config_content(_config)


def is_predicate(xpath: str) -> bool:
    """Return true if LSL can parse an XPath predicate; pylsl answers an error with an empty list."""
    buffer = (ctypes.c_void_p * 1)()
    return bool(lib.lsl_resolve_bypred(ctypes.byref(buffer), 0, xpath.encode(), 0, ctypes.c_double(0.0)) >= 0)


def time_correction(inlet: pylsl.StreamInlet, timeout: float) -> tuple[float, float]:
    """Return an inlet's clock offset and the round trip of its measurement, in seconds."""
    remote, round_trip, code = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
    offset = lib.lsl_time_correction_ex(
        inlet.obj, ctypes.byref(remote), ctypes.byref(round_trip), ctypes.c_double(timeout), ctypes.byref(code)
    )
    handle_error(code)
    return float(offset), float(round_trip.value)


class Puller:
    """Pulls from one inlet into memory of its own, with everything that the call takes prepared once.

    Parameters
    ----------
    inlet : pylsl.StreamInlet
        Of numbers, not of text.
    n_rows : int
        Most samples of one pull.
    """

    def __init__(self, inlet: pylsl.StreamInlet, n_rows: int) -> None:
        self.samples: NDArray[Any] = np.empty((n_rows, inlet.channel_count), dtype=inlet.np_dtype)
        self.stamps = np.empty(n_rows)  # seconds, in the sender's clock
        self.inlet = inlet
        self._n_channels: int = inlet.channel_count
        self._all, self._first, self._rest = self._rows(0, n_rows), self._rows(0, 1), self._rows(1, n_rows - 1)
        self._no_wait = ctypes.c_double(0.0)
        self._code = ctypes.c_int()
        self._code_pointer = ctypes.byref(self._code)

    def _rows(self, row: int, n_rows: int) -> tuple[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]:
        """Arguments of a pull into ``n_rows`` rows from ``row`` on."""
        return (
            ctypes.c_void_p(self.samples.ctypes.data + row * self.samples.strides[0]),
            ctypes.c_void_p(self.stamps.ctypes.data + row * self.stamps.itemsize),
            ctypes.c_size_t(n_rows * self._n_channels),
            ctypes.c_size_t(n_rows),
        )

    def pull(self, timeout: float) -> int:
        """Overwrite the first rows with the samples that have arrived; return their number.

        Wait up to ``timeout`` seconds for the first one; there is no wait for others.
        """
        if not timeout:
            return self._pull(self._all, self._no_wait)
        first = self._pull(self._first, ctypes.c_double(timeout))
        return first + self._pull(self._rest, self._no_wait) if first else 0

    def _pull(self, rows: tuple[Any, ...], timeout: ctypes.c_double) -> int:
        self._code.value = 0
        n_values: int = self.inlet.do_pull_chunk(self.inlet.obj, *rows, timeout, self._code_pointer)
        handle_error(self._code)
        return n_values // self._n_channels
