"""Causal second-order sections with their state, at the cost of the recursion itself.

``scipy.signal.sosfilt`` checks and rearranges its arguments for some 50 µs, ten times the work on a chunk: with it a hop takes
2.5 times as long at chunks of 10 samples and 3.3 times at chunks of 1 (`mindwire bench --only latency`), and to import
``scipy.signal`` takes longer and holds more memory than the rest of the service. So SciPy's compiled kernel is loaded by
itself. It is private to SciPy: unless it is there and gives what it must, the public function runs the same kernel.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.contract import Sections

# sections (n_sections, 6), samples (n_signals, n_samples), state (n_signals, n_sections, 2); the last two change
Kernel = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], None]
_NAME = "scipy.signal._sosfilt"


def compiled_kernel() -> Kernel | None:
    """SciPy's compiled recursion, without the rest of ``scipy.signal``; None where it is not as expected."""
    sos = np.array([[1.0, 2.0, 1.0, 1.0, -0.5, 0.25], [0.5, 0.0, 0.0, 1.0, -0.5, 0.0]])
    samples = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    try:
        of_types: Any = getattr(sys.modules.get(_NAME) or _load(), "_sosfilt", None)
        kernel: Any = of_types["double"]  # without it every call looks for the type
        kernel(sos, samples, np.zeros((2, 2, 2)))
    except (ImportError, OSError, KeyError, TypeError, ValueError):
        return None
    return kernel if np.array_equal(samples, [[0.5, 1.5, 1.75], [0.0, 1.0, 3.0]]) else None


def _load() -> Any:
    package = importlib.util.find_spec("scipy")
    folders = package and package.submodule_search_locations
    spec = PathFinder.find_spec(_NAME, [f"{folder}/signal" for folder in folders or ()])
    if spec is None or spec.loader is None:
        raise ImportError(name=_NAME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # an extension loads once; a later import of scipy.signal must find this one
    sys.modules[_NAME] = module
    return module


def public_kernel(sos: NDArray[np.float64], samples: NDArray[np.float64], state: NDArray[np.float64]) -> None:
    """The same by :func:`scipy.signal.sosfilt`."""
    from scipy import signal

    filtered, after = signal.sosfilt(sos, samples, axis=-1, zi=state.transpose(1, 0, 2))
    samples[...] = filtered
    state[...] = after.transpose(1, 0, 2)


run_sections: Kernel = compiled_kernel() or public_kernel


def resting_state(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    """State of sections through which 1 has passed for ever, (n_sections, 2), as :func:`scipy.signal.sosfilt_zi` gives it."""
    level, state = 1.0, np.empty((len(sos), 2))
    for index, (b0, b1, b2, _, a1, a2) in enumerate(sos):
        out = level * (b0 + b1 + b2) / (1 + a1 + a2)
        second = b2 * level - a2 * out
        state[index] = b1 * level - a1 * out + second, second
        level = out
    return state


class CausalFilter:
    """Second-order sections that carry their state from chunk to chunk.

    The state starts as if the first sample had been there for ever, so the offset of a DC-coupled
    amplifier causes no step.

    Parameters
    ----------
    sections : tuple of 6-tuples
        As :func:`scipy.signal.sosfilt` takes them; none means the signal passes unchanged.
    """

    def __init__(self, sections: Sections) -> None:
        self._sections = np.array(sections, dtype=np.float64).reshape(-1, 6)
        self._rest = resting_state(self._sections)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._state: NDArray[np.float64] | None = None

    def process(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter the next contiguous samples, ``(n_samples, n_channels)``."""
        if not len(self._sections) or not len(samples):
            return samples
        if self._state is None:
            self._state = self._rest * samples[0][:, None, None]
        filtered = samples.T.copy()  # one row per channel, as the recursion wants it; changed in place
        run_sections(self._sections, filtered, self._state)
        return filtered.T
