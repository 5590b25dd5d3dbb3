"""Comparison of variants of a network by validation, as ``mindwire train --sweep`` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.table import Table

from mindwire.evaluation.pseudo_online import Progress
from mindwire.evaluation.tables import TextTable
from mindwire.training.fit import Candidate, baseline_logits, make_folds, train_candidates, validate
from mindwire.training.run import Prepared


def sweep(
    prepared: Prepared,
    candidate: Candidate,
    combinations: Sequence[Mapping[str, Any]],
    n_seeds: int,
    progress: Progress | None = None,
) -> Table:
    """Validate variants of a network with several seeds each; the baseline is the last row.

    ``combinations`` are arguments of the network that replace the candidate's.
    """
    data = prepared.data
    folds = prepared.folds or make_folds(data)
    candidates = [
        replace(
            candidate,
            recipe=replace(candidate.recipe, seed=candidate.recipe.seed + 1000 * index),
            network_arguments={**candidate.network_arguments, **combination},
        )
        for combination in combinations
        for index in range(n_seeds)
    ]
    fitted = train_candidates(data, candidates, folds, final=False, workers=prepared.workers, progress=progress)
    logits = [*(one.held_out for one in fitted), baseline_logits(data, folds)]
    *scores, baseline = [validate(data, one).overall for one in logits if one is not None]
    rows = []
    for row, combination in enumerate(combinations):
        part = scores[row * n_seeds : (row + 1) * n_seeds]
        accuracies = np.array([one.accuracy if one.accuracy is not None else np.nan for one in part])
        kappas = [one.kappa for one in part if one.kappa is not None]
        rows.append(
            [
                ", ".join(f"{key}={value}" for key, value in combination.items()) or "default",
                f"{accuracies.mean():.3f}",
                f"{accuracies.std():.3f}",
                f"{np.mean(kappas):.2f}" if kappas else "–",
                " ".join(f"{accuracy:.3f}" for accuracy in accuracies),
            ]
        )
    if baseline.accuracy is not None:
        kappa = "–" if baseline.kappa is None else f"{baseline.kappa:.2f}"
        rows.append(["tangent-space baseline", f"{baseline.accuracy:.3f}", "", kappa, ""])
    title = f"{len(folds)} folds, {n_seeds} seeds, decided {data.decided_at:g} s after the cue"
    return TextTable(["network", "accuracy", "± spread", "κ", "seeds"], rows, title=title).terminal()
