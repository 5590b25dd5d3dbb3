"""Fine-tuning of a model on the trials of a person, and its comparison with the model in use on trials that neither has met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from mindwire.errors import ArgumentError
from mindwire.evaluation.pseudo_online import Progress
from mindwire.training.data import RecordedTrials, RecordingSource, TrialSpan
from mindwire.training.gate import Gate, judge
from mindwire_models.training.trials import TrialWindows

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann import TangentSpaceNetwork

    Module = AttentionBaseNet | Ensemble | TangentSpaceNetwork
    Tune = Callable[[Module, TrialWindows], Module]

_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class RunTrials:
    """Conditioned trials of one recording; ``known`` if the model in use was trained on it."""

    source: RecordingSource
    data: RecordedTrials
    span: TrialSpan
    known: bool


class RunCount(BaseModel, frozen=True):
    """Trials of one run that fine-tuned model and model in use decided right, both without having met them."""

    recording: str
    trials: int
    candidate_right: int
    base_right: int


@dataclass(frozen=True, slots=True)
class Update:
    """A fine-tuned module with its gate, counts per run, and the softmax temperature fitted to held-out trials."""

    module: Module
    gate: Gate
    per_run: list[RunCount]
    temperature: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Fine-tuning of a module of any kind on some trials, repeatable by its seed."""

    seed: int = 0

    def __call__(self, module: Module, trials: TrialWindows) -> Module:
        """Return a fine-tuned copy; an ArgumentError says that there are too few trials."""
        import torch

        from mindwire_models.network.ensemble import Ensemble
        from mindwire_models.network.riemann import TangentSpaceNetwork, update_tangent_space
        from mindwire_models.training.fit import FINE_TUNING, fine_tune

        if isinstance(module, TangentSpaceNetwork):
            weights = 1 / np.bincount(trials.trial)[trials.trial]
            return update_tangent_space(module, trials.windows, trials.labels[trials.trial], weights=weights)
        recipe = replace(FINE_TUNING, seed=self.seed)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # results would depend on their number
        try:
            if not isinstance(module, Ensemble):
                return fine_tune(module, trials, recipe)
            members: Sequence[Any] = list(module.members)
            tuned = [fine_tune(one, trials, replace(recipe, seed=self.seed + i)) for i, one in enumerate(members)]
            return Ensemble(tuned).eval()
        finally:
            torch.set_num_threads(threads)


def update(
    base: Module,
    past: Sequence[RunTrials],
    session: Sequence[RunTrials],
    tune: Tune,
    progress: Progress | None = None,
) -> Update:
    """Fine-tune the model in use, and judge it on runs that neither was trained on.

    Those are the runs of the session that the model in use was not trained on, each left out in turn; of a single one, five blocks of
    successive trials. The past is trained on unless it is known altogether. An
    ArgumentError says that every run is known, or that there are too few trials.
    """
    new = [index for index, run in enumerate(session) if not run.known]
    if not new:
        msg = "The model in use was trained on every run of this session, so that none can tell whether another is better; record another run."
        raise ArgumentError(msg)
    folds = [(index, _trials_of(session[index])) for index in new]
    held_out: Literal["runs", "blocks"] = "runs" if len(new) > 1 else "blocks"
    if len(new) == 1:
        folds = [(new[0], block) for block in np.array_split(folds[0][1], _BLOCKS)]
    total = len(folds) + 2

    def done(count: int) -> None:
        if progress is not None:
            progress(count, total)

    joint = base if all(run.known for run in past) else tune(base, _together(past))
    done(1)
    candidate, in_use, labels, of_run, windows, of_windows = [], [], [], [], [], []
    for count, (index, trials) in enumerate(folds):
        data = session[index].data
        tuned = tune(joint, _together(session, without=(index, trials)))
        deciding, tested = np.isin(data.decided, trials), np.isin(data.trial, trials)
        candidate.append(logits(tuned, data.deciding[deciding]))
        in_use.append(logits(base, data.deciding[deciding]))
        labels.append(data.labels[data.decided[deciding]])
        of_run += [index] * len(labels[-1])
        windows.append(logits(tuned, data.windows[tested]))
        of_windows.append(data.labels[data.trial[tested]])
        done(count + 2)
    ours, theirs, true = np.concatenate(candidate), np.concatenate(in_use), np.concatenate(labels)
    gate = judge(ours, theirs, true, held_out)
    right = [one.argmax(axis=1) == true for one in (ours, theirs)]
    per_run = [
        RunCount(
            recording=session[index].source.path.name,
            trials=of_run.count(index),
            candidate_right=int(right[0][np.equal(of_run, index)].sum()),
            base_right=int(right[1][np.equal(of_run, index)].sum()),
        )
        for index in new
    ]
    module = tune(joint, _together(session))
    done(total)
    from mindwire_models.training.fit import fit_temperature

    temperature = fit_temperature(np.concatenate(windows), np.concatenate(of_windows))
    return Update(module, gate, per_run, temperature)


def _trials_of(run: RunTrials) -> NDArray[np.intp]:
    return np.arange(len(run.data.labels))


def _together(runs: Sequence[RunTrials], without: tuple[int, NDArray[np.intp]] | None = None) -> TrialWindows:
    """Return the windows of runs as one set, without some trials of one of them."""
    parts = []
    for index, run in enumerate(runs):
        data = run.data
        kept = np.ones(len(data.trial), dtype=bool)
        if without is not None and without[0] == index:
            kept = ~np.isin(data.trial, without[1])
        usable, trial = np.unique(data.trial[kept], return_inverse=True)
        parts.append((data.windows[kept], trial, data.labels[usable]))
    counts = np.cumsum([0, *(len(labels) for _, _, labels in parts)])
    trials = [trial + start for (_, trial, _), start in zip(parts, counts[:-1], strict=True)]
    return TrialWindows(
        np.concatenate([windows for windows, _, _ in parts]),
        np.concatenate(trials).astype(np.intp),
        np.concatenate([labels for _, _, labels in parts]),
    )


def logits(module: Module, windows: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Return a module's logits, ``(n_windows, n_classes)``, of aligned windows ``(n_windows, n_chans, n_times)``."""
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann import TangentSpaceNetwork
    from mindwire_models.training.fit import predict_logits

    if isinstance(module, TangentSpaceNetwork):
        return module.logits(windows)
    members: Sequence[Any] = list(module.members) if isinstance(module, Ensemble) else [module]
    return np.asarray(np.mean([predict_logits(one, windows) for one in members], axis=0))
