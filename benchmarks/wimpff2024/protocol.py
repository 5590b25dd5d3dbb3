"""The protocol of Wimpff et al. 2024 on BCI Competition IV 2a, compared with the live pipeline on the same days.

The authors filter each run as a whole with a zero-phase filter, cut windows of four seconds at the cue, standardise
each channel and time point over trials, train on a person's first day and score the second. Neither the filter nor
the cue is available live, so the same network is also trained and scored through the live pipeline.

Two differences from the authors' training remain: batches have nearly equal instead of full size, and the
learning-rate warm-up begins one step later.

References
----------
Wimpff, Gizzi, Zerfowski & Yang 2024, "EEG motor imagery decoding: a framework for comparative analysis with
channel attention mechanisms", arXiv 2310.11198; its published configuration for BaseNet on data set 2a.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.wimpff2024.bcic2a import CLASSES, Session
from benchmarks.wimpff2024.published import N_PEOPLE, ROWS, SOURCE, row_of
from mindwire.errors import MissingExtraError, RecordingError
from mindwire.evaluation.metrics import wilson_interval
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.offline.trials import trials_from_markers
from mindwire.training.data import TrialSpan, collect_trials
from mindwire_models.contract import Contract
from mindwire_models.presets import BCIC2A
from mindwire_models.training.fit import Recipe, predict_logits, train_network
from mindwire_models.training.trials import TrialWindows

NOTICE = (
    "The column 'authors' protocol' is only for comparison with their paper: its filter uses future samples and its "
    "windows are cut at the cue, so nothing of it runs live. The column 'live pipeline' gives what runs live."
)
EPOCHS = 1000
_WINDOW_SECONDS = 4.0
_HIGH_CUT_HERTZ = 40.0
# Live windows end on the hop grid, not at the cue: half a second more than a window leaves room for several.
_LIVE_SPAN = TrialSpan(offset=0.0, length=4.5, decided_at=_WINDOW_SECONDS)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the protocol.

    Parameters
    ----------
    epochs : int
        1000 in the paper.
    seeds : tuple of int
        One network is trained per seed.
    network_arguments : mapping
        Further arguments of the network, ``attention_mode`` for example.
    """

    epochs: int = EPOCHS
    seeds: tuple[int, ...] = (0,)
    network_arguments: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, seed: int) -> Recipe:
        """The authors' training."""
        return Recipe(
            epochs=self.epochs,
            warmup_epochs=20,
            batch_size=64,
            learning_rate=1e-3,
            weight_decay=0.0,
            label_smoothing=0.0,
            balanced=False,
            seed=seed,
        )


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Outcome(_Model):
    """Numbers of decided and of correct trials of a second day."""

    n_correct: int
    n_trials: int

    @property
    def accuracy(self) -> float:
        """Share of the decided trials that are correct; 0 without any."""
        return self.n_correct / self.n_trials if self.n_trials else 0.0


class PersonScore(_Model):
    """One person and seed, by the authors' protocol and through the live pipeline."""

    person: int
    seed: int
    authors_protocol: Outcome
    live_pipeline: Outcome


class PublishedScore(_Model):
    """A row of the authors' own table, in percent; ``trained_here`` marks the network of this report."""

    network: str
    accuracy: float
    deviation: float
    trained_here: bool


def _published(network_arguments: Mapping[str, Any]) -> list[PublishedScore]:
    ours = row_of(network_arguments)
    return [
        PublishedScore(network=row.network, accuracy=row.accuracy, deviation=row.deviation, trained_here=row is ours)
        for row in ROWS
    ]


class ProtocolReport(_Model):
    """Content of ``protocol.json``."""

    version: Literal[1] = 1
    protocol: Literal["wimpff2024"] = "wimpff2024"
    notice: str = NOTICE
    epochs: int
    network: dict[str, Any]
    scores: list[PersonScore]
    published: list[PublishedScore]
    published_source: str = SOURCE

    def means(self, column: Literal["authors_protocol", "live_pipeline"]) -> NDArray[np.float64]:
        """Mean accuracy over the people, one per seed; shape (n_seeds,)."""
        seeds = sorted({score.seed for score in self.scores})
        return np.array(
            [
                np.mean([getattr(score, column).accuracy for score in self.scores if score.seed == seed])
                for seed in seeds
            ]
        )


