"""``mindwire tune``: a control policy for a bundle, within a budget of false activations."""

from pathlib import Path

from mindwire.cli import options
from mindwire.cli.console import print_problems_of, print_written, progress_bar, show
from mindwire.cli.groups import Given, option


def tune(
    files: options.Recordings,
    cues: options.ClassCues,
    signal: options.Signal,
    conditioning: options.Conditioning,
    rest: options.Rest,
    backend: options.Backend,
    given: Given,
    jobs: options.KeptJobs,
    model: Path = option("Bundle to tune a policy for.", ..., "--model", "-m"),
    budget: list[str] | None = option(
        "False activations at rest that are allowed: 1/min, 0.5/min, 30/h; 1/min by default. Repeat to compare; the first one is written.",
        metavar="N/min",
    ),
    test: list[str] | None = option(
        "Count the policies on these recordings, all names up to the next option; nothing is chosen on them.",
        metavar="FILE...",
    ),
    idle: str | None = option("Class for idling; by default one called idle, rest or nothing."),
    out: Path | None = option("File for the policy, instead of control.json in the bundle.", None, "--out", "-o"),
    picture: Path | None = option("Draw the frontier into this SVG file."),
    allow_training_data: bool = option(
        "Tune also on recordings that the bundle was trained on, whose predictions are better than later ones.",
        False,
        "--allow-training-data",
    ),
    force: bool = options.FORCE,
) -> None:
    """Find the control policy with the most right activations within a budget of false ones at rest.

    The recordings run through the live pipeline once; all policies are then counted on whole recordings. Rest are the
    trials of an idle class and what --rest and --between name; a trial lasts until --at seconds after its cue. The bundle's
    control.json, which serve, demo and replay use, is replaced. What the recorded minutes of rest can prove of the budget is
    reported.
    """
    from mindwire.evaluation import tuning_report
    from mindwire.evaluation.control import ControlTask
    from mindwire.evaluation.idle import idle_class
    from mindwire.evaluation.known_recordings import check_not_trained_on
    from mindwire.evaluation.pseudo_online import as_in_training, choose_classes, run_recordings
    from mindwire.evaluation.tuning import PolicySearch
    from mindwire.inference.load import load_decoder
    from mindwire.outputs import PICTURE, POLICY, check_output, writing
    from mindwire_models.atomic import replace_file
    from mindwire_models.bundle import POLICY_FILE, check_target, load_bundle, write_policy

    budgets = [tuning_report.parse_budget(text) for text in budget or ["1/min"]]
    paths, tested, markers = cues.separate(files, test)
    settings, bundle = options.run_settings(cues, markers, signal, conditioning), load_bundle(model)
    classes = choose_classes(options.split_list(cues.classes), bundle.contract)
    resting = rest.times([*paths, *tested], cues.classes)
    read = [*paths, *tested, *resting.recordings]
    if out is None:
        check_target(bundle.path, bundle.name)
    else:
        check_output(out, POLICY, inputs=[*read, bundle.path], force=force)
    if picture is not None:
        check_output(picture, PICTURE, inputs=[*read, bundle.path], force=force, option="--picture")
    warning = check_not_trained_on(bundle, read, allowed=allow_training_data)
    execution = jobs.execution(given, bundle, backend, conditioning.adapt)
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=conditioning.adapt, purpose="recording")
    settings, at_s, remembered = as_in_training(settings, cues.at, bundle, [*paths, *tested])
    show(*filter(None, (warning, remembered)))
    task = ControlTask.of(bundle.contract, idle_class(idle, bundle.contract.classes), at_s)
    with progress_bar("Decoding") as progress:
        cued = run_recordings(
            [*paths, *tested],
            bundle.contract,
            decoder,
            classes=classes,
            settings=settings,
            progress=progress,
            execution=execution,
        )
        rested = resting.run(bundle.contract, decoder, settings, execution)
        runs = resting.control_runs(cued[: len(paths)], rested, task)
    print_problems_of(*cued, *rested)
    with progress_bar("Searching"):
        search = PolicySearch.of(runs, task)
        first, *_ = results = [search.tuned(one) for one in budgets]
    show(tuning_report.frontier_table(first).terminal(), *(one.statement for one in results))
    if tested:
        others = resting.control_runs(cued[len(paths) :], [], task)
        show(tuning_report.held_out_table(search, results, others).terminal(), *tuning_report.LEGEND)
    if picture is not None:
        _write_picture(picture, tuning_report.draw(first), bundle.name)
    if out is None:
        write_policy(bundle, first.policy.to_json())
    else:
        with writing(out, "the policy"):
            replace_file(out, first.policy.to_json())
    print_written(*(path for path in (out or bundle.path / POLICY_FILE, picture) if path))


def _write_picture(path: Path, drawing: str, name: str) -> None:
    from mindwire.evaluation.svg import standalone
    from mindwire.outputs import writing
    from mindwire_models.atomic import replace_file

    with writing(path, "the picture"):
        replace_file(path, standalone(drawing, f"Mindwire: frontier of {name}"))
