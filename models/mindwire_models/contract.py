"""Contract: everything a model demands of the signal, as one strict, versioned document.

Live decoding, replay, training and evaluation condition signals by it alone. The filters' second-order sections are designed
once and stored, and verified when a contract is read again.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mindwire_models.errors import ContractError
from mindwire_models.reading import MIB, first_fault, parse_json_object, read_regular

CONTRACT_VERSION = 1

Unit = Literal["V", "mV", "uV", "nV"]
Sections = tuple[tuple[float, float, float, float, float, float], ...]

# Upper bounds: far above any laboratory's needs, and low enough that no contract can exhaust a machine.
_MAX_BYTES = 16 * MIB
_MAX_CHANNELS = 1024
_MAX_SFREQ = 20_000.0  # hertz
_MAX_WINDOW_VALUES = 1 << 24  # samples x channels of a window or of a block that the alignment learns from
_MAX_SAMPLES = 1 << 31
_MAX_SETTLING_SECONDS = 600.0
_MAX_NAME = 200


def _printable(text: str) -> str:
    if not text.isprintable():
        msg = f"a name consists of printable characters, found {text[:40]!a}"
        raise ValueError(msg)
    return text


Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME), AfterValidator(_printable)]
Samples = Annotated[int, Field(ge=1, le=_MAX_SAMPLES)]
Hertz = Annotated[float, Field(ge=1e-3, le=_MAX_SFREQ)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Butterworth(_Strict):
    """Causal Butterworth high-pass or low-pass; ``freq`` is the cut-off (−3 dB) in hertz."""

    order: Annotated[int, Field(ge=1, le=10)]
    freq: Hertz


class Notch(_Strict):
    """Causal second-order notch at ``freq`` hertz; ``q`` is ``freq`` divided by the −3 dB bandwidth."""

    freq: Hertz
    q: Annotated[float, Field(ge=1e-2, le=1e4)] = 30.0


class Filters(_Strict):
    """Causal filters, applied in the order high-pass, notches, low-pass."""

    highpass: Butterworth | None = None
    lowpass: Butterworth | None = None
    notch: Annotated[tuple[Notch, ...], Field(max_length=64)] = ()

    def check(self, sfreq: float) -> None:
        """Refuse, with a ContractError, filters that a sampling rate cannot have, or that let nothing pass."""
        for freq in (f.freq for f in (self.highpass, self.lowpass, *self.notch) if f is not None):
            if freq >= sfreq / 2:
                msg = (
                    f"A filter at {freq:g} Hz needs a sampling rate above {2 * freq:g} Hz, "
                    f"but the contract's is {sfreq:g} Hz; lower the frequency or leave the filter out."
                )
                raise ContractError(msg)
        if self.highpass and self.lowpass and self.highpass.freq >= self.lowpass.freq:
            msg = (
                f"The high-pass at {self.highpass.freq:g} Hz lies at or above the low-pass at "
                f"{self.lowpass.freq:g} Hz and nothing would pass; exchange or change them."
            )
            raise ContractError(msg)

    def describe(self) -> list[str]:
        """Return each filter in words."""
        bands = (("high-pass", self.highpass), ("low-pass", self.lowpass))
        words = [f"{band} {f.freq:g} Hz order {f.order}" for band, f in bands if f is not None]
        return words + [f"notch {line.freq:g} Hz Q {line.q:g}" for line in self.notch]

    def design(self, sfreq: float) -> Sections:
        """Second-order sections ``(b0, b1, b2, a0, a1, a2)`` for a sampling rate in hertz, as SciPy takes them."""
        from scipy import signal  # takes longer to import than all that a service with a stored design needs

        rows = [signal.tf2sos(*signal.iirnotch(line.freq, line.q, fs=sfreq)) for line in self.notch]
        if (high := self.highpass) is not None:
            rows.insert(0, signal.butter(high.order, high.freq, "highpass", fs=sfreq, output="sos"))
        if (low := self.lowpass) is not None:
            rows.append(signal.butter(low.order, low.freq, "lowpass", fs=sfreq, output="sos"))
        return tuple(tuple(row) for row in np.vstack(rows).tolist()) if rows else ()

    def match(self, sos: Sections, sfreq: float) -> bool:
        """Return whether sections have the gain of these filters, by the formulas and without designing any."""
        butterworths = [(f, sign) for f, sign in ((self.highpass, -1), (self.lowpass, 1)) if f is not None]
        if len(sos) != sum(-(-f.order // 2) for f, _ in butterworths) + len(self.notch):
            return False
        if not sos:
            return True
        frequencies = [f.freq for f, _ in butterworths] + [line.freq for line in self.notch]
        corners = [2 * math.pi * freq / sfreq for freq in frequencies]
        lowest = min(corners)
        angles = np.concatenate([np.multiply.outer(corners, [0.9, 1.0, 1.1]).ravel(), np.geomspace(lowest, 3.0, 20)])
        angles = angles[angles < math.pi]
        expected = np.ones_like(angles)
        for f, sign in butterworths:
            ratio = np.tan(angles / 2) / math.tan(math.pi * f.freq / sfreq)
            expected /= np.sqrt(1 + ratio ** (2 * sign * f.order))
        for line in self.notch:
            centre = 2 * math.pi * line.freq / sfreq
            away = np.cos(angles) - math.cos(centre)
            expected *= np.abs(away) / np.hypot(away, math.tan(centre / line.q / 2) * np.sin(angles))
        delays = np.exp(-1j * np.multiply.outer([0, 1, 2], angles))
        rows = np.asarray(sos)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.abs((rows[:, :3] @ delays) / (rows[:, 3:] @ delays)).prod(axis=0)
        # Poles near 1 are differences of nearly equal numbers: what rounding of the sections changes grows with their nearness.
        return np.allclose(found, expected, rtol=1e-8, atol=1e-8 + 1e-14 / lowest**2)


class NoNormalisation(_Strict):
    """Conditioned samples go to the network as they are, in the contract's unit."""

    kind: Literal["none"] = "none"