def run_protocol(
    people: Sequence[tuple[Session, Session]],
    settings: Settings,
    progress: Progress | None = None,
    contract: Contract = BCIC2A,
) -> ProtocolReport:
    """Train on first days and score second days, by the authors' protocol and through the live pipeline.

    Parameters
    ----------
    people : sequence of (Session, Session)
        From :func:`benchmarks.wimpff2024.bcic2a.read_sessions`.
    settings : Settings
    progress : callable, optional
        Called with the epochs done and the total number of epochs.
    contract : Contract
        Of the live pipeline.

    Returns
    -------
    ProtocolReport

    Raises
    ------
    RecordingError
        A session is too short for its trials.
    MissingExtraError
        The filter needs MNE-Python, which is not installed.
    """
    total = 2 * len(people) * len(settings.seeds) * settings.epochs
    done = 0

    def trained(data: TrialWindows, classes: Sequence[str], seed: int) -> Any:
        nonlocal done
        before = done

        def count(epoch: int, _total: int) -> None:
            if progress is not None:
                progress(before + epoch, total)

        network = train_network(
            data, len(classes), settings.recipe(seed), network_arguments=settings.network_arguments, progress=count
        )
        done = before + settings.epochs
        return network

    scores = []
    for first, second in people:
        offline, offline_windows, offline_labels = authors_data(first, second)
        live, live_windows, live_labels = live_data(first, second, contract)
        for seed in settings.seeds:
            theirs = _outcome(trained(offline, CLASSES, seed), offline_windows, offline_labels)
            ours = _outcome(trained(live, contract.classes, seed), live_windows, live_labels)
            scores += [PersonScore(person=first.person, seed=seed, authors_protocol=theirs, live_pipeline=ours)]
    return ProtocolReport(
        epochs=settings.epochs,
        network=dict(settings.network_arguments),
        scores=scores,
        published=_published(settings.network_arguments),
    )


def authors_data(first: Session, second: Session) -> tuple[TrialWindows, NDArray[np.float32], NDArray[np.intp]]:
    """Cut the windows of both days by the authors' protocol.

    Returns
    -------
    training : TrialWindows
        First day, one window per trial.
    windows : ndarray of float32, shape (n_trials, 22, n_times)
        Of the second day.
    labels : ndarray of int, shape (n_trials,)
        Index into :data:`~benchmarks.wimpff2024.bcic2a.CLASSES`.
    """
    (train, train_labels), (test, test_labels) = (_cut(session) for session in (first, second))
    # Per channel and time point, from the first day alone.
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation == 0] = 1.0
    scaled = [((part - mean) / deviation).astype(np.float32) for part in (train, test)]
    return TrialWindows(scaled[0], np.arange(len(train)), train_labels), scaled[1], test_labels


def _cut(session: Session) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    length = round(_WINDOW_SECONDS * session.sfreq)
    windows, labels = [], []
    for run in session.runs:
        filtered = zero_phase(run.samples, session.sfreq)
        for cue, label in zip(run.cues, run.labels, strict=True):
            window = filtered[cue : cue + length].T
            if cue < 0 or window.shape[1] < length:
                msg = f"{session.path}: a run ends less than {_WINDOW_SECONDS:g} s after a cue; the file is incomplete."
                raise RecordingError(msg)
            windows.append(window)
            labels.append(label)
    return np.stack(windows), np.array(labels, dtype=np.intp)


def zero_phase(samples: NDArray[np.float64], sfreq: float) -> NDArray[np.float64]:
    """Apply MNE-Python's default zero-phase low-pass filter at 40 Hz, which uses future samples.

    Parameters
    ----------
    samples : ndarray of float64, shape (n_samples, n_channels)
    sfreq : float
        Hertz.

    Returns
    -------
    ndarray of float64, shape (n_samples, n_channels)

    Raises
    ------
    MissingExtraError
        MNE-Python is not installed.
    """
    try:
        from mne.filter import filter_data
    except ImportError as error:
        msg = (
            "The protocol filters with MNE-Python, which is not installed; pip install '.[train]' in Mindwire's folder."
        )
        raise MissingExtraError(msg) from error
    filtered = filter_data(samples.T.copy(), sfreq, None, _HIGH_CUT_HERTZ, verbose="ERROR")
    return np.asarray(filtered, dtype=np.float64).T


