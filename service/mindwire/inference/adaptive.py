"""Decoder that adapts to the person: BatchNorm statistics, and weights towards decisions of less entropy.

Each stream's session has a network of its own. It learns without labels, from good windows alone, one bounded
step per whole window of signal, on the last few such windows:

``bn``
    running mean and variance of every BatchNorm move a little towards those of the recent windows;
``entropy``
    that, and the BatchNorms' weights and biases take a gradient step towards decisions of less entropy. Alone, this
    ends in a network with one answer to everything, so all steps together are bounded.

Every step gives a new, immutable state, and each window names the state it is to be decoded with. So skipping
windows, cutting the signal otherwise, and taking steps back all leave exactly what a replay computes.

References
----------
Wimpff, Döbler & Yang 2023, "Calibration-free online test-time adaptation for electroencephalography motor imagery
decoding", arXiv 2311.18520; Wang et al. 2021, "Tent: fully test-time adaptation by entropy minimization".
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindwire.errors import ContractError, UsageError
from mindwire.signal.rollback import remembered
from mindwire.types import Window
from mindwire_models.bundle import Bundle, load_module
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.ensemble import Ensemble
from mindwire_models.training.fast_training import fast_forward


@dataclass(frozen=True, slots=True)
class AdaptationSteps:
    """Sizes of an adaptive network's steps.

    Parameters
    ----------
    windows : int
        Windows, each of signal of its own, that a step needs.
    momentum : float
        Share of the way that running statistics move towards those of these windows in a step.
    rate : float
        Gradient step of the BatchNorms' weights.
    step_limit, reach : float
        How far a step, and all steps together, may move these weights, as shares of their norm in the bundle.
    """

    windows: int = 8
    momentum: float = 0.05
    rate: float = 5e-4
    step_limit: float = 1e-3
    reach: float = 0.05


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Learnt state of a network: the number of steps, and the tensors of its BatchNorms by name."""

    steps: int
    tensors: Mapping[str, Tensor]


