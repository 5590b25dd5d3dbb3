"""Graphs made elsewhere: verified without running them, and rewritten as a bundle's plain graph.

What is rewritten: the names and the types of both ends, the first dimension, and probabilities, which become logits.
Everything that does not compute is left out, so that the same graph gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mindwire_models.bundle_checks import MAX_EXTERNAL_OPSET
from mindwire_models.errors import BundleError, ExportError, extra
from mindwire_models.graphs.onnx_file import STANDARD_DOMAINS, refuse_foreign

PROBABILITY_FLOOR: Final = 1e-7
# The operators used here have had their present form since 9.
MIN_OPSET = 9
_IR_VERSION = 8
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_X, _LOGITS = "x", "logits"
# Values that rewriting adds.
_RESERVED = (
    *(_X, _LOGITS, "output", "floor", "clipped"),
    *("window", "one_window", "one_x", "one_logits", "row", "window_logits"),
)
_ASKED = {
    "input": ("(batch, n_channels, n_times)", 3),
    "output": ("(batch, n_classes)", 2),
}


@dataclass(frozen=True, slots=True)
class ForeignGraph:
    """Verified graph of one input ``(batch, n_channels, n_times)`` and one output ``(batch, n_classes)``.

    Parameters
    ----------
    model : onnx.ModelProto
        Not to be changed.
    n_chans, n_times, n_outputs : int or None
        None where the graph leaves a size open.
    """

    model: Any
    n_chans: int | None
    n_times: int | None
    n_outputs: int | None

    def rewrite(
        self, n_chans: int, n_times: int, n_outputs: int, *, probabilities: bool = False, one_by_one: bool = False
    ) -> bytes:
        """Return the graph from ``x`` (batch, n_chans, n_times) to ``logits`` (batch, n_outputs), both float32.

        Of ``probabilities`` the logarithm is taken, of at least ``PROBABILITY_FLOOR``. ``one_by_one`` runs a graph that was
        made for a single window once for each window of the batch.
        """
        from onnx import TensorProto, helper, numpy_helper

        model = type(self.model)()
        model.CopyFrom(self.model)
        graph = model.graph
        (source,), (result,) = graph.input, graph.output
        kinds = [value.type.tensor_type.elem_type for value in (source, result)]
        names = {source.name: _X, result.name: _LOGITS}
        before, after = [], []
        if kinds[0] != TensorProto.FLOAT:
            names[source.name] = "own_x"
            before = [helper.make_node("Cast", [_X], ["own_x"], to=kinds[0])]
        if kinds[1] != TensorProto.FLOAT:
            names[result.name] = "own_output"
            to = "output" if probabilities else _LOGITS
            after = [helper.make_node("Cast", ["own_output"], [to], to=TensorProto.FLOAT)]
        elif probabilities:
            names[result.name] = "output"
        _rename(graph, _renaming(names, graph))
        if probabilities:
            after += [
                helper.make_node("Max", ["output", "floor"], ["clipped"]),
                helper.make_node("Log", ["clipped"], [_LOGITS]),
            ]
            graph.initializer.append(numpy_helper.from_array(np.array(PROBABILITY_FLOOR, dtype=np.float32), "floor"))
        nodes = [*before, *graph.node, *after]
        if one_by_one:
            nodes = [_for_each_window(nodes, graph, (n_chans, n_times), n_outputs)]
            graph.ClearField("initializer")
            graph.ClearField("sparse_initializer")
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(nodes)
        graph.input.append(helper.make_tensor_value_info(_X, TensorProto.FLOAT, ["batch", n_chans, n_times]))
        graph.output.append(helper.make_tensor_value_info(_LOGITS, TensorProto.FLOAT, ["batch", n_outputs]))
        return bytes(model.SerializeToString(deterministic=True))


def _for_each_window(nodes: list[Any], graph: Any, shape: tuple[int, int], n_outputs: int) -> Any:
    """Return a node that runs nodes from ``x`` to ``logits``, with a graph's constants, on each window of a batch."""
    from onnx import TensorProto, helper, numpy_helper

    body = helper.make_graph(
        [
            helper.make_node("Reshape", ["window", "one_window"], ["one_x"]),
            *nodes,
            helper.make_node("Reshape", ["one_logits", "row"], ["window_logits"]),
        ],
        "window",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("window_logits", TensorProto.FLOAT, [n_outputs])],
        [
            *graph.initializer,
            numpy_helper.from_array(np.array([1, *shape]), "one_window"),
            numpy_helper.from_array(np.array([n_outputs]), "row"),
        ],
        sparse_initializer=graph.sparse_initializer,
    )
    ends = {_X: "one_x", _LOGITS: "one_logits"}
    _rename(body, lambda name: ends.get(name, name))
    return helper.make_node("Scan", [_X], [_LOGITS], body=body, num_scan_inputs=1)