class ZScore(_Strict):
    """Fixed standardisation by mean and standard deviation of each channel, in the contract's unit."""

    kind: Literal["zscore"] = "zscore"
    mean: Annotated[tuple[float, ...], Field(max_length=_MAX_CHANNELS)]
    std: Annotated[tuple[Annotated[float, Field(ge=1e-30)], ...], Field(max_length=_MAX_CHANNELS)]


class Alignment(_Strict):
    """Online whitening by the inverse square root of the mean covariance of the person's own signal.

    Parameters
    ----------
    kind : {"euclidean", "riemannian"}
        Mean of the covariances.
    scale : {"window_sum", "sample_mean"}
        ``window_sum``: a covariance is ``x @ x.T`` summed over ``window_samples`` samples, so whitened
        samples have variance ``1 / window_samples``. ``sample_mean``: averaged, variance 1. A model works
        only with the scale it was trained with.
    forgetting_seconds : float or None
        Time constant of exponential forgetting in seconds of good signal; None weighs all the past equally.
    update_samples : int
        Length of the blocks of conditioned samples after which the mean is updated.
    ready_samples : int
        Good conditioned samples needed before the matrix is trusted.
    warm_start : tuple of tuple of float or None
        Initial covariance per sample, ``(n_channels, n_channels)`` in unit².
    warm_start_samples : int
        Weight of the warm start, in samples.
    rest_axis : tuple of tuple of float or None
        Direction from rest to activity in aligned covariances, ``(n_channels, n_channels)``: the mean logarithm of those of the
        trained trials less that at rest. With it long rest moves the alignment no further than a limit.

    References
    ----------
    He & Wu 2020, "Transfer learning for brain-computer interfaces: a Euclidean space data alignment approach"; Wimpff et al.
    2023, arXiv 2311.18520.
    """

    kind: Literal["euclidean", "riemannian"]
    scale: Literal["window_sum", "sample_mean"]
    forgetting_seconds: Annotated[float, Field(gt=0)] | None = None
    update_samples: Samples
    ready_samples: Samples
    warm_start: Annotated[tuple[tuple[float, ...], ...], Field(max_length=_MAX_CHANNELS)] | None = None
    warm_start_samples: Annotated[int, Field(ge=0, le=_MAX_SAMPLES)] = 0
    rest_axis: Annotated[tuple[tuple[float, ...], ...], Field(max_length=_MAX_CHANNELS)] | None = None


Normalisation = Annotated[NoNormalisation | ZScore | Alignment, Field(discriminator="kind")]


