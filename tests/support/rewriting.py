"""Writes a bundle again under another name; apart, so that a process that does only this starts fast."""

from __future__ import annotations

from pathlib import Path

from mindwire_models.bundle import Bundle, write_bundle


def rewrite(bundle: Bundle, out: Path, name: str = "other") -> Bundle:
    return write_bundle(
        out,
        name=name,
        contract=bundle.contract,
        config=bundle.config,
        weights=bundle.read("model.safetensors"),
        graph=bundle.graph,
        graphs={"model.onnx": bundle.read("model.onnx")},
        card="card",
    )
