"""PyTorch's own ONNX export of the network, layer by layer: the reference of the folded graph."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mindwire_models.errors import ExportError, extra
from mindwire_models.graphs.onnx_builder import OPSET
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.text import first_line


def plain_graph(network: AttentionBaseNet) -> bytes:
    """Export a network, on the CPU and in evaluation mode, from ``x`` (batch, n_chans, n_times) to ``logits`` (batch, n_outputs).

    Raises
    ------
    ExportError
        PyTorch cannot express the network in ONNX.
    MissingExtraError
        The package onnx is not installed.
    """
    return trace(network, torch.zeros(2, network.n_chans, network.n_times), "x", "logits")


def trace(module: nn.Module, example: Tensor, input_name: str, output_name: str, *, fold: bool = True) -> bytes:
    """Export a module of one input and one output with a dynamic first dimension.

    ``fold`` lets the exporter compute what is constant, which it does wrongly for some modules that are not ours.

    Raises
    ------
    ExportError
        PyTorch cannot express the module in ONNX.
    MissingExtraError
        The package onnx is not installed.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings(), _unprinted(), extra("torch", "Export needs the package onnx"):
        # The tracing exporter announces its age and each comparison of shapes; its graph is checked against the
        # network. It is taken because it needs 0.1 s where the other needs 4 s, and the same bytes come out each time.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (example,),
                stream,  # type: ignore[arg-type]  # the tracing exporter takes a stream
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=fold,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_axes={input_name: {0: "batch"}, output_name: {0: "batch"}},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            msg = f"PyTorch cannot express {type(module).__name__} in ONNX ({first_line(error)})."
            raise ExportError(msg) from error
    return stream.getvalue()


@contextmanager
def _unprinted() -> Iterator[None]:
    """Keep the exporter from printing a whole graph where it fails."""
    log = torch._C._jit_onnx_log  # noqa: SLF001  # it has no switch that works
    torch._C._jit_onnx_log = lambda *_: None  # noqa: SLF001
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log  # noqa: SLF001
