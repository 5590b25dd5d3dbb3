"""Tables of the network's layers before and after folding, and the gains of its attention."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.graphs.folding import folded_graph
from mindwire_models.network.attentionbasenet import AttentionBaseNet

_BATCH = 64
_ATTENTION = "channel_attention_block.attention_block"


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table: a module, or a node with its ONNX operator.

    ``shape`` is that of the output for one window, ``multiply_adds`` those of convolutions and matrix products; the others are
    negligible.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def network_layers(network: AttentionBaseNet) -> list[Layer]:
    """Return the modules of a network on the CPU, in evaluation mode, in the order in which they run."""
    rows: list[Layer] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        products = 0
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            products = output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            products = output[0].numel() * module.in_features
        rows.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), parameters, products))

    with torch.inference_mode(), ExitStack() as hooks:
        for name, module in network.named_modules():
            if name.startswith(f"{_ATTENTION}."):
                shown = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
            else:
                shown = name == _ATTENTION or (bool(name) and not any(module.children()))
            if shown:
                hook = module.register_forward_hook(lambda m, _, output, name=name: note(name, m, output))
                hooks.enter_context(hook)
        network(torch.zeros(1, network.n_chans, network.n_times))
    return rows


def folded_layers(network: AttentionBaseNet) -> list[Layer]:
    """Return the nodes of the network's folded graph in the order in which they run."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(folded_graph(network)), strict_mode=True)
    graph = model.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = constants | {
        info.name: tuple(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim)  # dynamic: one window
        for info in (*graph.input, *graph.value_info, *graph.output)
    }
    return [
        Layer(
            node.name,
            node.op_type,
            shapes[node.output[0]][1:],
            sum(math.prod(constants[name]) for name in node.input if name in constants),
            _products(node, shapes),
        )
        for node in graph.node
    ]


def _products(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    size = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return size * math.prod(shapes[node.input[1]][1:])
    if node.op_type in {"MatMul", "Gemm"}:
        return size * shapes[node.input[0]][-1]
    return 0


def layer_table(title: str, layers: list[Layer]) -> str:
    """Return the layers as a Markdown table with a row of totals."""
    lines = [f"## {title}", "", "| layer | kind | output | weights | multiply-adds |", "|---|---|---|---:|---:|"]
    lines += [
        f"| {row.name} | {row.kind} | {'×'.join(map(str, row.shape)) or '1'} | {row.parameters:,} | {row.multiply_adds:,} |"
        for row in layers
    ]
    products = sum(row.multiply_adds for row in layers)
    held = sum(row.parameters for row in layers if not row.name.startswith(f"{_ATTENTION}."))
    return "\n".join([*lines, f"| total | | | {held:,} | {products:,} |", ""])


def attention_gains(network: AttentionBaseNet, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each channel's mean absolute value after the attention divided by that before, ``(n_windows, ch_dim)``.

    0 for a channel that is 0 before. The windows ``(n_windows, n_chans, n_times)`` are conditioned and aligned. A network
    without attention is refused with an ArgumentError.
    """
    block = network.channel_attention_block.attention_block
    if block is None:
        msg = (
            "Expected a network with attention, found attention_mode none; train one with --network attention_mode=se."
        )
        raise ArgumentError(msg)
    gains: list[Tensor] = []

    def note(_module: nn.Module, given: tuple[Any, ...], after: Tensor) -> None:
        before = given[0].abs().mean(dim=(2, 3))
        size = after.abs().mean(dim=(2, 3))
        gains.append(torch.where(before > 0, size / before, torch.zeros_like(size)))

    with block.register_forward_hook(note), torch.inference_mode():
        for part in torch.split(torch.from_numpy(windows), _BATCH):
            network(part)
    return np.asarray(torch.cat(gains).double().numpy())