def live_data(
    first: Session, second: Session, contract: Contract
) -> tuple[TrialWindows, NDArray[np.float32], NDArray[np.intp]]:
    """Cut the windows of both days with the live pipeline; the second day is decided 4 s after the cue.

    Returns
    -------
    training : TrialWindows
        Of the first day.
    windows : ndarray of float32, shape (n_decided, n_chans, n_times)
        Of the second day, of trials whose deciding window is valid.
    labels : ndarray of int, shape (n_decided,)
        Index into the contract's classes.
    """
    data = []
    for session in (first, second):
        trials = trials_from_markers(session.markers(), contract.classes, where=str(session.path))
        data.append(collect_trials([session], [trials], contract, _LIVE_SPAN, settings=RunSettings())[0])
    train, test = data
    usable = train.usable
    index = np.full(len(train.labels), -1, dtype=np.intp)
    index[usable] = np.arange(len(usable))
    training = TrialWindows(train.windows, index[train.trial], train.labels[usable])
    return training, test.deciding, test.labels[test.decided]


def _outcome(network: Any, windows: NDArray[np.float32], labels: NDArray[np.intp]) -> Outcome:
    right = predict_logits(network, windows).argmax(axis=1) == labels
    return Outcome(n_correct=int(right.sum()), n_trials=len(labels))


def table(report: ProtocolReport) -> Table:
    """Return the accuracy of each person by both protocols."""
    shorter = "" if report.epochs == EPOCHS else f", {report.epochs} epochs instead of {EPOCHS}"
    mode = report.network.get("attention_mode") or "none"
    made = Table(
        title=f"BCI Competition IV 2a, attention {mode}, trained on the first day, scored on the second{shorter}",
        caption=NOTICE,
    )
    made.add_column("person")
    made.add_column("seed", justify="right")
    for name in ("authors' protocol", "live pipeline"):
        made.add_column(name, justify="right")
    for score in report.scores:
        made.add_row(f"A{score.person:02d}", str(score.seed), _cell(score.authors_protocol), _cell(score.live_pipeline))
    made.add_section()
    made.add_row("mean", "all", *_means(report))
    return made


def published_table(report: ProtocolReport) -> Table:
    """Return the authors' published table, with the results obtained here next to the network trained here."""
    people = sorted({score.person for score in report.scores})
    few = "" if len(people) == N_PEOPLE else f"; here {len(people)} of their {N_PEOPLE} people"
    short = "" if report.epochs == EPOCHS else f"; here {report.epochs} epochs instead of {EPOCHS}"
    made = Table(title="As published", caption=f"{report.published_source}{few}{short}.")
    made.add_column("network")
    for name in ("published", "authors' protocol here", "live pipeline here"):
        made.add_column(name, justify="right")
    for row in report.published:
        made.add_row(
            row.network,
            f"{row.accuracy:.1f} % ± {row.deviation:.1f}",
            *(_means(report) if row.trained_here else ("", "")),
            style="bold" if row.trained_here else None,
        )
    return made


def _means(report: ProtocolReport) -> list[str]:
    """Mean accuracy over people and its standard deviation over seeds, by each protocol."""
    cells = []
    for means in (report.means("authors_protocol"), report.means("live_pipeline")):
        spread = f" ± {100 * means.std(ddof=1):.1f}" if len(means) > 1 else ""
        cells.append(f"{100 * means.mean():.1f} %{spread}")
    return cells


def _cell(outcome: Outcome) -> str:
    low, high = wilson_interval(outcome.n_correct, outcome.n_trials)
    return f"{100 * outcome.accuracy:.1f} % ({outcome.n_correct}/{outcome.n_trials}, {low:.0%} to {high:.0%})"