def read_foreign(data: bytes, where: str) -> ForeignGraph:
    """Read and verify a graph; nothing of it is run, and no other file is read.

    Raises
    ------
    BundleError
        The data is no ONNX model, is damaged, keeps tensors in another file, or needs operators outside the standard set.
    ExportError
        The graph has other inputs or outputs than one of each, of another type or rank, draws random numbers, or is of an
        operator set that ONNX Runtime does not take.
    MissingExtraError
        The package onnx is not installed.
    """
    with extra("torch", "Export needs the package onnx"):
        from google.protobuf.message import DecodeError
        from onnx import inliner, load_model_from_string
    try:
        model = load_model_from_string(data)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except (DecodeError, ValueError, RuntimeError, RecursionError) as error:
        msg = f"{where}: expected an ONNX model, found a damaged file or one of another kind; check the file."
        raise BundleError(msg) from error
    if not model.graph.node:
        msg = f"{where}: expected an ONNX model, found no operators in it; check the file."
        raise BundleError(msg)
    _strip(model)
    refuse_foreign(bytes(model.SerializeToString()), where)
    _keep_standard_opset(model, where)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    _refuse_random(graph, where)
    _write_padding_out(graph)
    (source,) = _only("input", graph.input, where)
    (result,) = _only("output", graph.output, where)
    _, n_chans, n_times = _dims("input", source, where)
    _, n_outputs = _dims("output", result, where)
    return ForeignGraph(model, n_chans, n_times, n_outputs)


def _strip(model: Any) -> None:
    """Remove what does not compute: texts, metadata, and the types of intermediate values."""
    model.ClearField("metadata_props")
    model.ClearField("training_info")
    model.producer_name, model.producer_version, model.domain, model.doc_string = "mindwire", "", "", ""
    model.ClearField("model_version")
    model.ir_version = max(model.ir_version, _IR_VERSION)
    for graph in _graphs(model.graph):
        for name in ("doc_string", "metadata_props", "value_info", "quantization_annotation"):
            graph.ClearField(name)
        graph.name = "graph"
        for node in graph.node:
            for name in ("doc_string", "metadata_props", "name"):
                node.ClearField(name)
        for tensor in graph.initializer:
            tensor.ClearField("doc_string")


def _keep_standard_opset(model: Any, where: str) -> None:
    found = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    version = max(found, default=0)
    if not MIN_OPSET <= version <= MAX_EXTERNAL_OPSET:
        msg = (
            f"{where}: expected ONNX operator set {MIN_OPSET} to {MAX_EXTERNAL_OPSET}, found {version}; "
            "export the model with another (opset_version=17)."
        )
        raise ExportError(msg)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=version)


def _only(what: str, values: Any, where: str) -> Any:
    if len(values) != 1:
        names = ", ".join(repr(value.name) for value in values[:5]) or "none"
        msg = (
            f"{where}: expected one {what} {_ASKED[what][0]}, found {len(values)} ({names}); "
            "export the model with one input and one output."
        )
        raise ExportError(msg)
    return values


