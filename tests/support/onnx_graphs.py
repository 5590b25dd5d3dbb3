"""Small ONNX graphs as other programs write them, good ones and bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_CHANS, N_TIMES, N_CLASSES = 3, 50, 2
_KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}


def weights(seed: int = 0, n_chans: int = N_CHANS, n_classes: int = N_CLASSES) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_chans, n_classes))


def logits_of(x: np.ndarray, seed: int = 0, n_classes: int = N_CLASSES) -> np.ndarray:
    """Logits that :func:`log_power` gives: of the mean square of each channel."""
    return np.log1p((x.astype(np.float64) ** 2).mean(axis=2)) @ weights(seed, x.shape[1], n_classes)


def log_power(
    *,
    n_chans: int = N_CHANS,
    n_times: int | str = N_TIMES,
    n_classes: int = N_CLASSES,
    seed: int = 0,
    opset: int = 17,
    dtype: str = "float32",
    softmax: bool = False,
    batch: int | str = "N",
    names: tuple[str, str] = ("eeg", "scores"),
    extra: Any = (),
    **replaced: Any,
) -> bytes:
    """A linear classifier of the channels' power; ``extra`` nodes go from ``inner`` to ``out``."""
    kind = _KINDS[dtype]
    one = numpy_helper.from_array(np.array(1.0, dtype), "one")
    matrix = numpy_helper.from_array(weights(seed, n_chans, n_classes).astype(dtype), "weights")
    initializers = [one, matrix, *replaced.pop("initializers", ())]
    mean: dict[str, Any] = {"axes": [2], "keepdims": 0}
    mean_inputs = ["squared"]
    if opset >= 18:
        initializers.append(numpy_helper.from_array(np.array([2]), "axes"))
        mean, mean_inputs = {"keepdims": 0}, ["squared", "axes"]
    nodes = [
        helper.make_node("Mul", [names[0], names[0]], ["squared"]),
        helper.make_node("ReduceMean", mean_inputs, ["power"], **mean),
        helper.make_node("Add", ["power", "one"], ["more"]),
        helper.make_node("Log", ["more"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["inner"]),
        *(extra or [helper.make_node("Softmax", ["inner"], ["out"], axis=1)] if softmax else extra),
    ]
    last = nodes[-1].output[0]
    nodes.append(helper.make_node("Identity", [last], [names[1]]))
    inputs = [helper.make_tensor_value_info(names[0], kind, [batch, n_chans, n_times])]
    outputs = [helper.make_tensor_value_info(names[1], kind, [batch, n_classes])]
    return model(
        nodes, replaced.pop("inputs", inputs), replaced.pop("outputs", outputs), initializers, opset, **replaced
    )


def model(nodes, inputs, outputs, initializers=(), opset: int = 17, domains=(), ir_version: int = 8) -> bytes:
    """A model of these parts, not checked."""
    graph = helper.make_graph(nodes, "elsewhere", inputs, outputs, list(initializers), doc_string="/home/someone")
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, ir_version=ir_version, opset_imports=opsets, producer_name="elsewhere")
    return made.SerializeToString()


def value(name: str, *dims: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(dims))
