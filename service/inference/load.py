"""Chooses what decodes a bundle: engine and device, and the reason for the choice."""

from __future__ import annotations

from typing import Literal

from models.bundle import Bundle
from service.errors import BundleError, MissingExtraError, UsageError
from service.inference.decoder import Decoder

Engine = Literal["auto", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "cuda"]


def load_decoder(bundle: Bundle, engine: Engine = "auto", device: Device = "auto") -> Decoder:
    """A decoder for a bundle: ONNX Runtime where it can run the graph, else PyTorch.

    Parameters
    ----------
    bundle : Bundle
    engine : {"auto", "onnxruntime", "torch"}
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where the engine has it, else the CPU.

    Returns
    -------
    Decoder
        Its ``engine``, ``device`` and ``reason`` say what was chosen and why.

    Raises
    ------
    UsageError
        Engine or device are unknown, or the device is not there.
    BundleError
        ONNX Runtime was demanded and does not accept the graph.
    MissingExtraError
        The engine demanded, or any engine at all, is not installed.
    """
    if engine not in {"auto", "onnxruntime", "torch"}:
        msg = f"Engine {engine!r} is unknown; known are auto, onnxruntime and torch."
        raise UsageError(msg)
    if device not in {"auto", "cpu", "cuda"}:
        msg = f"Device {device!r} is unknown; known are auto, cpu and cuda."
        raise UsageError(msg)
    if engine == "torch":
        return _torch(bundle, device, "asked for")
    try:
        return _onnx(bundle, device, "asked for" if engine == "onnxruntime" else "the default engine")
    except (MissingExtraError, BundleError) as error:
        if engine == "onnxruntime":
            raise
        return _torch(bundle, device, f"ONNX Runtime cannot be used: {error}")


def _onnx(bundle: Bundle, device: Device, why: str) -> Decoder:
    try:
        import onnxruntime
    except ImportError as error:
        msg = "onnxruntime is not installed; install it with: pip install onnxruntime, or use --engine torch."
        raise MissingExtraError(msg) from error
    from service.inference.onnx import PROVIDERS, OnnxDecoder

    present = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
    if device == "cuda" and not present:
        msg = "This ONNX Runtime has no CUDA; install onnxruntime-gpu, or choose --device cpu."
        raise UsageError(msg)
    chosen = "cuda" if present and device != "cpu" else "cpu"
    if chosen == "cuda":
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
    return OnnxDecoder(bundle, chosen, f"{why}; {_device_reason(device, present=present)}")


def _torch(bundle: Bundle, device: Device, why: str) -> Decoder:
    try:
        import torch
    except ImportError as error:
        msg = f"PyTorch is not installed ({why}); install it with: pip install 'mindwire[torch]'."
        raise MissingExtraError(msg) from error
    from service.inference.pytorch import TorchDecoder

    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        msg = "PyTorch finds no CUDA device; choose --device cpu."
        raise UsageError(msg)
    chosen = "cuda" if present and device != "cpu" else "cpu"
    return TorchDecoder(bundle, chosen, f"{why}; {_device_reason(device, present=present)}")


def _device_reason(device: Device, *, present: bool) -> str:
    if device != "auto":
        return f"{device} asked for"
    return "CUDA is present" if present else "no CUDA here"