class AdaptiveSession:
    """One stream's network, a :class:`~mindwire.inference.decoder.Learner`.

    Parameters
    ----------
    network : AttentionBaseNet or Ensemble
        The bundle's; copied.
    bundle : Bundle
        Its hash marks the saved state, so that the state of another model is refused; by its temperature, entropy is that of the
        published probabilities.
    kind : {"bn", "entropy"}
    pace : AdaptationSteps
    """

    def __init__(
        self,
        network: AttentionBaseNet | Ensemble,
        bundle: Bundle,
        kind: Literal["bn", "entropy"],
        pace: AdaptationSteps,
    ) -> None:
        self.kind: Literal["bn", "entropy"] = kind
        self.step_samples = bundle.contract.window_samples
        self.frozen = False
        self._pace = pace
        self._temperature = bundle.contract.temperature
        self._model = np.frombuffer(bytes.fromhex(bundle.sha256), dtype=np.uint8)
        self._network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        members = self._network.members if isinstance(self._network, Ensemble) else [self._network]
        self._members = [member for member in members if isinstance(member, AttentionBaseNet)]
        modules = self._network.named_modules()
        self._norms = {name: module for name, module in modules if isinstance(module, nn.BatchNorm2d)}
        # The network's own tensors, changed in place.
        self._tensors: dict[str, Tensor] = {
            f"{name}.{key}": tensor
            for name, norm in self._norms.items()
            for key, tensor in norm.state_dict(keep_vars=True).items()
            if key != "num_batches_tracked"
        }
        self._weights = [name for name in self._tensors if name.endswith((".weight", ".bias"))]
        for norm in self._norms.values():
            norm.momentum = pace.momentum
        if kind == "entropy":
            for name in self._weights:
                self._tensors[name].requires_grad_()
        self._start = self._loaded = self._state = NetworkState(0, self._capture())
        size = sum(tensor.nbytes for tensor in self._state.tensors.values())
        self._history: deque[NetworkState] = deque(maxlen=remembered(size))
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=pace.windows)

    @property
    def learnt(self) -> NetworkState:
        """The state that windows from now on are decoded with."""
        return self._state

    @property
    def steps(self) -> int:
        """Steps taken since the bundle's own state, less those taken back."""
        return self._state.steps

    @property
    def drift(self) -> float:
        """Symmetric Kullback-Leibler divergence of the BatchNorms' statistics from the bundle's, mean over (normal) features."""
        total, count = 0.0, 0
        for name, norm in self._norms.items():
            (m0, v0), (m1, v1) = (
                (state.tensors[f"{name}.running_mean"].double(), state.tensors[f"{name}.running_var"].double())
                for state in (self._start, self._state)
            )
            v0, v1, apart = v0 + norm.eps, v1 + norm.eps, (m0 - m1) ** 2
            total += float(((v0 + apart) / v1 + (v1 + apart) / v0 - 2).sum()) / 4
            count += len(m0)
        return total / max(count, 1)

    @property
    def shift(self) -> float:
        """Distance of the BatchNorms' weights from the bundle's, as a share of their norm there."""
        pairs = [(self._start.tensors[name], self._state.tensors[name]) for name in self._weights]
        apart = sum(float(((one - other).double() ** 2).sum()) for one, other in pairs)
        size = sum(float((one.double() ** 2).sum()) for one, _ in pairs)
        return float(np.sqrt(apart / max(size, 1e-300)))

    def learn(self, window: Window) -> None:
        """Take a step from a good window of new signal, once there are enough of them; does nothing while frozen."""
        if self.frozen:
            return
        self._recent.append(np.ascontiguousarray(window.alignment @ window.samples.T))
        if len(self._recent) < self._pace.windows:
            return
        self._load(self._state)
        x = torch.from_numpy(np.stack(self._recent))
        self._follow_statistics(x)
        if self.kind == "entropy":
            self._lower_entropy(x)
        self._history.append(self._state)
        self._loaded = self._state = NetworkState(self._state.steps + 1, self._capture())

    def rollback(self, steps: int) -> int:
        """Take back the last steps, at most those remembered (:func:`mindwire.signal.rollback.remembered`); return their number."""
        count = min(steps, len(self._history))
        for _ in range(count):
            self._state = self._history.pop()
        return count

    def save(self) -> dict[str, NDArray[Any]]:
        """Return the learnt arrays by name, with the number of ``steps`` and the hash of the ``model``."""
        arrays: dict[str, NDArray[Any]] = {name: tensor.numpy() for name, tensor in self._state.tensors.items()}
        return arrays | {"steps": np.array([self._state.steps], dtype=np.int64), "model": self._model}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the arrays of :meth:`save`; raise ContractError if they are of another model, or damaged."""
        tensors = self._start.tensors
        fits = set(arrays) == {*tensors, "steps", "model"} and np.array_equal(arrays["model"], self._model)
        if not fits or not all(_plausible(name, arrays[name], tensor) for name, tensor in tensors.items()):
            msg = "The saved adaptation is not one of this model; leave it out, or give the bundle it was made with."
            raise ContractError(msg)
        restored = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in tensors}
        self._history.append(self._state)
        self._state = NetworkState(int(arrays["steps"][0]), MappingProxyType(restored))

    def logits(self, window: Window) -> NDArray[np.float32]:
        """Return the logits of a window, ``(n_classes,)``, by the state that it names."""
        self._load(self._state if window.learnt is None else window.learnt)
        x = torch.from_numpy(np.ascontiguousarray(window.alignment @ window.samples.T)[None])
        with torch.inference_mode():
            return np.asarray(self._forward(x)[0].numpy())

    def _forward(self, x: Tensor) -> Tensor:
        return torch.stack([fast_forward(member, x) for member in self._members]).mean(dim=0)

    def _follow_statistics(self, x: Tensor) -> None:
        for norm in self._norms.values():
            norm.train()
        with torch.no_grad():
            self._forward(x)
        for norm in self._norms.values():
            norm.eval()

    def _lower_entropy(self, x: Tensor) -> None:
        logarithms = torch.log_softmax(self._forward(x) / self._temperature, dim=1)
        entropy = -(logarithms.exp() * logarithms).sum(dim=1).mean()
        weights = [self._tensors[name] for name in self._weights]
        start = [self._start.tensors[name] for name in self._weights]
        gradients = torch.autograd.grad(entropy, weights)
        size = float(_norm(start))
        with torch.no_grad():
            scale = min(self._pace.rate, self._pace.step_limit * size / max(float(_norm(gradients)), 1e-30))
            moved = [w - scale * gradient - w0 for w, gradient, w0 in zip(weights, gradients, start, strict=True)]
            within = min(1.0, self._pace.reach * size / max(float(_norm(moved)), 1e-30))
            for weight, w0, apart in zip(weights, start, moved, strict=True):
                weight.copy_(w0 + within * apart)

    def _capture(self) -> Mapping[str, Tensor]:
        return MappingProxyType({name: tensor.detach().clone() for name, tensor in self._tensors.items()})

    def _load(self, state: NetworkState) -> None:
        if state is not self._loaded:
            with torch.no_grad():
                for name, tensor in self._tensors.items():
                    tensor.copy_(state.tensors[name])
            self._loaded = state


class AdaptiveDecoder:
    """Decodes on the CPU, with a network per stream that learns meanwhile.

    Parameters
    ----------
    bundle : Bundle
    kind : {"bn", "entropy"}
    reason : str
        Why this engine was chosen.
    pace : AdaptationSteps or None

    Raises
    ------
    UsageError
        The bundle's decoder has no BatchNorm.
    MissingExtraError
        PyTorch is not installed.
    """

    engine = "torch"
    device = "cpu"

    def __init__(
        self, bundle: Bundle, kind: Literal["bn", "entropy"], reason: str, pace: AdaptationSteps | None = None
    ) -> None:
        network = load_module(bundle)
        if not isinstance(network, AttentionBaseNet | Ensemble):
            msg = f"{bundle.path} decodes without BatchNorm, so there is nothing for --adapt {kind}; use --adapt alignment."
            raise UsageError(msg)
        torch.set_num_threads(1)  # of the process, permanently: small networks gain nothing from more
        self.reason = reason
        self._n_classes = len(bundle.contract.classes)
        self._make_session = partial(AdaptiveSession, network, bundle, kind, pace or AdaptationSteps())

    def session(self) -> AdaptiveSession:
        """Return a copy of the bundle's network for one stream."""
        return self._make_session()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return the logits of windows; see :meth:`mindwire.inference.decoder.Decoder.decode`."""
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        for row, (session, window) in enumerate(zip(sessions, windows, strict=True)):
            logits[row] = session.logits(window)
        return logits


def _plausible(name: str, array: NDArray[Any], like: Tensor) -> bool:
    shaped = array.shape == tuple(like.shape) and bool(np.isfinite(array).all())
    return shaped and not (name.endswith("running_var") and bool((array < 0).any()))


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.sqrt(torch.stack([(tensor.detach().double() ** 2).sum() for tensor in tensors]).sum())