def _dims(what: str, value: Any, where: str) -> list[int | None]:
    """Return the sizes that a graph's end declares, None where it leaves one open."""
    from onnx import TensorProto

    shape, rank = _ASKED[what]
    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    if kind != "tensor_type" or tensor.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
        found = TensorProto.DataType.Name(tensor.elem_type).lower() if kind == "tensor_type" else "no tensor"
        msg = f"{where}: expected the {what} {value.name!r} to be float32, float64 or float16, found {found}; export it so."
        raise ExportError(msg)
    if not tensor.HasField("shape"):
        return [None] * rank
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if len(dims) != rank or any(dim is not None and dim < 1 for dim in dims):
        found = "×".join("?" if dim is None else str(dim) for dim in dims) or "a single number"
        msg = f"{where}: expected the {what} {value.name!r} of shape {shape}, found {found}; export it with this shape."
        raise ExportError(msg)
    return dims


def _refuse_random(graph: Any, where: str) -> None:
    """Refuse operators whose results change from run to run, or depend on the other windows of a batch."""
    for part in _graphs(graph):
        for node in part.node:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            training = node.op_type == "BatchNormalization" and (
                "training_mode" in attributes and attributes["training_mode"].i != 0
            )
            training |= node.op_type == "Dropout" and len(node.input) > 2 and not _is_false(graph, node.input[2])
            if training or node.op_type in _RANDOM:
                fault = f"{node.op_type} in training mode" if training else f"the random operator {node.op_type}"
                msg = f"{where}: expected a graph that always gives the same, found {fault}; export it in evaluation mode."
                raise ExportError(msg)


def _write_padding_out(graph: Any) -> None:
    """Replace the automatic padding of convolutions without strides by numbers: ONNX Runtime has it only without dilations."""
    from onnx import helper

    for part in _graphs(graph):
        shapes = {tensor.name: list(tensor.dims) for tensor in part.initializer}
        for node in part.node:
            attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            kind = attributes.get("auto_pad", b"NOTSET")
            sizes = (
                attributes.get("kernel_shape") or shapes.get(node.input[1], [])[2:] if node.op_type == "Conv" else []
            )
            if kind not in (b"SAME_UPPER", b"SAME_LOWER") or not sizes or set(attributes.get("strides", [1])) != {1}:
                continue
            totals = [d * (k - 1) for d, k in zip(attributes.get("dilations", [1] * len(sizes)), sizes, strict=True)]
            less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
            kept = [attribute for attribute in node.attribute if attribute.name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend(kept)
            pads = less + more if kind == b"SAME_UPPER" else more + less
            node.attribute.append(helper.make_attribute("pads", pads))


def _is_false(graph: Any, name: str) -> bool:
    """True if a value is missing, or a constant that is false."""
    from onnx import numpy_helper

    if not name:
        return True
    for part in _graphs(graph):
        tensors = [tensor for tensor in part.initializer if tensor.name == name]
        tensors += [
            attribute.t
            for node in part.node
            if node.op_type == "Constant" and name in node.output
            for attribute in node.attribute
            if attribute.name == "value"
        ]
        for tensor in tensors:
            return not numpy_helper.to_array(tensor).any()
    return False


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs within its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner)


def _renaming(names: dict[str, str], graph: Any) -> Callable[[str], str]:
    """Return a renaming of values that gives the ends their new names, and moves others away from these."""
    reserved = {*names.values(), *_RESERVED}
    taken = {name for part in _graphs(graph) for node in part.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for part in _graphs(graph) for tensor in part.initializer}
    for name in sorted((reserved & taken) - names.keys()):
        moved = f"{name}_"
        while moved in taken | reserved:
            moved += "_"
        names[name] = moved
        taken.add(moved)
    return lambda name: names.get(name, name)


def _rename(graph: Any, new: Callable[[str], str]) -> None:
    for part in list(_graphs(graph)):
        for tensor in part.initializer:
            tensor.name = new(tensor.name)
        for tensor in part.sparse_initializer:
            tensor.values.name = new(tensor.values.name)
        for value in (*part.input, *part.output):
            value.name = new(value.name)
        for node in part.node:
            for ends in (node.input, node.output):
                ends[:] = [new(name) for name in ends]
