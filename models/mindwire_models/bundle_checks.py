"""Checks that the parts of a bundle agree: configuration, weights, contract and graphs; all refuse with a BundleError."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, deserialize

from mindwire_models.contract import Contract
from mindwire_models.errors import BundleError
from mindwire_models.graphs.interfaces import Dims, Interface, folded_interface, stem_interface, step_interface
from mindwire_models.graphs.onnx_file import OnnxFacts, read_onnx_facts
from mindwire_models.graphs.streaming_plan import FORMAT, FORMAT_KEY, StemGeometry

MAX_OPSET, MAX_EXTERNAL_OPSET = 18, 28
CONFIG, WEIGHTS, GRAPH = "config.json", "model.safetensors", "model.onnx"
STREAMING, STEM, RECORDING = "streaming.onnx", "stem.onnx", "recording.onnx"

GraphKind = Literal["plain", "folded"]
DecoderKind = Literal["attentionbasenet", "ensemble", "tangent_space", "external"]
KIND_NAMES: dict[DecoderKind, str] = {
    "attentionbasenet": "an AttentionBaseNet",
    "ensemble": "an ensemble",
    "tangent_space": "a tangent-space classifier",
    "external": "a decoder from outside, which is only a graph",
}
# The weights whose sizes are the numbers of channels and of classes: name and axis of each.
_SIZED_BY: dict[DecoderKind, tuple[tuple[str, int], ...]] = {
    "attentionbasenet": (("input_block.spatial_conv.weight", 2), ("final_layer.1.weight", 0)),
    "ensemble": (("members.0.input_block.spatial_conv.weight", 2), ("members.0.final_layer.1.weight", 0)),
    "tangent_space": (("whitening", 0), ("intercept", 0)),
    "external": (),  # its weights are in its graph
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


def contradictions(config: Mapping[str, Any], contract: Contract) -> Iterator[tuple[str, object]]:
    """Yield what a contract demands, with its unit, and what a network's arguments say instead."""
    for key, expected, unit in (
        ("n_chans", contract.n_channels, "channels"),
        ("n_times", contract.window_samples, "samples per window"),
        ("n_outputs", len(contract.classes), "classes"),
    ):
        if config.get(key) != expected:
            yield f"{expected} {unit}", config.get(key)
    if config.get("sfreq") not in (None, contract.sfreq):
        yield f"{contract.sfreq:g} Hz", config["sfreq"]


def check_parts(
    files: Mapping[str, bytes], config: Mapping[str, Any], graph: GraphKind, contract: Contract, folder: Path
) -> StemGeometry | None:
    """Refuse parts that are damaged, foreign, or that contradict the contract or each other.

    Returns the lengths of the streaming graphs, if there are such of this version of Mindwire: whole windows can be decoded
    without them.
    """
    for demanded, found in contradictions(config, contract):
        raise _disagree(folder / CONFIG, demanded, found)
    kind = decoder_of(config, folder)
    if kind == "external":
        _check_external(files, graph, folder)
    else:
        _check_weights(files, kind, contract, folder)
    max_opset = MAX_EXTERNAL_OPSET if kind == "external" else MAX_OPSET
    n, n_outputs = contract.n_channels, len(contract.classes)
    inputs, outputs = folded_interface(n, contract.window_samples, n_outputs)
    if graph == "plain":
        inputs, outputs = {"x": inputs["x"]}, {"logits": outputs["logits"]}
    _check_interface(_facts(files, GRAPH, folder), (inputs, outputs), folder / GRAPH, max_opset)
    if STREAMING not in files:
        return None
    stem, step = _facts(files, STEM, folder), _facts(files, STREAMING, folder)
    if step.metadata.get(FORMAT_KEY) != FORMAT:
        return None
    geometry = StemGeometry.from_metadata(step.metadata, str(folder / STREAMING))
    if geometry.n_times != contract.window_samples:
        raise _disagree(folder / STREAMING, f"{contract.window_samples} samples per window", geometry.n_times)
    # The network's own widths: any, but the same everywhere.
    width, ch_dim = ((*step.inputs.get(name, ()), 0, 0)[1] for name in ("spatial", "old_blocks"))
    _check_interface(step, step_interface(n, n_outputs, geometry.n_tokens, width, ch_dim), folder / STREAMING)
    _check_interface(stem, stem_interface(n, width, ch_dim), folder / STEM)
    return geometry


def _disagree(where: Path, demanded: str, found: object) -> BundleError:
    return BundleError(
        f"{where}: the contract demands {demanded}, found {reprlib.repr(found)}; network and contract must agree."
    )


def _facts(files: Mapping[str, bytes], name: str, folder: Path) -> OnnxFacts:
    return read_onnx_facts(files[name], str(folder / name))


def _check_external(files: Mapping[str, bytes], graph: GraphKind, folder: Path) -> None:
    """Refuse what a decoder from outside cannot have: weights beside its graph, a folded graph, streaming graphs."""
    surplus = [name for name in (WEIGHTS, STREAMING, STEM, RECORDING) if name in files]
    if surplus or graph != "plain":
        found = ", ".join(surplus) or f"a {graph} graph"
        msg = f"{folder}: expected nothing but a plain graph of a decoder from outside, found {found}; export it again."
        raise BundleError(msg)


def _check_weights(files: Mapping[str, bytes], kind: DecoderKind, contract: Contract, folder: Path) -> None:
    where, sized_by = folder / WEIGHTS, _SIZED_BY[kind]
    if WEIGHTS not in files:
        msg = f"{folder}: no hash for {WEIGHTS}, which {KIND_NAMES[kind]} needs; export the bundle again."
        raise BundleError(msg)
    try:
        shapes = {name: tensor["shape"] for name, tensor in deserialize(files[WEIGHTS])}  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        msg = f"{where}: expected weights in the safetensors format, found a damaged file; export the bundle again."
        raise BundleError(msg) from error
    demands = ((contract.n_channels, "channels"), (len(contract.classes), "classes"))
    for (name, axis), (expected, unit) in zip(sized_by, demands, strict=True):
        shape = shapes.get(name, ())
        if len(shape) <= axis:
            msg = f"{where}: expected the weights of {KIND_NAMES[kind]}, found others; export the bundle again."
            raise BundleError(msg)
        if shape[axis] != expected:
            raise _disagree(where, f"{expected} {unit}", shape[axis])


def _check_interface(facts: OnnxFacts, interface: Interface, where: Path, max_opset: int = MAX_OPSET) -> None:
    if not 1 <= facts.opset <= max_opset:
        msg = f"{where}: expected ONNX operator set 1 to {max_opset}, found {facts.opset}; export the bundle again."
        raise BundleError(msg)
    for what, expected, found in zip(("inputs", "outputs"), interface, (facts.inputs, facts.outputs), strict=True):
        if set(found) != set(expected):
            names = ", ".join(found) or "none"
            msg = f"{where}: expected the {what} {', '.join(expected)}, found {names}; export the bundle again."
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


def _shape(dims: Dims) -> str:
    return "×".join(str(dim) for dim in dims)
