"""Builder of ONNX graphs, written as expressions; the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mindwire_models.errors import extra
from mindwire_models.graphs.interfaces import Interface

# Operator set 17: ONNX Runtime's AveragePool is slow from 19, and 18 moved the axes of reductions into inputs.
OPSET = 17
IR_VERSION = 8


class GraphBuilder:
    """Collects nodes and constants. ONNX's operators are methods, as in ``g.MatMul(matrix, "x", out="y")``.

    They take names and arrays, and return the name of their output: ``out`` where it is one of the graph's. Arrays become
    constants, equal ones stored once: of int64, as shapes and axes need it, if they hold integers, else of ``dtype``.

    Raises
    ------
    MissingExtraError
        The package onnx is not installed.
    """

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        with extra("torch", "Building a graph needs the package onnx"):
            import onnx
        self._onnx = onnx
        self._dtype = dtype
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def __getattr__(self, operator: str) -> Callable[..., str]:
        return partial(self._add, operator)

    def _add(self, operator: str, *inputs: str | ArrayLike, out: str | None = None, **attributes: Any) -> str:
        names = []
        for value in inputs:
            array = np.asarray(value)
            integers = array.dtype.kind == "i"
            name = (
                value if isinstance(value, str) else self._constant(array.astype(np.int64 if integers else self._dtype))
            )
            names.append(name)
        number = len(self._nodes)
        out = out or f"v{number}"
        node = self._onnx.helper.make_node(operator, names, [out], name=f"{operator}_{number}", **attributes)
        self._nodes.append(node)
        return out

    def _constant(self, array: NDArray[Any]) -> str:
        tensor = self._onnx.numpy_helper.from_array(array, f"c{len(self._constants)}")
        return str(self._constants.setdefault((array.dtype.str, array.shape, array.tobytes()), tensor).name)

    def inline(self, model: bytes, x: str) -> str:
        """Apply another model of one input and one output, of the same operator set, to ``x``."""
        graph = self._onnx.load_model_from_string(model).graph
        names = {"": "", graph.input[0].name: x}
        names |= {tensor.name: self._constant(self._onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
        for node in graph.node:
            number = len(self._nodes)
            names |= {name: f"v{number}_{position}" for position, name in enumerate(node.output)}
            for ends in (node.input, node.output):
                ends[:] = [names[name] for name in ends]
            node.name = f"{node.op_type}_{number}"
            self._nodes.append(node)
        return names[graph.output[0].name]

    def build(self, interface: Interface, metadata: Mapping[str, str] = MappingProxyType({})) -> bytes:
        """Return the finished model, with further entries as metadata."""
        helper = self._onnx.helper
        ends = [
            [helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, dims) for name, dims in shapes.items()]
            for shapes in interface
        ]
        graph = helper.make_graph(self._nodes, "mindwire", *ends, list(self._constants.values()))
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="mindwire", ir_version=IR_VERSION, opset_imports=[opset])
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
