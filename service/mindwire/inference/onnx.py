"""Decodes windows with ONNX Runtime, on preallocated buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import BundleError
from mindwire.inference.decoder import StatelessSession, batches
from mindwire.types import Window
from mindwire_models.bundle import GRAPH, Bundle

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


GraphOpener = Callable[[bytes, str, str], Any]


def open_graph(data: bytes, device: str, where: str, *, limited: bool = False) -> Any:
    """An ONNX Runtime session: one thread, no spinning.

    Parameters
    ----------
    data : bytes
        The graph.
    device : {"cpu", "cuda"}
    where : str
        Names the graph in error messages.
    limited : bool
        Take memory from the limited allocator of :mod:`mindwire.inference.trial`.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    BundleError
        ONNX Runtime does not accept the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4 if limited else 3
    if limited:
        options.add_session_config_entry("session.use_env_allocators", "1")
    providers = [PROVIDERS[device]] + ([PROVIDERS["cpu"]] if device != "cpu" else [])
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        msg = (
            f"{where}: ONNX Runtime does not accept the graph ({str(error).splitlines()[0]}); export the bundle again."
        )
        raise BundleError(msg) from error


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Inputs and output of one batch size, bound once."""

    x: NDArray[np.float32]
    alignment: NDArray[np.float32] | None
    logits: NDArray[np.float32]
    run: Callable[[], None]

    def take(self, row: int, samples: NDArray[np.float32], alignment: NDArray[np.float32]) -> None:
        """Copy a window, time-major and not aligned, to a row of the inputs."""
        if self.alignment is None:
            np.matmul(alignment, samples.T, out=self.x[row])
        else:
            self.x[row] = samples.T
            self.alignment[row] = alignment


class OnnxDecoder:
    """Decodes whole windows with ``model.onnx``.

    Parameters
    ----------
    bundle : Bundle
    device : {"cpu", "cuda"}
    reason : str
        Why this engine and device were chosen.
    opener : callable
        Opens a graph as :func:`open_graph` does.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept the graph.
    """

    engine = "onnxruntime"

    def __init__(self, bundle: Bundle, device: str, reason: str, opener: GraphOpener = open_graph) -> None:
        self.device = device
        self.reason = reason
        self._folded = bundle.graph == "folded"
        self._n_classes = len(bundle.contract.classes)
        self._shape = (bundle.contract.n_channels, bundle.contract.window_samples)
        self._session = opener(bundle.read(GRAPH), device, str(bundle.onnx_path))
        self._buffers: dict[int, _Buffers] = {}

    def session(self) -> StatelessSession:
        """A marker of one stream; whole windows need no state."""
        return StatelessSession()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Logits of windows, each of its own stream.

        Windows of different streams share a batch. Windows of one stream are decoded one by one, so that its
        predictions do not depend, to the last bit, on how many fell due together.

        Parameters
        ----------
        sessions : sequence
            One per window, from :meth:`session`.
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        for part in batches(sessions):
            buffers = self._buffers_for(len(part))
            for row, index in enumerate(part):
                buffers.take(row, windows[index].samples, windows[index].alignment)
            buffers.run()
            logits[part] = buffers.logits
        return logits

    def _buffers_for(self, batch: int) -> _Buffers:
        if batch not in self._buffers:
            n_channels = self._shape[0]
            x = np.zeros((batch, *self._shape), dtype=np.float32)
            alignment = np.zeros((batch, n_channels, n_channels), dtype=np.float32) if self._folded else None
            logits = np.zeros((batch, self._n_classes), dtype=np.float32)
            inputs = {"x": x} if alignment is None else {"x": x, "alignment": alignment}
            run = self._bind(inputs, logits) if self.device == "cpu" else self._copying(inputs, logits)
            self._buffers[batch] = _Buffers(x, alignment, logits, run)
        return self._buffers[batch]

    def _bind(self, inputs: dict[str, NDArray[np.float32]], logits: NDArray[np.float32]) -> Callable[[], None]:
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return lambda: self._session.run_with_iobinding(binding)

    def _copying(self, inputs: dict[str, NDArray[np.float32]], logits: NDArray[np.float32]) -> Callable[[], None]:
        def run() -> None:
            logits[...] = self._session.run(["logits"], inputs)[0]

        return run
