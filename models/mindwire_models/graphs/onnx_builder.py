"""A few lines over ``onnx.helper``: graphs written as expressions, the same bytes every time."""

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
        """A constant tensor; equal ones are stored once."""
        array: NDArray[Any] = np.array(value, dtype=dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def integers(self, *values: int) -> str:
        """A constant vector of int64, as shapes and axes are given."""
        return self.constant(list(values), np.int64)

    def add(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """One node with one output.

        Parameters
        ----------
        operator : str
            ONNX's name of it.
        *inputs : str
            Names of its inputs.
        out : str or None
            Name of its output, where it is one of the graph's.
        **attributes
            Its attributes.

        Returns
        -------
        str
            Name of its output.
        """
        name = out or f"v{len(self._nodes)}"
        node = self._onnx.helper.make_node(
            operator, list(inputs), [name], name=f"{operator}_{len(self._nodes)}", **attributes
        )
        self._nodes.append(node)
        return name

    def inline(self, model: bytes, x: str) -> str:
        """The nodes of another model of one input and one output, applied to ``x``.

        Parameters
        ----------
        model : bytes
            Of the same operator set.
        x : str

        Returns
        -------
        str
        """
        graph = self._onnx.load_model_from_string(model).graph
        return self.embed(model, {graph.input[0].name: x}, graph.output[0].name)

    def embed(self, model: bytes, inputs: Mapping[str, str], output: str) -> str:
        """The nodes of another model that one of its outputs needs.

        Parameters
        ----------
        model : bytes
            Of the same operator set.
        inputs : mapping of str to str
            What stands for each of its inputs.
        output : str
            Which of its outputs.

        Returns
        -------
        str
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
        """The finished model.

        Parameters
        ----------
        inputs, outputs : mapping of str to shape
            All float32; a string is a dynamic dimension.
        metadata : mapping of str to str
            What the graph says of itself.

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
