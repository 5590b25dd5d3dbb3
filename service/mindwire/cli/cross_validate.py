"""``mindwire cross-validate``: train first, then evaluate on recordings that were not trained on."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from mindwire.cli import options, train_options
from mindwire.cli.console import print_problems, print_problems_of, print_written, progress_bar, show
from mindwire.cli.groups import Given, option


def cross_validate(
    files: options.Recordings,
    out: options.ReportFolder,
    given: Given,
    cues: options.ClassCues,
    signal: options.Signal,
    conditioning: options.Conditioning,
    scoring: options.Scoring,
    backend: options.Backend,
    trials: train_options.Trials,
    terms: train_options.Terms,
    training: train_options.Training,
    train: list[str] | None = option(
        "Train on these recordings of another session, all names up to the next option, and evaluate on the others.",
        metavar="FILE...",
    ),
    decoder: Literal["network", "riemann", "both"] = option(
        "Decoder to train: the network, the tangent-space baseline, or both.", "both"
    ),
    force: bool = options.FORCE,
) -> None:
    """Train network and baseline on some recordings and compare them on others, as they would run live.

    Each recording is left out in turn, or --train names the recordings to train on. No bundle is kept; the report is
    that of mindwire evaluate, for each decoder and seed.
    """
    from rich.text import Text

    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.report import LEGEND
    from mindwire.outputs import check_report
    from mindwire.training import held_out
    from mindwire.training import held_out_report as reports
    from mindwire.training import run as training_run

    tested = [Path(text) for text in [*files, *(train or [])] if text]
    check_report(out, ("report.json", "report.html"), inputs=[terms.contract, *tested], force=force)
    paths, others, markers = cues.separate(files, train)
    trained = others if train else None
    modes, rule = scoring.modes(), ActivationRule(scoring.activation, scoring.dwell)
    settings = options.run_settings(cues, markers, signal, conditioning)
    classes = cues.at_least_two(markers)
    at_rest = scoring.idle_class(classes, given)
    if decoder == "riemann":
        given.refuse(*train_options.OF_NETWORK, why="--decoder riemann trains no network")
    plan = training_run.Plan(
        paths=paths if trained is None else trained,
        classes=classes,
        # What the network itself would learn live is no part of its training.
        settings=replace(settings, pipeline=replace(settings.pipeline, adapt="alignment")),
        base=train_options.base_contract(terms.preset, terms.contract),
        terms=terms.terms(),
        **asdict(trials),
        decided_at=cues.at,
        parallel=training.parallel(given),
    )
    training.check()
    with progress_bar("Conditioning") as progress:
        splits = held_out.prepare(plan, None if trained is None else paths, progress)
    for source in splits.prepared.sources:
        print_problems(source.path, source.problems)
    show(training_run.describe(splits.prepared))
    candidate = None if decoder == "riemann" else training.candidate(splits.prepared.contract)
    with progress_bar("Training") as fitting, progress_bar("Evaluating") as running:
        found = held_out.evaluate(
            splits,
            candidate,
            training.seeds,
            baseline=decoder != "network",
            execution=held_out.Execution(replace(settings, alignment=modes[0]), modes, backend.engine, backend.device),
            training=fitting,
            running=running,
        )
    if trained is not None:
        print_problems_of(*found[0].runs[modes[0]])
    report = reports.describe_held_out(found, splits, idle=at_rest, rule=rule)
    written = reports.write_held_out_report(report, out)
    show(reports.held_out_table(report).terminal(), Text(LEGEND, "dim"))
    show(reports.held_out_headline(report), *reports.held_out_sentences(report))
    print_written(*written)
