"""Tables of the network's layers before and after folding: shapes, parameters, multiply-adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindwire_models.graphs.folding import folded_graph

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet


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
    import torch
    from torch import nn

    rows: list[Layer] = []

    def note(name: str, module: nn.Module, output: torch.Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        products = 0
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            products = output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            products = output[0].numel() * module.in_features
        rows.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), parameters, products))

    attention = "channel_attention_block.attention_block"
    hooks = []
    for name, module in network.named_modules():
        if name.startswith(f"{attention}."):
            shown = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
        else:
            shown = name == attention or (bool(name) and not any(module.children()))
        if shown:
            hooks.append(module.register_forward_hook(lambda m, _, output, name=name: note(name, m, output)))
    try:
        with torch.inference_mode():
            network(torch.zeros(1, network.n_chans, network.n_times))
    finally:
        for hook in hooks:
            hook.remove()
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
    rows = []
    for node in graph.node:
        shape = shapes[node.output[0]]
        held = sum(math.prod(constants[name]) for name in node.input if name in constants)
        rows.append(Layer(node.name, node.op_type, shape[1:], held, _products(node, shapes)))
    return rows


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
    held = sum(row.parameters for row in layers if ".attention_block." not in row.name)
    return "\n".join([*lines, f"| total | | | {held:,} | {products:,} |", ""])
