"""Programs that ``torch.export.save`` wrote (``.pt2``).

PyTorch's own reader takes them, which unpickles parts of the file: only programs of known origin are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mindwire_models.errors import BundleError, ExportError
from mindwire_models.external import ExternalDecoder
from mindwire_models.external_sources.modules import trace_decoder
from mindwire_models.graphs.external_check import Output
from mindwire_models.reading import MIB, read_regular

_MAX_BYTES = 256 * MIB


class _Program(nn.Module):
    """Module of a program; the program is no submodule, for it refuses to be set into evaluation mode."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        for tensor in program.parameters():  # become constants of the graph
            tensor.requires_grad_(requires_grad=False)
        self._call = program.__call__

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for windows ``(batch, n_chans, n_times)``."""
        return self._call(x)  # type: ignore[no-any-return]


def read_program(path: Path, output: Output | None = None, *, trusted: bool) -> ExternalDecoder:
    """Read an exported program of one input ``(batch, n_channels, n_times)`` and one output ``(batch, n_classes)``.

    Raises
    ------
    BundleError
        The file is missing, damaged, or no exported program.
    ExportError
        The file is not said to be trusted, or the program has other inputs or outputs, or cannot be expressed in ONNX.
    """
    if not trusted:
        msg = (
            f"{path}: PyTorch's reader of exported programs runs whatever code the file holds; give --trust-pickle if you know "
            "where it comes from."
        )
        raise ExportError(msg)
    read_regular(path, _MAX_BYTES, BundleError)
    source = f"exported program {path.name}"
    try:
        program: Any = torch.export.load(path)
        module = program.module()
    except Exception as error:  # whatever its readers raise
        msg = f"{path}: expected a program of torch.export.save, found a damaged file or one of another kind; check it."
        raise BundleError(msg) from error
    names = program.graph_signature.user_inputs
    values: list[Any] = [
        node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    if len(names) != 1 or len(values) != 1 or len(program.graph_signature.user_outputs) != 1:
        msg = (
            f"{source}: expected a program of one input and one output, found {len(names)} and "
            f"{len(program.graph_signature.user_outputs)}; export it with these alone."
        )
        raise ExportError(msg)
    value = values[0]
    if not isinstance(value, Tensor) or value.ndim != 3 or not all(isinstance(size, int) for size in value.shape[1:]):
        found = "×".join(map(str, value.shape)) if isinstance(value, Tensor) else type(value).__name__
        msg = (
            f"{source}: expected an input of shape (batch, n_channels, n_times) with fixed channels and samples, found {found}; "
            "export it so."
        )
        raise ExportError(msg)
    batch: Any = value.shape[0]  # a symbol where it is dynamic
    if isinstance(batch, int):
        msg = (
            f"{source}: expected a program for any number of windows, found one for {batch}; export it with a dynamic "
            'first dimension: dynamic_shapes=({0: torch.export.Dim("batch")},).'
        )
        raise ExportError(msg)
    if value.dtype != torch.float32:
        msg = f"{source}: expected an input of float32, found {str(value.dtype).removeprefix('torch.')}; export it so."
        raise ExportError(msg)
    n_chans, n_times = (int(size) for size in value.shape[1:])
    return trace_decoder(
        _Program(module).eval(),
        n_chans=n_chans,
        n_times=n_times,
        output=output,
        source=source,
        provenance=f"The exported program `{path.name}`.",
    )
