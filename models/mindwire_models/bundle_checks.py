"""Checks that the parts of a bundle agree: configuration, weights, contract and graphs."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, deserialize

from mindwire_models.contract import Contract
from mindwire_models.errors import BundleError
from mindwire_models.graphs.interfaces import Dims, Interface, folded_interface, stem_interface, step_interface
from mindwire_models.graphs.onnx_file import OnnxFacts, read_onnx_facts
from mindwire_models.graphs.streaming_plan import FORMAT, FORMAT_KEY, StemGeometry

MAX_OPSET = 18
CONFIG = "config.json"
STREAMING, STEM, RECORDING = "streaming.onnx", "stem.onnx", "recording.onnx"

GraphKind = Literal["plain", "folded"]
DecoderKind = Literal["attentionbasenet", "ensemble", "tangent_space"]
KIND_NAMES: dict[DecoderKind, str] = {
    "attentionbasenet": "an AttentionBaseNet",
    "ensemble": "an ensemble",
    "tangent_space": "a tangent-space classifier",
}
# The weights whose sizes are the numbers of channels and of classes: name and axis of each.
_SIZED_BY: dict[DecoderKind, tuple[tuple[str, int], tuple[str, int]]] = {
    "attentionbasenet": (("input_block.spatial_conv.weight", 2), ("final_layer.1.weight", 0)),
    "ensemble": (("members.0.input_block.spatial_conv.weight", 2), ("members.0.final_layer.1.weight", 0)),
    "tangent_space": (("whitening", 0), ("intercept", 0)),
}


def decoder_of(config: Mapping[str, Any], folder: Path) -> DecoderKind:
    """Return the kind of decoder that ``config.json`` names; an AttentionBaseNet where it names none.

    Raises
    ------
    BundleError
        It names an unknown one.
    """
    kind = config.get("decoder", "attentionbasenet")
    if not isinstance(kind, str) or kind not in _SIZED_BY:
        msg = (
            f"{folder / CONFIG}: expected one of the decoders {', '.join(_SIZED_BY)}, found {reprlib.repr(kind)}; "
            "update Mindwire."
        )
        raise BundleError(msg)
    return kind


def _disagree(where: Path, what: str, expected: object, found: object) -> BundleError:
    msg = (
        f"{where}: the contract demands {expected} {what}, found {reprlib.repr(found)}; "
        "network and contract must agree."
    )
    return BundleError(msg)


def check_config(config: Mapping[str, Any], contract: Contract, where: Path) -> None:
    """Refuse a configuration that contradicts the contract.

    Raises
    ------
    BundleError
    """
    demands = {
        "n_chans": ("channels", contract.n_channels),
        "n_times": ("samples per window", contract.window_samples),
        "n_outputs": ("classes", len(contract.classes)),
    }
    for key, (what, expected) in demands.items():
        if config.get(key) != expected:
            raise _disagree(where, what, expected, config.get(key))
    if config.get("sfreq") not in (None, contract.sfreq):
        raise _disagree(where, "Hz", f"{contract.sfreq:g}", config["sfreq"])


def check_weights(data: bytes, kind: DecoderKind, contract: Contract, where: Path) -> None:
    """Refuse weights that are damaged, of another decoder, or that contradict the contract.

    Raises
    ------
    BundleError
    """
    try:
        shapes = {name: tensor["shape"] for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        msg = f"{where}: expected weights in the safetensors format, found a damaged file; export the bundle again."
        raise BundleError(msg) from error
    demands = (("channels", contract.n_channels), ("classes", len(contract.classes)))
    for (name, axis), (what, expected) in zip(_SIZED_BY[kind], demands, strict=True):
        shape = shapes.get(name)
        if shape is None or len(shape) <= axis:
            msg = f"{where}: expected the weights of {KIND_NAMES[kind]}, found others; export the bundle again."
            raise BundleError(msg)
        if shape[axis] != expected:
            raise _disagree(where, what, expected, shape[axis])


def check_model_graph(data: bytes, kind: GraphKind, contract: Contract, where: Path) -> None:
    """Refuse a ``model.onnx`` that is damaged, foreign, or that contradicts the contract.

    Raises
    ------
    BundleError
    """
    inputs, outputs = folded_interface(contract.n_channels, contract.window_samples, len(contract.classes))
    if kind == "plain":
        inputs, outputs = {"x": inputs["x"]}, {"logits": outputs["logits"]}
    _check_interface(read_onnx_facts(data, str(where)), (inputs, outputs), where)


def check_streaming_graphs(stem: bytes, step: bytes, contract: Contract, folder: Path) -> StemGeometry | None:
    """Refuse streaming graphs that are damaged, foreign, or that contradict the contract or each other.

    Returns
    -------
    StemGeometry or None
        None where the graphs are of another version of Mindwire: whole windows can be decoded without them.

    Raises
    ------
    BundleError
    """
    n, n_outputs = contract.n_channels, len(contract.classes)
    where_stem, where_step = folder / STEM, folder / STREAMING
    facts, stem_facts = read_onnx_facts(step, str(where_step)), read_onnx_facts(stem, str(where_stem))
    if facts.metadata.get(FORMAT_KEY) != FORMAT:
        return None
    geometry = StemGeometry.from_metadata(facts.metadata, str(where_step))
    if geometry.n_times != contract.window_samples:
        raise _disagree(where_step, "samples per window", contract.window_samples, geometry.n_times)
    # The network's own widths: any, but the same everywhere.
    width, d = ((*facts.inputs.get(name, ()), 0, 0)[1] for name in ("spatial", "old_blocks"))
    _check_interface(facts, step_interface(n, n_outputs, geometry.n_tokens, width, d), where_step)
    _check_interface(stem_facts, stem_interface(n, width, d), where_stem)
    return geometry


def _check_interface(facts: OnnxFacts, interface: Interface, where: Path) -> None:
    """Numbers must be met; a name stands for a dimension that must be dynamic."""
    if not 1 <= facts.opset <= MAX_OPSET:
        msg = f"{where}: expected ONNX operator set 1 to {MAX_OPSET}, found {facts.opset}; export the bundle again."
        raise BundleError(msg)
    for what, expected, found in zip(("inputs", "outputs"), interface, (facts.inputs, facts.outputs), strict=True):
        if set(found) != set(expected):
            msg = f"{where}: expected the {what} {_names(expected)}, found {_names(found)}; export the bundle again."
            raise BundleError(msg)
        for name, dims in expected.items():
            if len(dims) != len(found[name]) or any(
                isinstance(other, int) if isinstance(dim, str) else other != dim
                for dim, other in zip(dims, found[name], strict=True)
            ):
                msg = (
                    f"{where}: the contract demands {name!r} of shape {_shape(dims)}, found "
                    f"{_shape(found[name])}; network and contract must agree."
                )
                raise BundleError(msg)


def _names(named: Mapping[str, object]) -> str:
    return ", ".join(named) or "none"


def _shape(dims: Dims) -> str:
    return "×".join(str(dim) for dim in dims)
