"""Trial of a bundle's graphs on a few windows of noise, in bounded time and memory, before a stream depends on them.

Hashes show that a bundle is whole, not that its graphs are harmless: a graph can ask for any memory, loop without end,
or give logits of another shape or no numbers. ONNX Runtime limits a session only when it is made, so the trial has
sessions of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from mindwire.errors import BundleError, GraphTrialError
from mindwire.inference.decoder import Decoder
from mindwire.inference.onnx import GraphOpener, open_graph
from mindwire.types import Reason, Window
from mindwire_models.bundle import Bundle
from mindwire_models.graphs.limited_run import MAX_BYTES, OUT_OF_MEMORY, limited_run
from mindwire_models.reading import MIB

_MAX_SECONDS = 5.0
_N_WINDOWS = 4  # the first decoded whole, the second with a filled memory, the others with a continued one
_NOISE_SCALE = 10.0

# Words of ONNX Runtime's message where an operator fails.
_FAILED_OPERATOR = re.compile(r"while running (\w+) node")

_passed: set[tuple[str, str]] = set()


def require_trial(
    bundle: Bundle, graphs: Literal["whole", "streaming"], make: Callable[[GraphOpener], Decoder]
) -> None:
    """Refuse a bundle whose graphs do not decode noise; one that has passed in this process is not tried again.

    Parameters
    ----------
    bundle : Bundle
    graphs : {"whole", "streaming"}
        Graphs that the decoder uses.
    make : callable
        Makes the decoder with a given way of opening graphs.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept a graph.
    GraphTrialError
        A graph fails, takes too much time or memory, or gives logits of another shape or that are not finite.
    """
    key = (bundle.sha256, graphs)
    if key in _passed:
        return
    with limited_run(_MAX_SECONDS) as (options, timed_out):
        try:
            decoder = make(lambda *graph: _LimitedSession(open_graph(*graph, limited=True), options))
            logits = _decode_noise(bundle, decoder)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            if isinstance(error, BundleError) and OUT_OF_MEMORY not in str(error):
                raise
            reason = f"takes more than {_MAX_SECONDS:g} s" if timed_out.is_set() else _reason(error)
            msg = f"{bundle.path}: a trial with a few windows failed: the graph {reason}; export the bundle again."
            raise GraphTrialError(msg) from error
    if not np.isfinite(logits).all():
        msg = (
            f"{bundle.path}: expected finite logits in a trial with a few windows, found NaN or infinity; "
            "the weights or the graph are damaged, export the bundle again."
        )
        raise GraphTrialError(msg)
    _passed.add(key)


def _decode_noise(bundle: Bundle, decoder: Decoder) -> Any:
    contract = bundle.contract
    n_times, n_channels = contract.window_samples, contract.n_channels
    hop = min(contract.hop_samples, n_times)
    rng = np.random.default_rng(0)
    samples = _NOISE_SCALE * rng.standard_normal((n_times + (_N_WINDOWS - 1) * hop, n_channels), dtype=np.float32)
    alignment = np.eye(n_channels, dtype=np.float32) / _NOISE_SCALE
    windows = [
        Window(number, 0.0, samples[end - n_times : end], alignment, 0, 0, end, Reason.NONE)
        for number, end in enumerate(range(n_times, len(samples) + 1, hop))
    ]
    session = decoder.session()
    return decoder.decode([session] * _N_WINDOWS, windows)


def _reason(error: Exception) -> str:
    text = str(error)
    if OUT_OF_MEMORY in text:
        return f"asks for more than {MAX_BYTES // MIB} MiB of memory"
    operator = _FAILED_OPERATOR.search(text)
    return f"fails in its operator {operator[1]}" if operator else "gives tensors of other shapes than it declares"


class _LimitedSession:
    """An ONNX Runtime session whose runs end when the trial's time is over."""

    def __init__(self, session: Any, options: Any) -> None:
        self._session = session
        self._options = options
        self.get_inputs = session.get_inputs
        self.io_binding = session.io_binding

    def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> Any:
        return self._session.run(outputs, feeds, self._options)

    def run_with_iobinding(self, binding: Any) -> None:
        self._session.run_with_iobinding(binding, self._options)
