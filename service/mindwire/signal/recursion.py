"""Second-order sections over a few samples at a time, at the cost of the recursion itself.

``scipy.signal.sosfilt`` checks and rearranges its arguments for some 50 µs, which is ten times the work on a
chunk, and importing ``scipy.signal`` takes longer and holds more memory than the rest of the service. So
SciPy's compiled kernel is loaded by itself. It is private to SciPy: unless it is there and gives what it must,
the public function is used, which runs the same kernel.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# sections (n_sections, 6), samples (n_signals, n_samples), state (n_signals, n_sections, 2); the last two change
Kernel = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], None]
_NAME = "scipy.signal._sosfilt"


def compiled_kernel() -> Kernel | None:
    """SciPy's compiled recursion, without the rest of ``scipy.signal``; None where it is not as expected."""
    try:
        kernel = getattr(sys.modules.get(_NAME) or _load(), "_sosfilt", None)
        return kernel if kernel is not None and _behaves(kernel) else None
    except (ImportError, OSError, TypeError, ValueError):
        return None


def _load() -> object:
    package = importlib.util.find_spec("scipy")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "signal"
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = folder / f"_sosfilt{suffix}"
        spec = importlib.util.spec_from_file_location(_NAME, path) if path.exists() else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            # an extension loads once; a later import of scipy.signal must find this one
            sys.modules[_NAME] = module
            try:
                spec.loader.exec_module(module)
            except ImportError:
                del sys.modules[_NAME]
                raise
            return module
    return None


def _behaves(kernel: Kernel) -> bool:
    sos = np.array([[1.0, 2.0, 1.0, 1.0, -0.5, 0.25], [0.5, 0.0, 0.0, 1.0, -0.5, 0.0]])
    samples, state = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), np.zeros((2, 2, 2))
    kernel(sos, samples, state)
    expected = np.array([[0.5, 1.5, 1.75], [0.0, 1.0, 3.0]])
    return bool(np.array_equal(samples, expected))


def public_kernel(sos: NDArray[np.float64], samples: NDArray[np.float64], state: NDArray[np.float64]) -> None:
    """The same by :func:`scipy.signal.sosfilt`."""
    from scipy import signal

    filtered, after = signal.sosfilt(sos, samples, axis=-1, zi=state.transpose(1, 0, 2))
    samples[...] = filtered
    state[...] = after.transpose(1, 0, 2)


run_sections: Kernel = compiled_kernel() or public_kernel


def resting_state(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    """State of sections through which 1 has passed for ever.

    Parameters
    ----------
    sos : ndarray of float64, shape (n_sections, 6)
        Normalised, ``a0 = 1``.

    Returns
    -------
    ndarray of float64, shape (n_sections, 2)
        As :func:`scipy.signal.sosfilt_zi` gives it.
    """
    level, state = 1.0, np.empty((len(sos), 2))
    for index, (b0, b1, b2, _, a1, a2) in enumerate(sos):
        out = level * (b0 + b1 + b2) / (1 + a1 + a2)
        second = b2 * level - a2 * out
        state[index] = b1 * level - a1 * out + second, second
        level = out
    return state
