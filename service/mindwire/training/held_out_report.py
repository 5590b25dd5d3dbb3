"""The report of an evaluation that trains first: several decoders over the same recordings, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from mindwire import __version__
from mindwire.evaluation.idle import ActivationRule, idle_figures
from mindwire.evaluation.notes import notes
from mindwire.evaluation.page import in_words, plots, render, tiles, write_files
from mindwire.evaluation.report import DEFINITIONS, Comparison, Figures, idle_sentence, percent, score_table
from mindwire.evaluation.scores import score_runs
from mindwire.evaluation.tables import TextTable
from mindwire.training.card import verdict
from mindwire.training.data import RecordingSource
from mindwire.training.fit import Validation
from mindwire.training.held_out import DecoderName, HeldOutRuns
from mindwire_models.contract import Contract
from mindwire_models.text import counted
from mindwire_models.training_record import TrainedRecording

_DEFINITIONS = {
    "held out": "each decoder was trained without the recordings that it decides here, and ran on them as it would live; "
    "the temperature of its probabilities comes from recordings held out among those it was trained on (leave-one-out: from "
    "what the other folds' decoders said of the recordings that these had not met)",
    "alignment frozen": "the mean alignment of the recordings that were trained on, and nothing learnt of those tested",
    **DEFINITIONS,
}


class Decided(Figures):
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


class Spread(BaseModel):
    """Accuracy over the seeds: mean, and standard deviation where there are several."""

    model_config = ConfigDict(frozen=True)

    mean: float
    deviation: float | None
    n_seeds: int


class HeldOutReport(BaseModel):
    """Content of ``report.json``."""

    model_config = ConfigDict(frozen=True)

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
    found: Sequence[HeldOutRuns],
    contract: Contract,
    sources: Sequence[RecordingSource],
    *,
    evaluation: Literal["leave_one_recording_out", "cross_session"],
    at_s: float,
    idle: str | None = None,
    rule: ActivationRule | None = None,
) -> HeldOutReport:
    """Score runs, decided ``at_s`` seconds after the cue, and report them; of the alignments the first two.

    Activations are counted where there is an idle class and a rule for them.
    """
    hop_s = contract.hop_samples / contract.sfreq

    def scored(one: HeldOutRuns) -> Decided:
        (mode, runs), *others = one.runs.items()
        overall, each = score_runs(runs, contract, contract.classes, at_s, hop_s=hop_s)
        comparison = None
        for other, again in others[:1]:
            everything, parts = score_runs(again, contract, contract.classes, at_s, hop_s=hop_s)
            comparison = Comparison(alignment=other, overall=everything, runs=parts)
        resting = None
        if idle is not None and rule is not None:
            resting = idle_figures(runs, contract, contract.classes, idle=idle, at_s=at_s, rule=rule)
        return Decided(
            classes=list(contract.classes),
            at_s=at_s,
            alignment=mode,
            overall=overall,
            runs=each,
            idle=resting,
            comparison=comparison,
            decoder=one.decoder,
            seed=one.seed,
        )

    decoders = [scored(one) for one in found]
    accuracies = [one.overall.accuracy for one in decoders if one.decoder == "network"]
    known = np.array([accuracy for accuracy in accuracies if accuracy is not None])
    spread = None
    if len(known):
        deviation = float(known.std(ddof=1)) if len(known) > 1 else None
        spread = Spread(mean=float(known.mean()), deviation=deviation, n_seeds=len(known))
    first = next(iter(found[0].runs.values())) if found else []
    return HeldOutReport(
        notes=notes(first, contract.classes, contract.classes, at_s),
        created=datetime.now(UTC),
        mindwire=__version__,
        evaluation=evaluation,
        contract=contract,
        at_s=at_s,
        trained_on=[
            TrainedOn(file=s.path.name, sha256=s.sha256, n_cued=s.n_cued, n_usable=s.n_usable) for s in sources
        ],
        network_accuracy=spread,
        decoders=decoders,
        definitions=_DEFINITIONS,
    )


def typical(report: HeldOutReport, decoder: DecoderName) -> Decided | None:
    """Return the decoder of that name; of several seeds the median one, by its correct trials."""
    some = sorted((one for one in report.decoders if one.decoder == decoder), key=lambda one: one.overall.n_correct)
    return some[(len(some) - 1) // 2] if some else None


def held_out_headline(report: HeldOutReport) -> str:
    """Return the verdict, then the seeds, then the result of another alignment."""
    network, baseline = typical(report, "network"), typical(report, "baseline")
    validations = [None if one is None else Validation(one.overall, [], 1.0) for one in (network, baseline)]
    text = f"{verdict(*validations)} Decided {report.at_s:.4g} s after the cue."
    spread = report.network_accuracy
    if spread is not None and spread.deviation is not None:
        right = ", ".join(str(one.overall.n_correct) for one in report.decoders if one.decoder == "network")
        text += (
            f" Network over {spread.n_seeds} seeds: {right} right, mean {100 * spread.mean:.1f} % ± "
            f"{100 * spread.deviation:.1f}; above is the median one."
        )
    others = [one for one in (network, baseline) if one is not None and one.comparison is not None]
    for index, one in enumerate(others):
        if one.comparison is not None:
            other = one.comparison.overall
            start = f" With alignment {one.comparison.alignment}:" if not index else ";"
            text += f"{start} {one.name} {other.n_correct} of {other.n_trials} ({percent(other.accuracy)})"
    return text + ("." if others else "")


def held_out_sentences(report: HeldOutReport) -> list[str]:
    """Return the notes, and false activations of the typical network and of the baseline, where a class is idle."""
    both = (typical(report, "network"), typical(report, "baseline"))
    return report.notes + [
        f"{one.name}: {idle_sentence(one.idle)}" for one in both if one is not None and one.idle is not None
    ]


def _title(report: HeldOutReport) -> str:
    what = "Leave-one-recording-out" if report.evaluation == "leave_one_recording_out" else "From session to session"
    return f"{what}: {', '.join(report.contract.classes)}"


def _scores(report: HeldOutReport, *, detailed: bool = False) -> TextTable:
    title = f"{_title(report)} at {report.at_s:.4g} s after the cue"
    return score_table(title, [(one.name, one) for one in report.decoders], detailed=detailed)


def held_out_table(report: HeldOutReport) -> Table:
    """Return the report as a table for the terminal."""
    return _scores(report).terminal()


def write_held_out_report(report: HeldOutReport, folder: Path) -> Sequence[Path]:
    """Write ``report.json`` and ``report.html``; see :func:`mindwire.evaluation.page.write_files`."""
    classes = report.contract.classes
    shown = [one for one in (typical(report, "network"), typical(report, "baseline")) if one is not None]
    page = render(
        "held_out.html",
        title=in_words(_title(report), classes),
        report=report,
        signal=f"{counted(report.contract.n_channels, 'channel')} at {report.contract.sfreq:g} Hz",
        headline=in_words(held_out_headline(report), classes),
        scores=_scores(report, detailed=True),
        decoders=[
            (one.name, tiles(one), None if one.idle is None else in_words(idle_sentence(one.idle), classes))
            for one in shown
        ],
        plots=plots(shown, [one.name for one in shown]),
        definitions=report.definitions,
    )
    return write_files(folder, report.model_dump_json(indent=2, by_alias=True) + "\n", page)
