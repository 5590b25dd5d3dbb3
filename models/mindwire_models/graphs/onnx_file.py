"""Inspection of an ONNX file, to decide whether a runtime may load it.

The default installation has no ``onnx`` package, and ONNX Runtime opens external data while it loads;
so inputs, outputs, operator set and references to other files are read here, from the protobuf wire
format, before any runtime sees the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mindwire_models.errors import BundleError
from mindwire_models.graphs.interfaces import Dims, Shapes

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_NODE_DOMAIN, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 7, 8, 13, 14
# What can hold an operator or a tensor: messages within messages, by field number.
_WITHIN: dict[str, dict[int, str]] = {
    "model": {_MODEL_GRAPH: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", _GRAPH_INITIALIZER: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
STANDARD_DOMAINS = {"", "ai.onnx"}
_MAX_DEPTH = 100
_MAX_NODES = 10_000
_FLOAT = 1


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """Inputs and outputs of an ONNX file, its version of the standard operator set, and its metadata."""

    inputs: Shapes
    outputs: Shapes
    opset: int
    metadata: dict[str, str]


def refuse_foreign(data: bytes, where: str) -> None:
    """Refuse an ONNX file that keeps tensors in another file, or needs operators that are not of the standard set.

    Raises
    ------
    BundleError
        It does so, or is damaged.
    """
    try:
        _refuse_foreign("model", memoryview(data), where)
    except (LookupError, RecursionError, UnicodeDecodeError) as error:
        msg = f"{where}: expected an ONNX model, found a damaged or truncated file; check the file."
        raise BundleError(msg) from error


def read_onnx_facts(data: bytes, where: str = "model.onnx") -> OnnxFacts:
    """Inspect a whole ONNX file without running anything; ``where`` names it in messages.

    Raises
    ------
    BundleError
        The file is truncated or no ONNX model, keeps tensors in another file, or needs operators that
        are not of the standard set.
    """
    try:
        return _facts(memoryview(data), where)
    except (LookupError, RecursionError, UnicodeDecodeError) as error:
        msg = f"{where}: expected an ONNX model, found a damaged or truncated file; export the bundle again."
        raise BundleError(msg) from error


def _facts(data: memoryview, where: str) -> OnnxFacts:
    graphs = _messages(data, _MODEL_GRAPH)
    if len(graphs) != 1:
        msg = f"{where}: expected an ONNX model with one graph, found {len(graphs)}; export the bundle again."
        raise BundleError(msg)
    _refuse_foreign("model", data, where)
    opsets = {_text(entry, 1): _integer(entry, 2) for entry in _messages(data, _MODEL_OPSET)}
    initialised = {_text(tensor, _TENSOR_NAME) for tensor in _messages(graphs[0], _GRAPH_INITIALIZER)}
    inputs = dict(_value(info, where) for info in _messages(graphs[0], _GRAPH_INPUT))
    return OnnxFacts(
        inputs={name: dims for name, dims in inputs.items() if name not in initialised},
        outputs=dict(_value(info, where) for info in _messages(graphs[0], _GRAPH_OUTPUT)),
        opset=max((version or 0 for domain, version in opsets.items() if domain in STANDARD_DOMAINS), default=0),
        metadata={_text(entry, 1): _text(entry, 2) for entry in _messages(data, _MODEL_METADATA)},
    )


def _refuse_foreign(kind: str, message: memoryview, where: str, depth: int = 0) -> None:
    """Refuse a message that holds a tensor of another file, an operator that is not standard, or too much."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if kind == "node" and (domain := _text(message, _NODE_DOMAIN)) not in STANDARD_DOMAINS:
        msg = f"{where}: expected standard ONNX operators, found one of the domain {domain!r}, which is refused."
        raise BundleError(msg)
    n_nodes = 0
    for number, value in _fields(message):
        if kind == "tensor" and (number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0)):
            msg = (
                f"{where}: a tensor is kept in another file, which is refused; "
                "export the model again with all weights inside the ONNX file."
            )
            raise BundleError(msg)
        inner = _WITHIN[kind].get(number)
        n_nodes += inner == "node"
        if n_nodes > _MAX_NODES:
            msg = f"{where}: expected at most {_MAX_NODES} operators in a graph, found more, which is refused."
            raise BundleError(msg)
        if inner is not None and isinstance(value, memoryview):
            _refuse_foreign(inner, value, where, depth + 1)


def _value(info: memoryview, where: str) -> tuple[str, Dims]:
    """Name and dimensions of an input or output: an int where the file fixes a dimension, else its symbol."""
    name = _text(info, 1)
    tensors = [tensor for kind in _messages(info, 2) for tensor in _messages(kind, 1)]
    if len(tensors) != 1 or _integer(tensors[0], 1) != _FLOAT:
        msg = f"{where}: expected {name!r} to be a float32 tensor, found something else; export the bundle again."
        raise BundleError(msg)
    dims = [dim for shape in _messages(tensors[0], 2) for dim in _messages(shape, 1)]
    sizes = [_integer(dim, 1) for dim in dims]
    return name, tuple(_text(dim, 2) or "?" if size is None else size for dim, size in zip(dims, sizes, strict=True))


def _messages(data: memoryview, number: int) -> list[memoryview]:
    return [value for found, value in _fields(data) if found == number and isinstance(value, memoryview)]


def _text(message: memoryview, number: int) -> str:
    return b"".join(_messages(message, number)[-1:]).decode()


def _integer(message: memoryview, number: int) -> int | None:
    values = [value for found, value in _fields(message) if found == number and isinstance(value, int)]
    return values[-1] if values else None


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[wire]
        if at + size > len(data):
            raise IndexError
        yield number, data[at : at + size]
        at += size


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
