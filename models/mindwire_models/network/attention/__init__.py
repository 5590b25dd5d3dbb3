"""The eleven attention modules of AttentionBaseNet, by name.

Each maps ``(batch, channels, 1, n_times)`` to the same shape and weighs channels, and in some modes time steps, by a summary of
its input. Parameters and buffers have braindecode's names, so that weights can be exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from mindwire_models.errors import ArgumentError
from mindwire_models.network.attention.collaborative import CAT, CBAM, CATLite
from mindwire_models.network.attention.excitation import ECA, GCT, SRM, GatherExcite
from mindwire_models.network.attention.squeeze import FCA, EncNet, GSoP, SqueezeAndExcitation

_REDUCING = frozenset({"se", "gsop", "fca", "cbam", "cat", "catlite"})
_ODD_KERNEL = frozenset({"eca", "cbam", "cat"})


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """Arguments of the attention modules; each takes what it uses.

    Parameters
    ----------
    seq_len : int
        Time steps of the input, for modules with a weight per time step.
    reduction_rate : int
        Width of the input divided by that of a bottleneck.
    use_mlp : bool
        A bottleneck instead of a weight per channel (``ge``, ``srm``).
    freq_idx : int
        Index of the cosine that ``fca`` projects on.
    n_codewords : int
        Codewords of ``encnet``.
    kernel_size : int
        Taps of the convolution inside ``eca``, ``cbam`` and ``cat``; odd.
    extra_params : bool
        A learned gathering instead of the mean (``ge``).
    """

    channels: int
    seq_len: int
    reduction_rate: int = 4
    use_mlp: bool = False
    freq_idx: int = 0
    n_codewords: int = 4
    kernel_size: int = 9
    extra_params: bool = False


_BUILDERS: Mapping[str, Callable[[AttentionOptions], nn.Module]] = MappingProxyType(
    {
        "se": lambda o: SqueezeAndExcitation(o.channels, o.reduction_rate),
        "gsop": lambda o: GSoP(o.channels, o.reduction_rate),
        "fca": lambda o: FCA(o.channels, o.seq_len, o.reduction_rate, o.freq_idx),
        "encnet": lambda o: EncNet(o.channels, o.n_codewords),
        "eca": lambda o: ECA(o.kernel_size),
        "ge": lambda o: GatherExcite(
            o.channels, o.seq_len, o.reduction_rate, extra_params=o.extra_params, use_mlp=o.use_mlp
        ),
        "gct": lambda o: GCT(o.channels),
        "srm": lambda o: SRM(o.channels, o.reduction_rate, use_mlp=o.use_mlp),
        "cbam": lambda o: CBAM(o.channels, o.reduction_rate, o.kernel_size),
        "cat": lambda o: CAT(o.channels, o.reduction_rate, o.kernel_size),
        "catlite": lambda o: CATLite(o.channels, o.reduction_rate),
    }
)

ATTENTION_MODES: tuple[str, ...] = tuple(_BUILDERS)
"""Names of the attention modes; None, beside them, means no attention."""


def build_attention(mode: str, options: AttentionOptions) -> nn.Module:
    """Make the attention module of that name, one of :data:`ATTENTION_MODES`.

    Raises
    ------
    ArgumentError
        The mode is unknown, or the options leave it without channels, taps or a frequency.
    """
    if not isinstance(mode, str) or mode not in _BUILDERS:
        msg = f"attention_mode must be None or one of {', '.join(ATTENTION_MODES)}; found {mode!r}."
        raise ArgumentError(msg)
    narrows = mode in _REDUCING or (mode in {"ge", "srm"} and options.use_mlp)
    width = options.channels * (2 if mode == "srm" else 1)
    if narrows and options.reduction_rate > width:
        msg = (
            f"reduction_rate={options.reduction_rate} leaves attention mode {mode!r} without channels; "
            f"it may be at most {width} with ch_dim={options.channels}."
        )
        raise ArgumentError(msg)
    if mode in _ODD_KERNEL and options.kernel_size % 2 == 0:
        msg = f"kernel_size must be odd for attention mode {mode!r}, so that lengths are kept; found {options.kernel_size}."
        raise ArgumentError(msg)
    if mode == "fca" and options.freq_idx >= options.seq_len:
        msg = (
            f"freq_idx={options.freq_idx} is no cosine of a sequence of {options.seq_len} time steps; "
            f"choose 0 to {options.seq_len - 1}."
        )
        raise ArgumentError(msg)
    return _BUILDERS[mode](options)
