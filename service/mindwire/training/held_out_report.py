"""The report of an evaluation that trains first: several decoders over the same recordings, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from mindwire import __version__
from mindwire.evaluation.idle import ActivationRule, idle_figures
from mindwire.evaluation.notes import notes
from mindwire.evaluation.page import figures_html, in_words, notes_html, page_html, table_html, tiles_html, write_files
from mindwire.evaluation.report import (
    DEFINITIONS,
    Beside,
    Figures,
    idle_sentence,
    number,
    percent,
    score_table,
    undecided_text,
)
from mindwire.evaluation.scores import RunScore, Score, score_runs
from mindwire.training.card import verdict
from mindwire.training.data import RecordingSource
from mindwire.training.fit import Validation
from mindwire.training.held_out import DecoderName, HeldOutRuns
from mindwire_models.contract import Contract
from mindwire_models.text import counted, printable

_DEFINITIONS = {
    "held out": "each decoder was trained without the recordings that it decides here, and ran on them as it would live; "
    "the temperature of its probabilities comes from recordings held out among those it was trained on (leave-one-out: from "
    "what the other folds' decoders said of the recordings that these had not met)",
    "alignment frozen": "the mean alignment of the recordings that were trained on, and nothing learnt of those tested",
    **DEFINITIONS,
}


class Decided(Figures):
    """One decoder over all recordings that it was not trained on."""

    decoder: DecoderName
    seed: int | None

    @property
    def name(self) -> str:
        """For people."""
        return "tangent-space baseline" if self.decoder == "baseline" else f"network, seed {self.seed}"


class TrainedOn(BaseModel):
    """A recording that was trained on; with one left out in turn, all are."""

    model_config = ConfigDict(frozen=True)

    file: str
    sha256: str
    n_cued: int
    n_usable: int


class Spread(BaseModel):
    """Accuracy over the seeds: mean, and standard deviation where there are several."""

    model_config = ConfigDict(frozen=True)

    mean: float
    deviation: float | None
    n_seeds: int


class HeldOutReport(BaseModel):
    """Everything ``report.json`` says."""

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
    """Score what was run and put it into a report.

    Parameters
    ----------
    found : sequence of HeldOutRuns
        All with the same alignments, the first of which is reported and the second put beside it.
    contract : Contract
    sources : sequence of RecordingSource
        What was trained on.
    evaluation : {"leave_one_recording_out", "cross_session"}
    at_s : float
        Seconds since the cue at which trials are decided.
    idle : str or None
        The class that asks for nothing.
    rule : ActivationRule or None
        When a program would act; without it, or an idle class, activations are not counted.

    Returns
    -------
    HeldOutReport
    """
    hop_s = contract.hop_samples / contract.sfreq

    def scored(one: HeldOutRuns) -> Decided:
        (mode, runs), *others = one.runs.items()
        overall, each = score_runs(runs, contract, contract.classes, at_s, hop_s=hop_s)
        beside = None
        for other, again in others[:1]:
            everything, parts = score_runs(again, contract, contract.classes, at_s, hop_s=hop_s)
            beside = Beside(alignment=other, overall=everything, runs=parts)
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
            beside=beside,
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
            TrainedOn(file=Path(s.file).name, sha256=s.sha256, n_cued=s.n_cued, n_usable=s.n_usable) for s in sources
        ],
        network_accuracy=spread,
        decoders=decoders,
        definitions=_DEFINITIONS,
    )


def typical(report: HeldOutReport, decoder: DecoderName) -> Decided | None:
    """The decoder of that name; of several seeds the median one, by its trials right."""
    some = sorted((one for one in report.decoders if one.decoder == decoder), key=lambda one: one.overall.n_correct)
    return some[(len(some) - 1) // 2] if some else None


def held_out_headline(report: HeldOutReport) -> str:
    """Which is better first, then the seeds, then what another alignment gave."""
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
    others = [one for one in (network, baseline) if one is not None and one.beside is not None]
    for index, one in enumerate(others):
        if one.beside is not None:
            other = one.beside.overall
            start = f" With alignment {one.beside.alignment}:" if not index else ";"
            text += f"{start} {one.name} {other.n_correct} of {other.n_trials} ({percent(other.accuracy)})"
    return text + ("." if others else "")


def held_out_sentences(report: HeldOutReport) -> list[str]:
    """The notes, and false activations of the typical network and of the baseline, where a class is idle."""
    both = (typical(report, "network"), typical(report, "baseline"))
    return report.notes + [
        f"{one.name}: {idle_sentence(one.idle)}" for one in both if one is not None and one.idle is not None
    ]


def _rows(report: HeldOutReport) -> tuple[list[str], list[list[str]], list[int]]:
    """Heads, a row per decoder and recording and one over all, and which rows these last are."""
    heads = ["decoder", "recording", "right", "accuracy", "95 %", "κ", "nMCC", "bits/min", "cal. error", "undecided"]
    besides = [one.beside.alignment for one in report.decoders if one.beside is not None]
    heads += [f"alignment {besides[0]}"] if besides else []
    rows: list[list[str]] = []
    strong = []
    for one in report.decoders:
        others: list[Score] = [] if one.beside is None else [*one.beside.runs, one.beside.overall]
        scores: list[Score | RunScore] = [*one.runs, one.overall]
        for index, score in enumerate(scores):
            low, high = score.accuracy_interval
            row = [
                one.name if not index else "",
                printable(Path(score.file).name) if isinstance(score, RunScore) else "all",
                f"{score.n_correct}/{score.n_trials}",
                percent(score.accuracy),
                f"{100 * low:.0f}–{100 * high:.0f}",
                number(score.kappa),
                number(score.normalised_mcc),
                number(score.itr_bits_per_minute, 1),
                percent(score.calibration_error),
                undecided_text(score),
            ]
            row += [
                f"{other.n_correct}/{other.n_trials} {percent(other.accuracy)}" for other in others[index : index + 1]
            ]
            rows.append(row)
        strong.append(len(rows) - 1)
    return heads, rows, strong


def _title(report: HeldOutReport) -> str:
    what = "Leave-one-recording-out" if report.evaluation == "leave_one_recording_out" else "From session to session"
    return f"{what}: {', '.join(report.contract.classes)}"


def held_out_table(report: HeldOutReport) -> Table:
    """The report as a table for the terminal; what it has no room for is in the page."""
    title = f"{_title(report)} at {report.at_s:.4g} s after the cue"
    return score_table(title, [(one.name, one) for one in report.decoders])


def write_held_out_report(report: HeldOutReport, folder: Path) -> Sequence[Path]:
    """Write ``report.json`` and ``report.html`` into a folder, which is made when missing.

    Raises
    ------
    RecordingError
        The folder cannot be written.
    """
    return write_files(folder, report.model_dump_json(indent=2) + "\n", lambda: _html(report))


def _html(report: HeldOutReport) -> str:
    heads, rows, strong = _rows(report)
    signal = f"{counted(report.contract.n_channels, 'channel')} at {report.contract.sfreq:g} Hz"
    parts = [
        f'<p class="soft">{report.created:%Y-%m-%d %H:%M} UTC · {signal}</p>',
        f'<p class="lead">{escape(in_words(held_out_headline(report), report.contract.classes))}</p>',
        notes_html([in_words(note, report.contract.classes) for note in report.notes]),
        table_html(heads, rows, strong=strong),
    ]
    shown = [one for one in (typical(report, "network"), typical(report, "baseline")) if one is not None]
    for one in shown:
        parts += [f"<h2>{escape(one.name.capitalize())}</h2>", tiles_html(one)]
        if one.idle is not None:
            parts.append(f"<p>{escape(in_words(idle_sentence(one.idle), one.classes))}</p>")
    parts.append(figures_html(shown, [one.name for one in shown]))
    trained = "<br>".join(
        f"{escape(Path(source.file).name)}: {source.n_usable} of {source.n_cued} trials, sha256 {source.sha256}"
        for source in report.trained_on
    )
    footer = f"Mindwire {escape(report.mindwire)}; trained on<br>{trained}"
    return page_html(in_words(_title(report), report.contract.classes), "\n".join(parts), report.definitions, footer)
