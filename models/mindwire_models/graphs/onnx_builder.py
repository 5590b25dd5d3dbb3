"""Builder of ONNX graphs, written as expressions; the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mindwire_models.errors import MissingExtraError

# Operator set 17: ONNX Runtime's AveragePool is slow from 19, and 18 moved the axes of reductions into inputs.
OPSET = 17
IR_VERSION = 8

Shape = Sequence[int | str]


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of its result.

    Raises
    ------
    MissingExtraError
        The package onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ModuleNotFoundError as error:
            msg = (
                "Building a graph needs the package onnx; install it with: pip install '.[torch]' in Mindwire's folder."
            )
            raise MissingExtraError(msg) from error
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Add a constant tensor; equal ones are stored once."""
        array: NDArray[Any] = np.array(value, dtype=dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def integers(self, *values: int) -> str:
        """Add a constant vector of int64, as shapes and axes need it."""
        return self.constant(list(values), np.int64)

    def add(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output's name, which is ``out`` where it is one of the graph's."""
        name = out or f"v{len(self._nodes)}"
        node = self._onnx.helper.make_node(
            operator, list(inputs), [name], name=f"{operator}_{len(self._nodes)}", **attributes
        )
        self._nodes.append(node)
        return name

    def inline(self, model: bytes, x: str) -> str:
        """Apply another model of one input and one output, of the same operator set, to ``x``."""
        graph = self._onnx.load_model_from_string(model).graph
        return self.embed(model, {graph.input[0].name: x}, graph.output[0].name)

    def embed(self, model: bytes, inputs: Mapping[str, str], output: str) -> str:
        """Add the nodes of another model, of the same operator set, that one of its outputs needs; return its name here.

        ``inputs`` maps the model's inputs to names of this graph.
        """
        graph = self._onnx.load_model_from_string(model).graph
        needed, nodes = {output}, []
        for source in reversed(graph.node):
            if needed.intersection(source.output):
                needed.update(source.input)
                nodes.append(source)
        names = {**inputs, "": ""}
        for tensor in graph.initializer:
            if tensor.name in needed:
                array = self._onnx.numpy_helper.to_array(tensor)
                names[tensor.name] = self.constant(array, array.dtype)
        for index, source in enumerate(reversed(nodes)):
            node = self._onnx.NodeProto()
            node.CopyFrom(source)
            del node.input[:], node.output[:]
            node.input.extend(names[name] for name in source.input)
            for position, name in enumerate(source.output):
                names[name] = f"v{len(self._nodes)}_{position}"
                node.output.append(names[name])
            node.name = f"{source.op_type}_{len(self._nodes)}_{index}"
            self._nodes.append(node)
        return names[output]

    def build(
        self,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """Return the finished model.

        Parameters
        ----------
        inputs, outputs : mapping of str to shape
            All float32; a string is a dynamic dimension.
        metadata : mapping of str to str
            Further entries.

        Returns
        -------
        bytes
        """
        helper = self._onnx.helper
        infos = [
            [
                helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, list(shape))
                for name, shape in named.items()
            ]
            for named in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, "mindwire", *infos, list(self._constants.values()))
        model = helper.make_model(
            graph, producer_name="mindwire", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
