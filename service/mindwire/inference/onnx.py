"""Decoder of whole windows with ONNX Runtime, on preallocated buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import BundleError
from mindwire.inference.decoder import WindowDecoder
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.bundle_checks import GRAPH
from mindwire_models.graphs.limited_run import limit_memory
from mindwire_models.text import first_line

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
GraphOpener = Callable[[bytes, str, str], Any]


def open_graph(data: bytes, device: str, where: str, *, limited: bool = False) -> Any:
    """Open an ONNX Runtime session: one thread, no spinning.

    Parameters
    ----------
    data : bytes
        The graph.
    device : {"cpu", "cuda"}
    where : str
        Names the graph in error messages.
    limited : bool
        Take memory from the limited allocator of :mod:`mindwire.inference.trial`.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    options.log_severity_level = 4 if limited else 3
    if limited:
        limit_memory(options)
    providers = [PROVIDERS[device]] + ([PROVIDERS["cpu"]] if device != "cpu" else [])
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        msg = f"{where}: ONNX Runtime does not accept the graph ({first_line(error)}); export the bundle again."
        raise BundleError(msg) from error


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Inputs and output of one batch size, bound once; without an alignment for a graph that takes aligned samples."""

    x: NDArray[np.float32]
    alignment: NDArray[np.float32] | None
    logits: NDArray[np.float32]
    run: Callable[[], None]


class OnnxDecoder(WindowDecoder):
    """Decodes whole windows with ``model.onnx``.

    Parameters
    ----------
    bundle, device, reason
        As for :class:`~mindwire.inference.decoder.WindowDecoder`.
    opener : callable
        Opens a graph as :func:`open_graph` does.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept the graph.
    """

    engine = "onnxruntime"

    def __init__(self, bundle: Bundle, device: str, reason: str, opener: GraphOpener = open_graph) -> None:
        super().__init__(bundle, device, reason)
        self._folded = bundle.graph == "folded"
        self._session = opener(bundle.read(GRAPH), device, str(bundle.path / GRAPH))
        self._buffers: dict[int, _Buffers] = {}

    def _decode_batch(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        if len(windows) not in self._buffers:
            self._buffers[len(windows)] = self._make_buffers(len(windows))
        buffers = self._buffers[len(windows)]
        for row, window in enumerate(windows):
            if buffers.alignment is None:
                np.matmul(window.alignment, window.samples.T, out=buffers.x[row])
            else:
                buffers.x[row], buffers.alignment[row] = window.samples.T, window.alignment
        buffers.run()
        return buffers.logits

    def _make_buffers(self, batch: int) -> _Buffers:
        n_channels = self._shape[0]
        inputs = {"x": np.zeros((batch, *self._shape), dtype=np.float32)}
        if self._folded:
            inputs["alignment"] = np.zeros((batch, n_channels, n_channels), dtype=np.float32)
        logits = np.zeros((batch, self._n_classes), dtype=np.float32)

        def run_copying() -> None:
            logits[...] = self._session.run(["logits"], inputs)[0]

        run: Callable[[], None] = run_copying
        if self.device == "cpu":
            binding = self._session.io_binding()
            for name, array in inputs.items():
                binding.bind_cpu_input(name, array)
            binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
            run = partial(self._session.run_with_iobinding, binding)
        return _Buffers(inputs["x"], inputs.get("alignment"), logits, run)
