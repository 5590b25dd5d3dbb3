"""What the predictions of a cap must be, whatever happened to it: computed from its samples by other means."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.signal import sosfilt

from mindwire.types import Reason, Window
from mindwire_models.contract import Contract
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import TABLE, Cap, table_of
from tests.support.streaming import contract

# Settled means that one percent of a gap's transient is left; a window that mixes two signals differs by tenths.
TOLERANCE = 0.05


def law(**changes) -> Contract:
    """As :func:`tests.support.streaming.contract`; a window gives what its own samples are, and probabilities are moderate."""
    values = {"normalisation": {"kind": "none"}, "temperature": 300.0, "classes": ("feet", "left", "right", "tongue")}
    return contract(**{**values, **changes})


@cache
def _truth(document: str, seed: int) -> np.ndarray:
    rules = Contract.parse(document)
    samples = np.tile(table_of(rules.n_channels, seed).astype(np.float64), (3, 1))
    filtered = sosfilt(rules.sos, samples, axis=0).astype(np.float32)
    decoder, identity = LinearDecoder(len(rules.classes)), np.eye(rules.n_channels, dtype=np.float32)
    rows = []
    for end in range(2 * TABLE + 1, 3 * TABLE + 1):
        window = filtered[end - rules.window_samples : end]
        rows.append(decoder.decode([None], [Window(0, 0.0, window, identity, 0, 0, end, Reason.NONE)])[0])
    logits = np.array(rows, dtype=np.float64) / rules.temperature
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def true_probabilities(rules: Contract, seed: int) -> np.ndarray:
    """Probabilities by the index of a window's last sample modulo the period, (TABLE, n_classes)."""
    return _truth(rules.to_json(), seed)


def error(rules: Contract, cap: Cap, prediction, shift: float = 0.0, slack: int = 1) -> float:
    """How far a prediction is from the truth at its time; 9 when the cap had not sent a whole window by then."""
    index = round(cap.index_at(prediction.time, shift))
    if index + slack < cap.spec.start_index + rules.window_samples - 1:
        return 9.0
    rows = true_probabilities(rules, cap.spec.seed)[(index + np.arange(-slack, slack + 1)) % TABLE]
    return float(np.abs(rows - prediction.probabilities).max(axis=1).min())
