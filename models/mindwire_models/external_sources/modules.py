"""Modules of PyTorch that are not ours, as graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from mindwire_models.errors import ExportError
from mindwire_models.external import ExternalDecoder
from mindwire_models.graphs.external_check import Output, Reference, gives
from mindwire_models.graphs.foreign_graph import read_foreign
from mindwire_models.graphs.plain_graph import trace
from mindwire_models.text import first_line


def trace_decoder(
    module: nn.Module,
    traced: nn.Module | None = None,
    *,
    n_chans: int,
    n_times: int,
    sfreq: float | None = None,
    output: Output | None = None,
    source: str,
    provenance: str,
) -> ExternalDecoder:
    """Return a module from ``(batch, n_chans, n_times)`` to ``(batch, n_classes)``, on the CPU and in evaluation mode, as a decoder.

    ``traced`` is a second one of the same weights, which is changed: what its parametrizations make of them, as norms limited to
    a maximum, becomes constant. Other arguments are as of an :class:`~mindwire_models.external.ExternalDecoder`, whose reference is the module.

    Raises
    ------
    ExportError
        The module does not run with such windows, or cannot be expressed in ONNX.
    """

    def reference(windows: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(windows)).numpy())

    try:
        _fix_parametrizations(traced or module)
        result = reference(np.zeros((1, n_chans, n_times), dtype=np.float32))
        graph = _traced(traced or module, reference, (n_chans, n_times))
    except ExportError as error:
        msg = f"{source}: {error}"
        raise ExportError(msg) from error
    except Exception as error:  # whatever the module raises
        msg = f"{source}: it does not run or cannot be exported with windows of {n_chans}×{n_times} ({first_line(error)})."
        raise ExportError(msg) from error
    found = read_foreign(graph, source)
    n_outputs = found.n_outputs or result.shape[1]
    return ExternalDecoder(graph, output, source, provenance, reference, n_chans, n_times, n_outputs, sfreq)


def _traced(module: nn.Module, reference: Reference, shape: tuple[int, int]) -> bytes:
    """Return the module's graph: for any batch where it can be traced so, otherwise for one window."""
    for batch in (2, 1):
        with _whole_attention():
            graph = trace(module, torch.zeros(batch, *shape), "x", "output", fold=False)
        windows = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
        if batch == 1 or gives(graph, windows, reference(windows)):
            break
    return graph


def _fix_parametrizations(module: nn.Module) -> None:
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)


@contextmanager
def _whole_attention() -> Iterator[None]:
    """Keep PyTorch from its fused transformer layers, which ONNX does not have."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
