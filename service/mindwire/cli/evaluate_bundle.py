"""``mindwire evaluate --model``: a bundle on recordings with cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.evaluation.scores import AlignmentMode
    from mindwire.inference.load import Device, Engine


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line asked for.

    Parameters
    ----------
    model : Path
        The bundle.
    paths : sequence of Path
        Recordings.
    classes : sequence of str or None
        None decides between all of the model's.
    at : float or None
        Seconds since the cue; None takes what the bundle was trained with, or 4 s.
    beside : AlignmentMode or None
    idle : str or None
    rule : ActivationRule
    views : bool
    engine, device : str
    out : Path
    allow_training_data : bool
        Whether recordings that the bundle was trained on may be among them.
    """

    model: Path
    paths: Sequence[Path]
    classes: Sequence[str] | None
    at: float | None
    beside: AlignmentMode | None
    idle: str | None
    rule: ActivationRule
    views: bool
    engine: Engine
    device: Device
    out: Path
    allow_training_data: bool = False


def run(choices: Choices, settings: RunSettings) -> None:
    """Evaluate, write the report and show it.

    Raises
    ------
    MindwireError
        The bundle, a recording or a choice does not fit; the message says which.
    """
    from rich.console import Console

    from mindwire.cli.evaluate import progress_bar
    from mindwire.evaluation.idle import idle_class, idle_figures
    from mindwire.evaluation.known_recordings import check_distinct, check_not_trained_on
    from mindwire.evaluation.notes import notes
    from mindwire.evaluation.page import write_report
    from mindwire.evaluation.pseudo_online import as_in_training, choose_classes, run_recordings
    from mindwire.evaluation.report import LEGEND, Beside, describe_run, headline, idle_sentence, table
    from mindwire.evaluation.scores import score_runs
    from mindwire.inference.load import load_decoder
    from mindwire.training.views import draw_views
    from mindwire_models.bundle import load_bundle

    bundle = load_bundle(choices.model)
    check_distinct(choices.paths)
    warning = check_not_trained_on(bundle, choices.paths, allowed=choices.allow_training_data)
    chosen = choose_classes(choices.classes, bundle.contract)
    at_rest = idle_class(choices.idle, chosen)
    decoder = load_decoder(bundle, choices.engine, choices.device, adapt=settings.pipeline.adapt, purpose="recording")
    hop_s = bundle.contract.hop_samples / bundle.contract.sfreq
    console = Console()
    if warning:
        console.print(warning, style="bold yellow", highlight=False, markup=False)
    settings, at_s, remembered = as_in_training(settings, choices.at, bundle, choices.paths)
    if remembered:
        console.print(remembered, highlight=False, markup=False)
    with progress_bar("Evaluating") as progress:
        runs = run_recordings(
            choices.paths, bundle.contract, decoder, classes=chosen, settings=settings, progress=progress
        )
    overall, scores = score_runs(runs, bundle.contract, chosen, at_s, hop_s=hop_s)
    other = None
    if choices.beside is not None:
        otherwise = replace(settings, alignment=choices.beside)
        with progress_bar(f"Evaluating, alignment {choices.beside}") as progress:
            again = run_recordings(
                choices.paths, bundle.contract, decoder, classes=chosen, settings=otherwise, progress=progress
            )
        everything, each = score_runs(again, bundle.contract, chosen, at_s, hop_s=hop_s)
        other = Beside(alignment=otherwise.alignment, overall=everything, runs=each)
    report = describe_run(
        overall,
        scores,
        bundle=bundle,
        decoder=decoder,
        classes=chosen,
        at_s=at_s,
        alignment=settings.alignment,
        idle=None
        if at_rest is None
        else idle_figures(runs, bundle.contract, chosen, idle=at_rest, at_s=at_s, rule=choices.rule),
        beside=other,
        notes=notes(runs, bundle.contract.classes, chosen, at_s),
        warning=warning,
    )
    pictures = (
        draw_views(bundle, choices.paths, chosen, at_s, settings=settings, folder=choices.out) if choices.views else []
    )
    written = [*write_report(report, choices.out, pictures), *pictures]
    console.print(table(report))
    console.print(LEGEND, style="dim", highlight=False, markup=False)
    console.print(headline(report), highlight=False, markup=False)
    for note in report.notes:
        console.print(note, highlight=False, markup=False)
    if report.idle is not None:
        console.print(idle_sentence(report.idle), highlight=False, markup=False)
    names = printable(", ".join(str(path) for path in written))
    console.print(f"Wrote {names}.", highlight=False, markup=False, soft_wrap=True)
