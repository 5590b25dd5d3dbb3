"""Gate between runs: a fine-tuned model is accepted only if trials that neither was trained on show that it is better than the model in use.

The rule is fixed beforehand; docs/training.md gives it with figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.special import log_softmax
from scipy.stats import ttest_1samp

from mindwire.evaluation.comparison import PairedTrials
from mindwire.evaluation.metrics import chance_level, chance_p_value

ENOUGH_TRIALS: Final = 16  # a run of twenty of which some were not decided
_LEVEL, _STRICT_LEVEL = 0.05, 0.01

Code = Literal["better", "more_certain", "too_few_trials", "fewer_right", "not_more_certain", "at_chance"]


class Gate(BaseModel, frozen=True):
    """Trials that fine-tuned model and model in use decided, on which neither was trained, and what follows.

    ``codes`` say why: of an accepted model ``better`` (more right, McNemar's p at most 5 %) or ``more_certain``; of others
    ``too_few_trials``, ``fewer_right`` than the model in use, ``not_more_certain`` of what was right (its loss is not smaller at
    5 %, by a paired, one-sided t-test over the trials), ``at_chance`` (not better than guessing at 5 %, or at 1 % where the model in use is not either, as with wrong markers).
    ``p`` is of the exact test of McNemar. The losses are the mean negative log-likelihood of the true classes in nats, with
    each model at its best temperature for these trials. ``held_out`` says what was left out in turn.
    """

    accepted: bool
    codes: list[Code]
    candidate_right: int
    base_right: int
    trials: int
    only_candidate: int
    only_base: int
    p: float
    candidate_loss: float
    base_loss: float
    held_out: Literal["runs", "blocks"]


def judge(
    candidate: NDArray[np.floating],
    base: NDArray[np.floating],
    labels: NDArray[np.intp],
    held_out: Literal["runs", "blocks"],
) -> Gate:
    """Compare two models by their logits, ``(n_trials, n_classes)``, of the same trials ``(n_trials,)``."""
    right = [logits.argmax(axis=1) == labels for logits in (candidate, base)]
    n_right = [int(one.sum()) for one in right]
    losses = [_losses(logits, labels) for logits in (candidate, base)]
    pairs = PairedTrials.of(*(one.tolist() for one in right))
    chance = chance_level(np.bincount(labels, minlength=candidate.shape[1]))
    p_guessing = [chance_p_value(n, len(labels), chance) for n in n_right]
    faults: Sequence[tuple[Code, bool]] = (
        ("too_few_trials", len(labels) < ENOUGH_TRIALS),
        ("fewer_right", n_right[0] < n_right[1]),
        ("not_more_certain", not _is_less(*losses)),
        ("at_chance", p_guessing[0] > (_LEVEL if p_guessing[1] <= _LEVEL else _STRICT_LEVEL)),
    )
    codes = [code for code, found in faults if found]
    better = n_right[0] > n_right[1] and pairs.p_value <= _LEVEL
    return Gate(
        accepted=not codes,
        codes=codes or ["better" if better else "more_certain"],
        candidate_right=n_right[0],
        base_right=n_right[1],
        trials=len(labels),
        only_candidate=pairs.only_a,
        only_base=pairs.only_b,
        p=pairs.p_value,
        candidate_loss=float(losses[0].mean()) if len(labels) else 0.0,
        base_loss=float(losses[1].mean()) if len(labels) else 0.0,
        held_out=held_out,
    )


def _is_less(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    """Return whether the mean of one is less than that of the other, by a paired, one-sided t-test at 5 %."""
    difference = ours - theirs
    if len(difference) < 2 or np.ptp(difference) == 0:  # without spread there is no t
        return bool(len(difference) > 1 and difference[0] < 0)
    return bool(ttest_1samp(difference, 0.0, alternative="less").pvalue <= _LEVEL)


def _losses(logits: NDArray[np.floating], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each trial's class at the best temperature of all trials, in nats."""
    from mindwire_models.training.fit import fit_temperature

    if not len(labels):
        return np.zeros(0)
    scaled = log_softmax(logits.astype(np.float64) / fit_temperature(logits, labels), axis=1)
    return np.asarray(-scaled[np.arange(len(labels)), labels])
