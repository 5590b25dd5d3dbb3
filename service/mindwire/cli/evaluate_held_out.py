"""``mindwire evaluate --leave-one-out`` and ``--train``: train first, then evaluate what was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mindwire.errors import UsageError
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.evaluation.scores import AlignmentMode
    from mindwire.inference.load import Device, Engine
    from mindwire.training.contract import ContractChoices
    from mindwire_models.contract import Contract


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line asked for.

    Parameters
    ----------
    paths : sequence of Path
        The recordings to evaluate on.
    train : sequence of Path or None
        The recordings to train on; None leaves each of ``paths`` out in turn.
    classes : sequence of str or None
        None takes them from the marker map.
    at : float or None
        Seconds since the cue; None decides trials at their end, as training does.
    beside : AlignmentMode or None
    decoder : {"network", "riemann", "both"}
    base : Contract or None
    contract : ContractChoices
    offset : float
    length, slide : float or None
        Seconds; see :class:`~mindwire.training.run.Plan`.
    start : {"tangent_space", "random"} or None
    members : int
    network, recipe : sequence of str
        ``KEY=VALUE`` entries.
    epochs : int or None
    seeds : int
    workers : int or None
    idle : str or None
    rule : ActivationRule
    engine, device : str
    out : Path
    """

    paths: Sequence[Path]
    train: Sequence[Path] | None
    classes: Sequence[str] | None
    at: float | None
    beside: AlignmentMode | None
    decoder: Literal["network", "riemann", "both"]
    base: Contract | None
    contract: ContractChoices
    offset: float
    length: float | None
    slide: float | None
    start: Literal["tangent_space", "random"] | None
    members: int
    network: Sequence[str]
    recipe: Sequence[str]
    epochs: int | None
    seeds: int
    workers: int | None
    idle: str | None
    rule: ActivationRule
    engine: Engine
    device: Device
    out: Path


def run(choices: Choices, settings: RunSettings) -> None:
    """Train, evaluate, write the report and show it.

    Raises
    ------
    MindwireError
        A recording, a marker or a choice does not fit; the message says which.
    """
    from rich.console import Console

    from mindwire.cli.evaluate import progress_bar
    from mindwire.cli.train_options import parse_network, parse_recipe
    from mindwire.evaluation.idle import idle_class
    from mindwire.evaluation.report import LEGEND
    from mindwire.training import held_out
    from mindwire.training import run as calibration_run
    from mindwire.training.held_out_report import (
        describe_held_out,
        held_out_headline,
        held_out_sentences,
        held_out_table,
        write_held_out_report,
    )

    classes = tuple(choices.classes or dict.fromkeys(settings.markers.values()))
    if len(classes) < 2:
        msg = (
            "Training needs at least two classes: name them with --classes, or with --markers 2=left_hand 3=right_hand."
        )
        raise UsageError(msg)
    at_rest = idle_class(choices.idle, classes)
    arguments = parse_network(choices.network) if choices.decoder != "riemann" else {}
    plan = calibration_run.Plan(
        paths=choices.paths if choices.train is None else choices.train,
        classes=classes,
        # What the network itself would learn live is no part of its training.
        settings=replace(settings, pipeline=replace(settings.pipeline, adapt="alignment")),
        base=choices.base,
        choices=choices.contract,
        offset=choices.offset,
        length=choices.length,
        slide=choices.slide,
        decided_at=choices.at,
        workers=choices.workers,
    )
    console = Console()
    with progress_bar("Conditioning") as progress:
        session = held_out.prepare(plan, None if choices.train is None else choices.paths, progress)
    console.print(calibration_run.describe(session.prepared), highlight=False, markup=False)
    candidate = None
    if choices.decoder != "riemann":
        candidate = calibration_run.candidate(session.prepared.contract, choices.start)
        candidate = replace(
            candidate,
            recipe=parse_recipe(candidate.recipe, choices.recipe, epochs=choices.epochs),
            network_arguments={**candidate.network_arguments, **arguments},
            members=choices.members,
        )
    modes = (settings.alignment,) if choices.beside is None else (settings.alignment, choices.beside)
    with progress_bar("Training") as training, progress_bar("Evaluating") as running:
        found = held_out.evaluate(
            session,
            candidate,
            choices.seeds,
            baseline=choices.decoder != "network",
            execution=held_out.Execution(settings, tuple(dict.fromkeys(modes)), choices.engine, choices.device),
            training=training,
            running=running,
        )
    report = describe_held_out(
        found,
        session.prepared.contract,
        session.prepared.sources,
        evaluation="leave_one_recording_out" if choices.train is None else "cross_session",
        at_s=session.prepared.span.decided_at,
        idle=at_rest,
        rule=choices.rule,
    )
    written = write_held_out_report(report, choices.out)
    console.print(held_out_table(report))
    console.print(LEGEND, style="dim", highlight=False, markup=False)
    for sentence in (held_out_headline(report), *held_out_sentences(report)):
        console.print(sentence, highlight=False, markup=False)
    names = printable(", ".join(str(path) for path in written))
    console.print(f"Wrote {names}.", highlight=False, markup=False, soft_wrap=True)