class Contract(_Strict):
    """Demands of a model on the signal.

    Parameters
    ----------
    channels : tuple of str
        Labels (10-10 names where they exist) in the order of the model's input.
    sfreq : float
        Sampling rate in hertz.
    unit : {"V", "mV", "uV", "nV"}
        Unit of the conditioned samples.
    reference : str
        Reference and ground of the training data, free text for the person at the cap.
    sos : tuple of 6-tuples
        The filters' second-order sections at ``sfreq``; designed when empty, verified when given.
    window_samples, hop_samples : int
        Length of a window and default distance between two, in conditioned samples.
    classes : tuple of str
        Class names in the order of the logits.
    temperature : float
        Softmax temperature: probabilities are ``softmax(logits / temperature)``.

    Raises
    ------
    ContractError
        From :meth:`parse` and :meth:`read`, when a document does not hold together.
    """

    version: Literal[1] = 1
    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=_MAX_CHANNELS)]
    sfreq: Annotated[float, Field(ge=1, le=_MAX_SFREQ)]
    unit: Unit = "uV"
    reference: Annotated[str, Field(max_length=10_000)] = ""
    filters: Filters = Filters()
    sos: Annotated[Sections, Field(max_length=512)] = ()
    normalisation: Normalisation = NoNormalisation()
    window_samples: Samples
    hop_samples: Samples
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=1000)]
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for what, names in (("channel", self.channels), ("class", self.classes)):
            folded = Counter(name.casefold() for name in names)
            twice = sorted({name for name in names if folded[name.casefold()] > 1})
            if twice:
                msg = f"each {what} may be named once, but {', '.join(twice)} appear more than once"
                raise ValueError(msg)
        _check_normalisation(self.normalisation, len(self.channels), self.window_samples)
        self.filters.check(self.sfreq)
        if not self.sos:
            object.__setattr__(self, "sos", self.filters.design(self.sfreq))
        elif not self.filters.match(self.sos, self.sfreq):
            msg = "the stored second-order sections are not those of the stated filters"
            raise ValueError(msg)
        if not _settling(self.sos) <= _MAX_SETTLING_SECONDS * self.sfreq:
            msg = (
                f"the filters settle in {_MAX_SETTLING_SECONDS:g} s at most, these take longer or are unstable; "
                "raise the high-pass frequency, or lower an order or a quality"
            )
            raise ValueError(msg)
        return self

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def settling_samples(self) -> int:
        """Samples until the transient of the slowest pole ``p`` is below one percent: the least n, ``|p| ** n <= 0.01``."""
        return math.ceil(_settling(self.sos))

    @classmethod
    def parse(cls, document: str | bytes | dict[str, Any], where: str = "contract") -> Contract:
        """Read a contract from JSON text or a mapping; ``where`` is its origin for error messages, all ContractErrors."""
        data = document
        if isinstance(data, str | bytes):
            data = parse_json_object(data, where, "a contract", ContractError)
        if data.get("version") != CONTRACT_VERSION:
            msg = (
                f"{where}: expected contract version {CONTRACT_VERSION}, found {reprlib.repr(data.get('version'))}; "
                "export the bundle again with this version of Mindwire, or update Mindwire."
            )
            raise ContractError(msg)
        try:
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            place, reason = first_fault(error)
            msg = f"{where}: the contract is not valid at {place or 'contract'}: {reason}."
            raise ContractError(msg) from error
        except (ValueError, RecursionError) as error:
            msg = f"{where}: the contract holds text or nesting that no contract has; check the file."
            raise ContractError(msg) from error

    @classmethod
    def read(cls, path: Path | str) -> Contract:
        """Read a contract from a file; see :meth:`parse`."""
        return cls.parse(read_regular(Path(path), _MAX_BYTES, ContractError), str(path))

    def to_json(self) -> str:
        """Return the contract as indented JSON that :meth:`parse` reads back to an equal contract."""
        return self.model_dump_json(indent=2) + "\n"


def _check_normalisation(norm: Normalisation, n: int, window_samples: int) -> None:
    sizes = {"window_samples": window_samples}
    if isinstance(norm, Alignment):
        sizes["update_samples"] = norm.update_samples
    for what, samples in sizes.items():
        if samples * n > _MAX_WINDOW_VALUES:
            msg = f"{what} x channels may be {_MAX_WINDOW_VALUES} at most, found {samples} x {n}"
            raise ValueError(msg)
    if isinstance(norm, ZScore) and not len(norm.mean) == len(norm.std) == n:
        msg = f"zscore needs {n} means and {n} deviations, found {len(norm.mean)} and {len(norm.std)}"
        raise ValueError(msg)
    if isinstance(norm, Alignment) and norm.warm_start is not None:
        matrix = np.asarray([list(row) for row in norm.warm_start if len(row) == n])
        if matrix.shape != (n, n) or not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
            msg = f"the warm start must be a symmetric positive definite matrix of {n} x {n}"
            raise ValueError(msg)
    if isinstance(norm, Alignment) and norm.rest_axis is not None:
        axis = np.asarray([list(row) for row in norm.rest_axis if len(row) == n])
        if axis.shape != (n, n) or not np.isfinite(axis).all() or not np.allclose(axis, axis.T) or not axis.any():
            msg = f"the axis of rest must be a symmetric matrix of {n} x {n} that is not zero"
            raise ValueError(msg)


@lru_cache(maxsize=16)  # a stream's state says it each time
def _settling(sos: Sections) -> float:
    """Return the samples, as a real number, until the transient of the slowest pole is below one percent."""
    radius = max((float(abs(np.roots(row[3:])).max(initial=0.0)) for row in sos), default=0.0)
    if not 0 < radius < 1:
        return math.inf if radius else 0.0
    return math.log(0.01) / math.log(radius)
