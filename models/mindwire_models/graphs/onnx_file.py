"""Inspection of an ONNX file, to decide whether a runtime may load it.

The default installation has no ``onnx`` package, and ONNX Runtime opens external data while it loads;
so inputs, outputs, operator set and references to other files are read here, from the protobuf wire
format, before any runtime sees the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mindwire_models.errors import BundleError
from mindwire_models.graphs.interfaces import Dims

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 8, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN, _FUNCTION_NODE = 5, 7, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_PARTS = (1, 2)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32
_MAX_NODES = 10_000
_FLOAT = 1


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """Inputs, outputs and metadata of an ONNX file.

    Parameters
    ----------
    inputs, outputs : dict of str to tuple
        Dimensions by name; an int where the file fixes a dimension, else its symbol.
    opset : int
        Version of the standard operator set.
    metadata : dict of str to str
        Further entries by key.
    """

    inputs: dict[str, Dims]
    outputs: dict[str, Dims]
    opset: int
    metadata: dict[str, str]


def read_onnx_facts(data: bytes, where: str = "model.onnx") -> OnnxFacts:
    """Inspect an ONNX file without running anything.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Names the file in error messages.

    Returns
    -------
    OnnxFacts

    Raises
    ------
    BundleError
        The file is truncated or no ONNX model, keeps tensors in another file, or needs operators that
        are not of the standard set.
    """
    try:
        return _facts(memoryview(data), where)
    except (IndexError, RecursionError, UnicodeDecodeError) as error:
        msg = f"{where}: expected an ONNX model, found a damaged or truncated file; export the bundle again."
        raise BundleError(msg) from error


def _facts(data: memoryview, where: str) -> OnnxFacts:
    graphs = _messages(data, _MODEL_GRAPH)
    if len(graphs) != 1:
        msg = f"{where}: expected an ONNX model with one graph, found {len(graphs)}; export the bundle again."
        raise BundleError(msg)
    opset = 0
    for entry in _messages(data, _MODEL_OPSET):
        domain, version = "", 0
        for number, value in _fields(entry):
            if number == 1 and isinstance(value, memoryview):
                domain = bytes(value).decode()
            elif number == 2 and isinstance(value, int):
                version = value
        if domain in {"", "ai.onnx"}:
            opset = version
    graph = graphs[0]
    _refuse_foreign(graph, where, 0)
    for function in _messages(data, _MODEL_FUNCTIONS):
        for node in _messages(function, _FUNCTION_NODE):
            _refuse_foreign_node(node, where, 0)
    initialised = {_name(tensor, 8) for tensor in _messages(graph, _GRAPH_INITIALIZER)}
    inputs = dict(_value(info, where) for info in _messages(graph, _GRAPH_INPUT))
    outputs = dict(_value(info, where) for info in _messages(graph, _GRAPH_OUTPUT))
    inputs = {name: dims for name, dims in inputs.items() if name not in initialised}
    metadata = {_name(entry, 1): _name(entry, 2) for entry in _messages(data, _MODEL_METADATA)}
    return OnnxFacts(inputs, outputs, opset, metadata)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise IndexError
        if at + size > len(data):
            raise IndexError
        yield number, data[at : at + size]
        at += size


def _messages(data: memoryview, *numbers: int) -> list[memoryview]:
    return [value for number, value in _fields(data) if number in numbers and isinstance(value, memoryview)]


def _name(message: memoryview, number: int) -> str:
    names = _messages(message, number)
    return bytes(names[-1]).decode() if names else ""


def _refuse_foreign(graph: memoryview, where: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise RecursionError
    for tensor in _messages(graph, _GRAPH_INITIALIZER):
        _refuse_external(tensor, where)
    for sparse in _messages(graph, _GRAPH_SPARSE):
        for tensor in _messages(sparse, *_SPARSE_PARTS):
            _refuse_external(tensor, where)
    nodes = _messages(graph, _GRAPH_NODE)
    if len(nodes) > _MAX_NODES:
        msg = f"{where}: expected at most {_MAX_NODES} operators in a graph, found {len(nodes)}, which is refused."
        raise BundleError(msg)
    for node in nodes:
        _refuse_foreign_node(node, where, depth)


def _refuse_foreign_node(node: memoryview, where: str, depth: int) -> None:
    domain = _name(node, _NODE_DOMAIN)
    if domain not in {"", "ai.onnx"}:
        msg = f"{where}: expected standard ONNX operators, found one of the domain {domain!r}, which is refused."
        raise BundleError(msg)
    for attribute in _messages(node, _NODE_ATTRIBUTE):
        for tensor in _messages(attribute, *_ATTRIBUTE_TENSORS):
            _refuse_external(tensor, where)
        for sparse in _messages(attribute, *_ATTRIBUTE_SPARSE):
            for tensor in _messages(sparse, *_SPARSE_PARTS):
                _refuse_external(tensor, where)
        for graph in _messages(attribute, *_ATTRIBUTE_GRAPHS):
            _refuse_foreign(graph, where, depth + 1)


def _refuse_external(tensor: memoryview, where: str) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            msg = (
                f"{where}: a tensor is kept in another file, which is refused; "
                "export the model again with all weights inside the ONNX file."
            )
            raise BundleError(msg)


def _value(info: memoryview, where: str) -> tuple[str, Dims]:
    name = _name(info, 1)
    tensors = [tensor for kind in _messages(info, 2) for tensor in _messages(kind, 1)]
    if len(tensors) != 1 or (_FLOAT not in [v for number, v in _fields(tensors[0]) if number == 1]):
        msg = f"{where}: expected {name!r} to be a float32 tensor, found something else; export the bundle again."
        raise BundleError(msg)
    dims: list[int | str] = []
    for shape in _messages(tensors[0], 2):
        for dim in _messages(shape, 1):
            fixed = [value for number, value in _fields(dim) if number == 1 and isinstance(value, int)]
            dims.append(fixed[-1] if fixed else _name(dim, 2) or "?")
    return name, tuple(dims)
