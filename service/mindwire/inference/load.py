"""Choice of a bundle's decoder: engine and device, with the reason."""

from __future__ import annotations

from typing import Literal

from mindwire.errors import BundleError, GraphTrialError, MissingExtraError, UsageError
from mindwire.inference.decoder import Adapt, Decoder
from mindwire_models.bundle import Bundle

Engine = Literal["auto", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "cuda"]
Purpose = Literal["live", "recording"]


def load_decoder(
    bundle: Bundle,
    engine: Engine = "auto",
    device: Device = "auto",
    *,
    adapt: Adapt = "alignment",
    purpose: Purpose = "live",
) -> Decoder:
    """Make a decoder for a bundle: ONNX Runtime where it can run the graph, else PyTorch.

    Parameters
    ----------
    bundle : Bundle
    engine : {"auto", "onnxruntime", "torch"}
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes CUDA where the engine has it and the bundle cannot stream, else the CPU.
    adapt : {"alignment", "bn", "entropy"}
        ``bn`` and ``entropy`` adapt the network itself, which needs PyTorch on the CPU.
    purpose : {"live", "recording"}
        Windows of a recording that come in one call are decoded together where the bundle can stream; the logits are
        those of live decoding within float32 rounding.

    Returns
    -------
    Decoder
        Its ``engine``, ``device`` and ``reason`` say what was chosen and why.

    Raises
    ------
    UsageError
        Engine or device are unknown, or the device is not there, or the decoder cannot adapt so.
    BundleError
        ONNX Runtime was demanded and does not accept the graph.
    GraphTrialError
        A graph takes too much time or memory or gives no usable logits in a trial.
    MissingExtraError
        The engine demanded, or any engine at all, is not installed.
    """
    if engine not in {"auto", "onnxruntime", "torch"}:
        msg = f"Engine {engine!r} is unknown; known are auto, onnxruntime and torch."
        raise UsageError(msg)
    if device not in {"auto", "cpu", "cuda"}:
        msg = f"Device {device!r} is unknown; known are auto, cpu and cuda."
        raise UsageError(msg)
    if adapt != "alignment":
        return _adaptive(bundle, engine, device, adapt)
    if engine == "torch":
        return _torch(bundle, device, "asked for")
    try:
        return _onnx(bundle, device, "asked for" if engine == "onnxruntime" else "the default engine", purpose)
    except (MissingExtraError, BundleError) as error:
        if engine == "onnxruntime" or isinstance(error, GraphTrialError):
            raise
        return _torch(bundle, device, f"ONNX Runtime cannot be used: {error}")


def _onnx(bundle: Bundle, device: Device, why: str, purpose: Purpose) -> Decoder:
    try:
        import onnxruntime
    except ImportError as error:
        msg = "onnxruntime is not installed; install it with: pip install onnxruntime, or use --engine torch."
        raise MissingExtraError(msg) from error
    from mindwire.inference.onnx import PROVIDERS, GraphOpener, OnnxDecoder, open_graph
    from mindwire.inference.streaming import StreamingDecoder
    from mindwire.inference.trial import require_trial

    present = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
    if device == "cuda" and not present:
        msg = "This ONNX Runtime has no CUDA; install onnxruntime-gpu, or choose --device cpu."
        raise UsageError(msg)
    streams = device != "cuda" and bundle.streaming is not None
    chosen = "cuda" if present and device != "cpu" and not streams else "cpu"
    if chosen == "cuda":
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
    where = _device_reason(device, present=present)
    geometry = bundle.streaming if streams else None
    if geometry is None:
        require_trial(bundle, "whole", lambda opener: OnnxDecoder(bundle, "cpu", why, opener))
        return OnnxDecoder(bundle, chosen, f"{why}; {_whole_reason(bundle)}; {where}")
    # A streaming step on the CPU takes less time than starting anything on a GPU.
    reason = f"{why}; streaming, each sample computed once; {where}"

    def make(opener: GraphOpener, *, recorded: bool = False) -> Decoder:
        whole = OnnxDecoder(bundle, "cpu", why, opener)
        return StreamingDecoder(bundle, geometry, whole, reason, opener, recorded=recorded)

    require_trial(bundle, "streaming", make)
    return make(open_graph, recorded=purpose == "recording")


def _whole_reason(bundle: Bundle) -> str:
    if bundle.streaming:
        return "whole windows on CUDA"
    if bundle.outdated_streaming:
        return "whole windows, the bundle's streaming graphs are of another version; export it again to stream"
    return "whole windows, the bundle has no streaming graphs"


def _torch(bundle: Bundle, device: Device, why: str) -> Decoder:
    try:
        import torch
    except ImportError as error:
        msg = f"PyTorch is not installed ({why}); install it with: pip install '.[torch]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    from mindwire.inference.pytorch import TorchDecoder

    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        msg = "PyTorch finds no CUDA device; choose --device cpu."
        raise UsageError(msg)
    chosen = "cuda" if present and device != "cpu" else "cpu"
    return TorchDecoder(bundle, chosen, f"{why}; {_device_reason(device, present=present)}")


def _adaptive(bundle: Bundle, engine: Engine, device: Device, adapt: Literal["bn", "entropy"]) -> Decoder:
    if engine == "onnxruntime" or device == "cuda":
        msg = f"--adapt {adapt} changes the network while it decodes, which takes --engine torch and --device cpu."
        raise UsageError(msg)
    try:
        import torch  # noqa: F401 - to tell its absence from any other failure
    except ImportError as error:
        msg = f"--adapt {adapt} takes PyTorch, which is not installed; install it with: pip install '.[torch]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    from mindwire.inference.adaptive import AdaptiveDecoder

    return AdaptiveDecoder(bundle, adapt, f"--adapt {adapt} takes PyTorch on the CPU")


def _device_reason(device: Device, *, present: bool) -> str:
    if device != "auto":
        return f"{device} asked for"
    return "CUDA is present" if present else "no CUDA here"
