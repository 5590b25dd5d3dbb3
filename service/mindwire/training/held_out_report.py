"""The report of an evaluation that trains first: several decoders over the same recordings, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from mindwire import __version__
from mindwire.evaluation.idle import ActivationRule
from mindwire.evaluation.notes import notes
from mindwire.evaluation.page import in_words, plots, render, tiles, write_files
from mindwire.evaluation.report import DEFINITIONS, Figures, idle_sentence, score_modes, score_table
from mindwire.evaluation.scores import Score
from mindwire.evaluation.tables import TextTable, percent
from mindwire.training.card import verdict
from mindwire.training.held_out import DecoderName, HeldOutRuns, Splits
from mindwire_models.contract import Contract
from mindwire_models.text import counted
from mindwire_models.training_record import TrainedRecording

_DEFINITIONS = {
    "held out": "each decoder was trained without the recordings that it decides here, and ran on them as it would live; "
    "the temperature of its probabilities comes from recordings held out among those it was trained on (leave-one-out: from "
    "predictions of the other folds' decoders for the recordings that these were not trained on)",
    "alignment frozen": "the mean alignment of the recordings that were trained on, and nothing learnt of those tested",
    **DEFINITIONS,
}


class Decided(Figures, frozen=True):
    """Scores of one decoder over all recordings that it was not trained on."""

    decoder: DecoderName
    seed: int | None

    @property
    def name(self) -> str:
        """Name for people."""
        return "tangent-space baseline" if self.decoder == "baseline" else f"network, seed {self.seed}"


class TrainedOn(TrainedRecording):
    """Recording that was trained on; where each is left out in turn, all are."""

    n_cued: int
    n_usable: int


class Spread(BaseModel, frozen=True):
    """Accuracy over the seeds: mean, and standard deviation where there are several."""

    mean: float
    deviation: float | None
    n_seeds: int


class HeldOutReport(BaseModel, frozen=True):
    """Content of ``report.json``."""

    version: Literal[1] = 1
    created: datetime
    mindwire: str
    evaluation: Literal["leave_one_recording_out", "cross_session"]
    contract: Contract
    at_s: float
    notes: list[str] = []
    trained_on: list[TrainedOn]
    network_accuracy: Spread | None
    decoders: list[Decided]
    definitions: dict[str, str]


def describe_held_out(
    found: Sequence[HeldOutRuns], splits: Splits, *, idle: str | None, rule: ActivationRule
) -> HeldOutReport:
    """Score runs, as :func:`score_modes` does, and report them."""
    contract, at_s = splits.prepared.contract, splits.prepared.span.decided_at
    classes = contract.classes
    decoders = [
        Decided(
            **score_modes(one.runs, contract, classes, at_s, idle=idle, rule=rule), decoder=one.decoder, seed=one.seed
        )
        for one in found
    ]
    accuracies = [one.overall.accuracy for one in decoders if one.decoder == "network"]
    known = np.array([accuracy for accuracy in accuracies if accuracy is not None])
    deviation = float(known.std(ddof=1)) if len(known) > 1 else None
    first = next(iter(found[0].runs.values())) if found else []
    return HeldOutReport(
        notes=notes(first, classes, classes, at_s),
        created=datetime.now(UTC),
        mindwire=__version__,
        evaluation="leave_one_recording_out" if splits.leave_one_out else "cross_session",
        contract=contract,
        at_s=at_s,
        trained_on=[
            TrainedOn(file=s.path.name, sha256=s.sha256, n_cued=s.n_cued, n_usable=s.n_usable)
            for s in splits.prepared.sources
        ],
        network_accuracy=Spread(mean=float(known.mean()), deviation=deviation, n_seeds=len(known))
        if len(known)
        else None,
        decoders=decoders,
        definitions=_DEFINITIONS,
    )


def _typical(report: HeldOutReport) -> list[Decided]:
    """Return the network, of several seeds the median one by its correct trials, and the baseline, as far as they are there."""
    ordered = sorted(report.decoders, key=lambda one: one.overall.n_correct)
    by_name = [[one for one in ordered if one.decoder == name] for name in ("network", "baseline")]
    return [some[(len(some) - 1) // 2] for some in by_name if some]


def held_out_headline(report: HeldOutReport) -> str:
    """Return the verdict, then the seeds, then the result of another alignment."""
    shown = _typical(report)
    scores: dict[str, Score] = {one.decoder: one.overall for one in shown}
    text = f"{verdict(scores)} Decided {report.at_s:.4g} s after the cue."
    spread = report.network_accuracy
    if spread is not None and spread.deviation is not None:
        right = ", ".join(str(one.overall.n_correct) for one in report.decoders if one.decoder == "network")
        text += (
            f" Network over {spread.n_seeds} seeds: {right} right, mean {100 * spread.mean:.1f} % ± "
            f"{100 * spread.deviation:.1f}; above is the median one."
        )
    compared = [(one.name, one.comparison) for one in shown if one.comparison is not None]
    if compared:
        each = [
            f"{name} {c.overall.n_correct} of {c.overall.n_trials} ({percent(c.overall.accuracy)})"
            for name, c in compared
        ]
        text += f" With alignment {compared[0][1].alignment}: {'; '.join(each)}."
    return text


def held_out_sentences(report: HeldOutReport) -> list[str]:
    """Return the notes, and false activations of the typical network and of the baseline, where a class is idle."""
    return report.notes + [f"{one.name}: {idle_sentence(one.idle)}" for one in _typical(report) if one.idle is not None]


def _title(report: HeldOutReport) -> str:
    what = "Leave-one-recording-out" if report.evaluation == "leave_one_recording_out" else "From session to session"
    return f"{what}: {', '.join(report.contract.classes)}"


def held_out_table(report: HeldOutReport, *, detailed: bool = False) -> TextTable:
    """Return the scores as a table."""
    title = f"{_title(report)} at {report.at_s:.4g} s after the cue"
    return score_table(title, [(one.name, one) for one in report.decoders], detailed=detailed)


def write_held_out_report(report: HeldOutReport, folder: Path) -> Sequence[Path]:
    """Write ``report.json`` and ``report.html``; see :func:`mindwire.evaluation.page.write_files`."""
    classes = report.contract.classes
    shown = _typical(report)
    page = render(
        "held_out.html",
        title=in_words(_title(report), classes),
        report=report,
        signal=f"{counted(report.contract.n_channels, 'channel')} at {report.contract.sfreq:g} Hz",
        headline=in_words(held_out_headline(report), classes),
        scores=held_out_table(report, detailed=True),
        decoders=[
            (one.name, tiles(one), None if one.idle is None else in_words(idle_sentence(one.idle), classes))
            for one in shown
        ],
        plots=plots(shown, [one.name for one in shown]),
        definitions=report.definitions,
    )
    return write_files(folder, report.model_dump_json(indent=2, by_alias=True) + "\n", page)
