"""Comparison of variants of a network by validation, as ``mindwire train --sweep`` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.table import Table

from mindwire.evaluation.pseudo_online import Progress
from mindwire.evaluation.tables import TextTable
from mindwire.training import fit
from mindwire.training.fit import Candidate
from mindwire.training.run import Prepared, train_candidates, validate, validate_baseline


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
    folds = prepared.folds or fit.make_folds(prepared.data)
    prepared = replace(prepared, folds=folds)
    candidates = [
        replace(
            candidate,
            recipe=replace(candidate.recipe, seed=candidate.recipe.seed + 1000 * index),
            network_arguments={**candidate.network_arguments, **combination},
        )
        for combination in combinations
        for index in range(n_seeds)
    ]
    fitted = train_candidates(prepared, candidates, final=False, progress=progress)
    scores = [validate(prepared, one.held_out).overall for one in fitted if one.held_out is not None]
    decided = f"decided {prepared.span.decided_at:g} s after the cue"
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
    baseline = validate_baseline(prepared)
    if baseline is not None and baseline.overall.accuracy is not None:
        kappa = "–" if baseline.overall.kappa is None else f"{baseline.overall.kappa:.2f}"
        rows.append(["tangent-space baseline", f"{baseline.overall.accuracy:.3f}", "", kappa, ""])
    title = f"{len(folds)} folds, {n_seeds} seeds, {decided}"
    return TextTable(["network", "accuracy", "± spread", "κ", "seeds"], rows, title=title).terminal()
