"""Saved adaptation: what a session has learnt of a person, in a file or a recording, for the next session."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mindwire.errors import ContractError
from mindwire.signal.alignment import AlignmentState
from mindwire_models.atomic import replace_file
from mindwire_models.contract import Contract

_FORMAT = "mindwire-adaptation-1"
_ALIGNMENT, _NETWORK = "alignment.", "network."
# The cap sits differently each time, so a saved alignment counts as no more than a minute of the new session.
_WARM_START_SECONDS = 60.0
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class SavedAdaptation:
    """Alignment and decoder as a session has adapted them to a person."""

    signal: str  # hash of the contract's channels, rate, unit and filters
    alignment: AlignmentState | None = None  # None before any good sample, and for a model without alignment
    network: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # of the decoder, as Learner.save returns it

    @property
    def alignment_alone(self) -> Self:
        """The alignment without the decoder's part."""
        return replace(self, network={})

    @property
    def empty(self) -> bool:
        """True if nothing was learnt."""
        return self.alignment is None and not self.network

    def with_more_of(self, other: Self | None) -> Self:
        """Return this adaptation with the parts of another of the same signal that has seen more of it."""
        if other is None or other.signal != self.signal:
            return self
        mine, its = self.alignment, other.alignment
        more = its is not None and (mine is None or its.good_samples > mine.good_samples)
        return replace(self, alignment=its if more else mine, network=self.network or other.network)

    def check(self, contract: Contract) -> None:
        """Refuse, with a ContractError, an adaptation to other channels or another rate, unit or filters."""
        if self.signal != signal_hash(contract):
            msg = (
                "The saved adaptation was learnt with other channels, another rate, unit or other filters than the "
                "model's; leave it out, or record a minute at rest and give that with --warm-start."
            )
            raise ContractError(msg)

    def warm_start(self, contract: Contract) -> AlignmentState:
        """Return the alignment to begin a session with, of at most a minute's weight so that the session outweighs it.

        Raises
        ------
        ContractError
            Nothing was aligned.
        """
        if self.alignment is None:
            msg = "The saved adaptation holds no alignment; give another one."
            raise ContractError(msg)
        weight = min(self.alignment.weight, _WARM_START_SECONDS * contract.sfreq)
        # rest is limited about a mean of this session, for learning stops at the limit
        return replace(self.alignment, weight=weight, reference=None, most_active=0.0)

    def to_bytes(self) -> bytes:
        """Return the content of a safetensors file; equal for equal states."""
        arrays = {_NETWORK + name: np.ascontiguousarray(array) for name, array in sorted(self.network.items())}
        if self.alignment is not None:
            arrays[_ALIGNMENT + "covariance"] = np.ascontiguousarray(self.alignment.covariance)
            arrays[_ALIGNMENT + "weight"] = np.array([self.alignment.weight], dtype=np.float64)
            arrays[_ALIGNMENT + "good_samples"] = np.array([self.alignment.good_samples], dtype=np.int64)
            if self.alignment.reference is not None:
                arrays[_ALIGNMENT + "reference"] = np.ascontiguousarray(self.alignment.reference)
                arrays[_ALIGNMENT + "most_active"] = np.array([self.alignment.most_active], dtype=np.float64)
        # One entry, because the order of several is not reproducible.
        return bytes(save(arrays, {_FORMAT: self.signal}))

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "adaptation") -> Self:
        """Parse the content of a file, as :meth:`to_bytes` returns it; ``where`` is its origin, for messages.

        Raises
        ------
        ContractError
            It is no saved adaptation, or a damaged one.
        """
        refused = ContractError(f"{where}: expected a saved adaptation, found something else or a damaged one.")
        try:
            about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
            arrays = load(data)
        except (SafetensorError, ValueError, AttributeError, KeyError, OverflowError) as error:
            raise refused from error
        if not isinstance(about.get(_FORMAT), str):
            raise refused
        network = {name.removeprefix(_NETWORK): a for name, a in arrays.items() if name.startswith(_NETWORK)}
        return cls(about[_FORMAT], _alignment(arrays, refused), network)

    def to_text(self) -> str:
        """Return the adaptation as text, for the notes of a recording."""
        return base64.b64encode(self.to_bytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse text, as :meth:`to_text` returns it; raises as :meth:`from_bytes`."""
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError as error:
            msg = "Expected a saved adaptation as text, found something else."
            raise ContractError(msg) from error
        return cls.from_bytes(data)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; a ContractError if it cannot be read, or as :meth:`from_bytes`."""
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST_FILE)
        except OSError as error:
            msg = f"{path}: the saved adaptation cannot be read ({error.strerror}); check the path."
            raise ContractError(msg) from error
        return cls.from_bytes(data, str(path))

    def write(self, path: Path) -> None:
        """Write a file, completely or not at all.

        Raises
        ------
        OSError
            It cannot be written; a file that existed before is unchanged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, self.to_bytes())


def signal_hash(contract: Contract) -> str:
    """Return the hash of a contract's channels, rate, unit and filters."""
    words = contract.model_dump(mode="json", include={"channels", "sfreq", "unit", "filters"})
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _alignment(arrays: Mapping[str, NDArray[Any]], refused: ContractError) -> AlignmentState | None:
    found = {name.removeprefix(_ALIGNMENT): a for name, a in arrays.items() if name.startswith(_ALIGNMENT)}
    if not found:
        return None
    # files without the limit on rest have the first three alone
    limited = {"reference", "most_active"} & set(found)
    if (
        set(found) - limited != {"covariance", "weight", "good_samples"}
        or len(limited) == 1
        or found["weight"].shape != (1,)
    ):
        raise refused
    covariance, weight = found["covariance"].astype(np.float64), float(found["weight"][0])
    reference = found["reference"].astype(np.float64) if limited else None
    if not 0 < weight < np.inf:
        raise refused
    for matrix in (covariance,) if reference is None else (covariance, reference):
        square = matrix.ndim == 2 and matrix.shape == covariance.shape and matrix.shape[0] == matrix.shape[1]
        if not (square and np.isfinite(matrix).all() and np.allclose(matrix, matrix.T)):
            raise refused
        if np.linalg.eigvalsh(matrix)[-1] <= 0:
            raise refused
    most_active = float(found["most_active"].ravel()[0]) if limited and found["most_active"].size else 0.0
    if not np.isfinite(most_active):
        raise refused
    return AlignmentState(covariance, weight, int(found["good_samples"][0]), reference, most_active)
