"""Fine-tuning of a model on the trials of a person, and its comparison with the model in use on trials that neither was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    Tune = Callable[[TrialWindows], Module]

_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class RunTrials:
    """Conditioned trials of one recording; ``known`` if the model in use was trained on it."""

    source: RecordingSource
    data: RecordedTrials
    span: TrialSpan
    known: bool


class RunCount(BaseModel, frozen=True):
    """Trials of one run that fine-tuned model and model in use decided right, on which neither was trained."""

    recording: str
    trials: int
    candidate_right: int
    base_right: int


@dataclass(frozen=True, slots=True)
class Update:
    """A fine-tuned module, None where the gate rejected it, counts per run, and the softmax temperature fitted to held-out trials."""

    module: Module | None
    gate: Gate
    per_run: list[RunCount]
    temperature: float


def tuner(base: Module, past: Sequence[RunTrials], *, retrain: bool, seed: int = 0) -> Tune:
    """Return what makes a model of a session's trials, from the model in use and the person's earlier sessions.

    Baseline: its weights are fitted to the past, if there is one, then to the session, each time with a penalty on
    their change. Network: with ``retrain`` it is trained from the tangent space of past and session together; otherwise
    on from its own weights, on the past and then on the session. Calls of the result raise an ArgumentError where there are too few trials.
    """
    from mindwire_models.network.riemann import TangentSpaceNetwork, update_tangent_space
    from mindwire_models.training.fit import CALIBRATION, FINE_TUNING, fine_tune, train_network

    if isinstance(base, TangentSpaceNetwork):

        def fitted(module: TangentSpaceNetwork, trials: TrialWindows) -> TangentSpaceNetwork:
            weights = 1 / np.bincount(trials.trial)[trials.trial]
            return update_tangent_space(module, trials.windows, trials.labels[trials.trial], weights=weights)

        of_past = fitted(base, together(past)) if past else base
        return lambda session: fitted(of_past, session)

    def of_each(module: Module, make: Callable[[AttentionBaseNet, int], AttentionBaseNet]) -> Module:
        """Return the module with each of its networks made into another, with successive seeds."""
        from mindwire_models.network.ensemble import Ensemble

        members: Sequence[Any] = list(module.members) if isinstance(module, Ensemble) else [module]
        with _one_thread():
            made = [make(member, seed + index) for index, member in enumerate(members)]
        return Ensemble(made).eval() if isinstance(module, Ensemble) else made[0]

    earlier = [together(past)] if past else []
    if retrain:
        sizes = ("n_chans", "n_times", "n_outputs")

        def trained(member: AttentionBaseNet, seed: int, session: TrialWindows) -> AttentionBaseNet:
            arguments = {key: value for key, value in member.get_config().items() if key not in sizes}
            arguments["activation"] = type(member.channel_expansion[-1])  # the configuration has its name
            recipe = replace(CALIBRATION, seed=seed)
            return train_network(joined([*earlier, session]), member.n_outputs, recipe, network_arguments=arguments)

        return lambda session: of_each(base, lambda member, seed: trained(member, seed, session))

    def tuned(module: Module, trials: TrialWindows, before: TrialWindows | None) -> Module:
        return of_each(
            module, lambda member, seed: fine_tune(member, trials, before, recipe=replace(FINE_TUNING, seed=seed))
        )

    start = tuned(base, earlier[0], None) if earlier else base
    return lambda session: tuned(start, session, earlier[0] if earlier else None)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give PyTorch one thread, for results would depend on their number."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def update(
    base: Module,
    session: Sequence[RunTrials],
    tune: Tune,
    progress: Progress | None = None,
) -> Update:
    """Make a model of this session's runs, and judge it beside the model in use on runs that neither was trained on.

    Those are the runs of the session that the model in use was not trained on, each left out in turn; of a single one, five blocks of
    successive trials. Progress counts trainings. An ArgumentError says that every run is known, or that there are too few trials.
    """
    new = [index for index, run in enumerate(session) if not run.known]
    if not new:
        msg = "The model in use was trained on every run of this session, so that none can tell whether another is better; record another run."
        raise ArgumentError(msg)
    folds = [(index, _trials_of(session[index])) for index in new]
    held_out: Literal["runs", "blocks"] = "runs" if len(new) > 1 else "blocks"
    if len(new) == 1:
        folds = [(new[0], block) for block in np.array_split(folds[0][1], _BLOCKS)]
    folds = [(index, trials) for index, trials in folds if np.isin(session[index].data.decided, trials).any()]
    if not folds:
        msg = "No trial of the new runs has a valid window at the moment of its decision, so that none can tell whether another model is better; record another run."
        raise ArgumentError(msg)
    total = len(folds) + 1

    def done(count: int) -> None:
        if progress is not None:
            progress(count, total)

    candidate, in_use, labels, of_run, windows, of_windows = [], [], [], [], [], []
    for count, (index, trials) in enumerate(folds):
        data = session[index].data
        tuned = tune(together(session, without=(index, trials)))
        deciding, tested = np.isin(data.decided, trials), np.isin(data.trial, trials)
        candidate.append(logits(tuned, data.deciding[deciding]))
        in_use.append(logits(base, data.deciding[deciding]))
        labels.append(data.labels[data.decided[deciding]])
        of_run += [index] * len(labels[-1])
        windows.append(logits(tuned, data.windows[tested]))
        of_windows.append(data.labels[data.trial[tested]])
        done(count + 1)
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
    module = tune(together(session)) if gate.accepted else None
    done(total)
    from mindwire_models.training.fit import fit_temperature

    temperature = fit_temperature(np.concatenate(windows), np.concatenate(of_windows), len(true))
    return Update(module, gate, per_run, temperature)


def _trials_of(run: RunTrials) -> NDArray[np.intp]:
    return np.arange(len(run.data.labels))


def together(runs: Sequence[RunTrials], without: tuple[int, NDArray[np.intp]] | None = None) -> TrialWindows:
    """Return the windows of runs as one set; ``without`` names a run by its place and trials of it to leave out.

    An ArgumentError says that no window is left.
    """
    parts = []
    for index, run in enumerate(runs):
        data = run.data
        kept = np.ones(len(data.trial), dtype=bool)
        if without is not None and without[0] == index:
            kept = ~np.isin(data.trial, without[1])
        if kept.any():
            usable, trial = np.unique(data.trial[kept], return_inverse=True)
            parts.append(TrialWindows(data.windows[kept], trial, data.labels[usable]))
    if not parts:
        msg = "The trials that have valid windows are too few to hold some out and train on the others; record another run."
        raise ArgumentError(msg)
    return joined(parts)


def joined(parts: Sequence[TrialWindows]) -> TrialWindows:
    """Return several sets of trials, at least one, as one."""
    starts = np.cumsum([0, *(len(part.labels) for part in parts)])
    return TrialWindows(
        np.concatenate([part.windows for part in parts]),
        np.concatenate([part.trial + start for part, start in zip(parts, starts, strict=False)]).astype(np.intp),
        np.concatenate([part.labels for part in parts]),
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
