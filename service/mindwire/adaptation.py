"""What a session has learnt of a person, to be kept: written to a file, put into a recording, begun with again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from mindwire.errors import ContractError
from mindwire.signal.alignment import AlignmentState
from mindwire_models.atomic import replace_file
from mindwire_models.contract import Contract

_FORMAT = "mindwire-adaptation-1"
_ALIGNMENT, _NETWORK = "alignment.", "network."
# The cap sits differently each time, so what was learnt before counts as no more than a minute of the new session.
_WARM_START_SECONDS = 60.0
_LARGEST_FILE = 64 << 20
_DTYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "U8": np.uint8}


@dataclass(frozen=True, slots=True)
class SavedAdaptation:
    """What a session has learnt.

    Parameters
    ----------
    signal : str
        Hash of what the contract says of the signal: channels, rate, unit, filters.
    alignment : AlignmentState or None
        None before any good sample, and where nothing is aligned.
    network : mapping of str to ndarray
        What the decoder learnt (:meth:`mindwire.inference.decoder.Learner.save`); empty where it does not learn.
    """

    signal: str
    alignment: AlignmentState | None = None
    network: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, contract: Contract, alignment: AlignmentState | None, network: Mapping[str, NDArray[Any]]
    ) -> SavedAdaptation:
        """What was learnt of a signal that meets a contract."""
        return cls(_signal_hash(contract), alignment, dict(network))

    @property
    def alignment_alone(self) -> SavedAdaptation:
        """The same without what the decoder learnt."""
        return replace(self, network={})

    @property
    def empty(self) -> bool:
        """Whether nothing was learnt."""
        return self.alignment is None and not self.network

    def with_more_of(self, other: SavedAdaptation | None) -> SavedAdaptation:
        """The same, with the other's alignment and network where that has learnt of the same signal and more.

        Parameters
        ----------
        other : SavedAdaptation or None

        Returns
        -------
        SavedAdaptation
        """
        if other is None or other.signal != self.signal:
            return self
        mine, its = self.alignment, other.alignment
        more = its is not None and (mine is None or its.good_samples > mine.good_samples)
        return replace(self, alignment=its if more else mine, network=self.network or other.network)

    def check(self, contract: Contract) -> None:
        """Refuse what was learnt of another kind of signal.

        Raises
        ------
        ContractError
            Channels, rate, unit or filters differ.
        """
        if self.signal != _signal_hash(contract):
            msg = (
                "The saved adaptation was learnt with other channels, another rate, unit or other filters than the "
                "model's; leave it out, or record a minute at rest and give that with --warm-start."
            )
            raise ContractError(msg)

    def warm_start(self, contract: Contract) -> AlignmentState:
        """The alignment to begin with: of at most a minute's weight, so that the new session soon outweighs it.

        Raises
        ------
        ContractError
            Nothing was aligned.
        """
        if self.alignment is None:
            msg = "The saved adaptation holds no alignment; give another one."
            raise ContractError(msg)
        return replace(self.alignment, weight=min(self.alignment.weight, _WARM_START_SECONDS * contract.sfreq))

    def to_bytes(self) -> bytes:
        """As a safetensors file; the same for the same state."""
        arrays = {_NETWORK + name: np.ascontiguousarray(array) for name, array in sorted(self.network.items())}
        if self.alignment is not None:
            arrays[_ALIGNMENT + "covariance"] = np.ascontiguousarray(self.alignment.covariance)
            arrays[_ALIGNMENT + "weight"] = np.array([self.alignment.weight], dtype=np.float64)
            arrays[_ALIGNMENT + "good_samples"] = np.array([self.alignment.good_samples], dtype=np.int64)
        # One entry: the order of several would differ from one time to the next.
        return bytes(save(arrays, {_FORMAT: self.signal}))

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "adaptation") -> SavedAdaptation:
        """Read what :meth:`to_bytes` gave.

        Parameters
        ----------
        data : bytes
        where : str
            Names the origin in error messages.

        Raises
        ------
        ContractError
            It is no saved adaptation, or it does not hold together.
        """
        refused = ContractError(f"{where}: expected a saved adaptation, found something else or a damaged one.")
        try:
            about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
            arrays = {name: _array(tensor) for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call]
        except (SafetensorError, ValueError, AttributeError, KeyError, OverflowError) as error:
            raise refused from error
        if not isinstance(about.get(_FORMAT), str):
            raise refused
        network = {name.removeprefix(_NETWORK): a for name, a in arrays.items() if name.startswith(_NETWORK)}
        return cls(about[_FORMAT], _alignment(arrays, refused), network)

    def to_text(self) -> str:
        """As text, for a recording's notes."""
        return base64.b64encode(self.to_bytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> SavedAdaptation:
        """Read what :meth:`to_text` gave.

        Raises
        ------
        ContractError
            As :meth:`from_bytes`.
        """
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError as error:
            msg = "Expected a saved adaptation as text, found something else."
            raise ContractError(msg) from error
        return cls.from_bytes(data)

    @classmethod
    def read(cls, path: Path) -> SavedAdaptation:
        """Read a file.

        Raises
        ------
        ContractError
            The file cannot be read, or as :meth:`from_bytes`.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST_FILE)
        except OSError as error:
            msg = f"{path}: the saved adaptation cannot be read ({error.strerror}); check the path."
            raise ContractError(msg) from error
        return cls.from_bytes(data, str(path))

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all.

        Raises
        ------
        OSError
            It cannot be written; what was there before is unchanged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, self.to_bytes())


def _signal_hash(contract: Contract) -> str:
    words = contract.model_dump(mode="json", include={"channels", "sfreq", "unit", "filters"})
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _array(tensor: Mapping[str, Any]) -> NDArray[Any]:
    return np.frombuffer(bytes(tensor["data"]), dtype=_DTYPES[tensor["dtype"]]).reshape(tensor["shape"]).copy()


def _alignment(arrays: Mapping[str, NDArray[Any]], refused: ContractError) -> AlignmentState | None:
    found = {name.removeprefix(_ALIGNMENT): a for name, a in arrays.items() if name.startswith(_ALIGNMENT)}
    if not found:
        return None
    if set(found) != {"covariance", "weight", "good_samples"} or found["weight"].shape != (1,):
        raise refused
    covariance, weight = found["covariance"].astype(np.float64), float(found["weight"][0])
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    if not (square and np.isfinite(covariance).all() and np.isfinite(weight) and weight > 0):
        raise refused
    if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[-1] <= 0:
        raise refused
    return AlignmentState(covariance, weight, int(found["good_samples"][0]))
