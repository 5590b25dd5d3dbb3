"""``mindwire evaluate``: accuracy that a bundle would have had, live, on recordings with cues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems_of, print_written, progress_bar, show
from mindwire.cli.groups import Given, option
from mindwire.errors import MindwireError, UsageError
from mindwire_models.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindwire.evaluation.pseudo_online import Execution, RunSettings
    from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun
    from mindwire.inference.decoder import Decoder
    from mindwire_models.bundle import Bundle


def evaluate(
    files: options.Recordings,
    out: options.ReportFolder,
    given: Given,
    cues: options.ClassCues,
    signal: options.Signal,
    conditioning: options.Conditioning,
    scoring: options.Scoring,
    rest: options.Rest,
    backend: options.Backend,
    jobs: options.KeptJobs,
    model: Path | None = options.RECORDED_MODEL,
    control: str | None = options.CONTROL,
    allow_training_data: bool = option(
        "Evaluate also on training recordings; the report says so.", False, "--allow-training-data"
    ),
    views: bool = option(
        "Add pictures of the network: temporal filters as spectra, patterns as scalp maps, attention.", False, "--views"
    ),
    force: bool = options.FORCE,
) -> None:
    """Play recordings through the live pipeline and report how many trials a bundle decides right.

    Each trial is decided by the newest prediction that existed --at seconds after its cue. Markers, channels, unit and
    that moment are by default those that the bundle was trained with. The report gives accuracy with its interval, chance, κ, confusion, accuracy over time, transfer rate, calibration and, where
    a class is idle, false activations per minute and the time to a right one. Recordings of another day show how
    a model carries over.

    With a control policy, its decisions through the whole recordings are counted too: trials with a right one, wrong ones, and
    false activations per minute of rest, beside those of the raw argmax, and the frontier of a tuned policy.
    """
    from rich.text import Text

    from mindwire.control.policy import choose_policy
    from mindwire.evaluation.control import ControlTask
    from mindwire.evaluation.control_report import report_control
    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.known_recordings import check_not_trained_on
    from mindwire.evaluation.notes import notes
    from mindwire.evaluation.page import write_report
    from mindwire.evaluation.pseudo_online import as_in_training, choose_classes, readable, sentence
    from mindwire.evaluation.report import EvaluatedModel, Report, participant_scores, score_modes, terminal_parts
    from mindwire.inference.load import load_decoder
    from mindwire.outputs import PICTURES, check_report
    from mindwire.training.views import draw_views

    names = ("report.json", "report.html", *(PICTURES if views else ()))
    check_report(out, names, inputs=[model, *(Path(text) for text in files if text)], force=force)
    paths, _, markers = cues.separate(files)
    modes, rule = scoring.modes(), ActivationRule(scoring.activation, scoring.dwell)
    settings = options.run_settings(cues, markers, signal, conditioning)
    failures: dict[Path, MindwireError] = {}
    if len(paths) > 1:
        paths = readable(paths, settings, failures.setdefault)
    bundle = _evaluated(model or _recorded_bundle(paths), views=views)
    resting = rest.times(paths, cues.classes)
    if warning := check_not_trained_on(bundle, [*paths, *resting.recordings], allowed=allow_training_data):
        show(Text(warning, "bold yellow"))
    policy = choose_policy(bundle, control)
    if policy is None:
        given.refuse(
            "--rest",
            "--between",
            why="Rest is counted where a control policy decides, which `mindwire tune` writes and --control names",
        )
    chosen = choose_classes(options.split_list(cues.classes), bundle.contract)
    at_rest = scoring.idle_class(chosen, given)
    execution = jobs.execution(given, bundle, backend, conditioning.adapt, failures.setdefault)
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=conditioning.adapt, purpose="recording")
    settings, at_s, remembered = as_in_training(settings, cues.at, bundle, paths)
    show(*filter(None, [remembered]))
    runs = _run(paths, bundle, decoder, chosen, [replace(settings, alignment=mode) for mode in modes], execution)
    paths = [path for path in paths if path not in failures]
    controlled = None
    if policy is not None:
        task = ControlTask.of(bundle.contract, policy.idle or at_rest, at_s)
        rested = resting.run(bundle.contract, decoder, replace(settings, alignment=modes[0]), execution)
        print_problems_of(*rested)
        controlled = report_control(resting.control_runs(runs[modes[0]], rested, task), policy, task)
    scored = score_modes(runs, bundle.contract, chosen, at_s, idle=at_rest, rule=rule)
    report = Report(
        participants=participant_scores(scored["runs"], _participants(files, runs[modes[0]])),
        failed={str(path): sentence(path, error) for path, error in sorted(failures.items())},
        control=controlled,
        warning=warning or None,
        notes=notes(runs[modes[0]], bundle.contract.classes, chosen, at_s),
        model=EvaluatedModel(name=bundle.name, sha256=bundle.sha256, engine=decoder.engine, device=decoder.device),
        **scored,
    )
    pictures = draw_views(bundle, paths, chosen, at_s, settings=settings, folder=out) if views else []
    written = [*write_report(report, out, pictures), *pictures]
    show(*terminal_parts(report))
    print_written(*written)
    _refuse_failures(report.failed)


def _participants(files: list[str], runs: Sequence[EvaluatedRun]) -> dict[str, tuple[str, str]]:
    """Return the participant and the session of each recording, by its hash, of which a table names them."""
    named = options.participants(files)
    return {run.sha256: named[Path(run.file)] for run in runs if Path(run.file) in named}


def _refuse_failures(failed: Mapping[str, str]) -> None:
    """Print why recordings were not evaluated, and end with the code for a failure."""
    for failure in failed.values():
        typer.echo(f"mindwire: {failure}", err=True)
    if failed:
        typer.echo(f"mindwire: {counted(len(failed), 'recording')} not evaluated, for the reasons above.", err=True)
        raise typer.Exit(1)


def _run(
    paths: list[Path],
    bundle: Bundle,
    decoder: Decoder,
    classes: Sequence[str],
    modes: Sequence[RunSettings],
    execution: Execution,
) -> dict[AlignmentMode, list[EvaluatedRun]]:
    """Run the recordings with each alignment; return those that none of them failed with."""
    from mindwire.evaluation.pseudo_online import run_recordings

    runs = {}
    for settings in modes:
        with progress_bar(f"Evaluating, alignment {settings.alignment}") as progress:
            runs[settings.alignment] = run_recordings(
                paths,
                bundle.contract,
                decoder,
                classes=classes,
                settings=settings,
                progress=progress,
                execution=execution,
            )
        there = {run.file for run in runs[settings.alignment]}
        paths = [path for path in paths if str(path) in there]
    runs = {mode: [run for run in some if run.file in there] for mode, some in runs.items()}
    print_problems_of(*next(iter(runs.values())))
    return runs


def _recorded_bundle(paths: list[Path]) -> Path:
    """Return the bundle that live recordings were made with."""
    from mindwire.offline.recorded_bundles import bundle_path
    from mindwire.sources.recording import open_recording

    own = [open_recording(path) for path in paths if ".xdf" in path.name.casefold()]
    path, sentence = bundle_path(None, own, None)
    if sentence:
        typer.echo(sentence)
    if path is None:
        msg = "Name the bundle to evaluate with --model BUNDLE, or train first with `mindwire cross-validate`."
        raise UsageError(msg)
    return path


def _evaluated(folder: Path, *, views: bool) -> Bundle:
    """Load a bundle; refuse views of one that has no network before anything is evaluated."""
    from mindwire_models.bundle import load_bundle, without_network
    from mindwire_models.bundle_checks import decoder_of

    bundle = load_bundle(folder)
    if views and decoder_of(bundle.config, bundle.path) == "external":
        raise UsageError(without_network(bundle, "--views"))
    return bundle
