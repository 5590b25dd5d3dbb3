"""Choice of a bundle's decoder: engine and device, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from mindwire.errors import BundleError, GraphTrialError, MissingExtraError, UsageError
from mindwire.inference.decoder import Adapt, Decoder
from mindwire_models.bundle import Bundle, load_bundle, without_network
from mindwire_models.bundle_checks import decoder_of

Engine = Literal["auto", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "cuda"]
Purpose = Literal["live", "recording"]


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """A decoder as what it is made of, for jobs in other processes; parameters as of :func:`load_decoder`."""

    bundle: Path
    sha256: str
    engine: Engine
    device: Device
    adapt: Adapt

    def load(self) -> Decoder:
        """Return the decoder, the same one each time in a process; a BundleError says that the bundle has changed."""
        return _load_chosen(self)


@lru_cache(maxsize=2)
def _load_chosen(choice: DecoderChoice) -> Decoder:
    bundle = load_bundle(choice.bundle)
    if bundle.sha256 != choice.sha256:
        msg = f"{choice.bundle}: expected the bundle with the hash {choice.sha256[:12]}, found {bundle.sha256[:12]}; it was replaced meanwhile, or another machine has another one."
        raise BundleError(msg)
    return load_decoder(bundle, choice.engine, choice.device, adapt=choice.adapt, purpose="recording")


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
    for what, value, known in (("Engine", engine, get_args(Engine)), ("Device", device, get_args(Device))):
        if value not in known:
            msg = f"{what} {value!r} is unknown; known are {', '.join(known[:-1])} and {known[-1]}."
            raise UsageError(msg)
    graph_only = decoder_of(bundle.config, bundle.path) == "external"
    if graph_only and (adapt != "alignment" or engine == "torch"):
        raise UsageError(without_network(bundle, f"--adapt {adapt}" if adapt != "alignment" else "--engine torch"))
    if adapt != "alignment":
        return _adaptive(bundle, engine, device, adapt)
    if engine == "torch":
        return _torch(bundle, device, "asked for")
    try:
        return _onnx(bundle, device, "asked for" if engine == "onnxruntime" else "the default engine", purpose)
    except (MissingExtraError, BundleError) as error:
        if engine == "onnxruntime" or graph_only or isinstance(error, GraphTrialError):
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
    geometry = bundle.streaming if device != "cuda" else None
    where = _device_reason(device, present=present)
    if geometry is not None:
        # A streaming step on the CPU takes less time than starting anything on a GPU.
        reason = f"{why}; streaming, each sample computed once; {where}"

        def make(opener: GraphOpener, *, recorded: bool = False) -> Decoder:
            whole = OnnxDecoder(bundle, "cpu", why, opener)
            return StreamingDecoder(bundle, geometry, whole, reason, opener, recorded=recorded)

        require_trial(bundle, "streaming", make)
        return make(open_graph, recorded=purpose == "recording")
    chosen = "cuda" if present and device != "cpu" else "cpu"
    if chosen == "cuda":
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
    require_trial(bundle, "whole", lambda opener: OnnxDecoder(bundle, "cpu", why, opener))
    whole = "whole windows, the bundle has no streaming graphs"
    if bundle.streaming:
        whole = "whole windows on CUDA"
    elif bundle.outdated_streaming:
        whole = "whole windows, the bundle's streaming graphs are of another version; export it again to stream"
    return OnnxDecoder(bundle, chosen, f"{why}; {whole}; {where}")


def _torch(bundle: Bundle, device: Device, why: str) -> Decoder:
    torch = _import_torch(f"PyTorch is not installed ({why})")
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
    _import_torch(f"--adapt {adapt} takes PyTorch, which is not installed")
    from mindwire.inference.adaptive import AdaptiveDecoder

    return AdaptiveDecoder(bundle, adapt, f"--adapt {adapt} takes PyTorch on the CPU")


def _import_torch(otherwise: str) -> Any:
    try:
        import torch
    except ImportError as error:
        msg = f"{otherwise}; install it with: pip install '.[torch]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    return torch


def _device_reason(device: Device, *, present: bool) -> str:
    if device != "auto":
        return f"{device} asked for"
    return "CUDA is present" if present else "no CUDA here"
