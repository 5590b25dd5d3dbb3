"""``mindwire compare``: decisions of two models or control policies on the same recordings."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mindwire.cli import options
from mindwire.cli.console import print_problems_of, print_written, progress_bar, show
from mindwire.cli.groups import Given, option
from mindwire.errors import UsageError

if TYPE_CHECKING:
    from mindwire.control.policy import ControlPolicy
    from mindwire.evaluation.comparison import Side
    from mindwire.evaluation.comparison_report import ComparedSide
    from mindwire.evaluation.control import ControlRun
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.evaluation.rest import RestTimes
    from mindwire.evaluation.scores import EvaluatedRun
    from mindwire_models.bundle import Bundle


def compare(
    files: options.Recordings,
    cues: options.Cues,
    signal: options.Signal,
    conditioning: options.Conditioning,
    rest: options.Rest,
    backend: options.Backend,
    given: Given,
    jobs: options.KeptJobs,
    model: list[Path] | None = option("Bundle of A, then of B; one for both.", None, "--model", "-m"),
    control: list[str] | None = option(
        "Control policy of A, then of B (JSON file), or none for the raw argmax; one for both models. By default each bundle's own.",
        None,
        "--control",
    ),
    out: Path | None = option("Folder for report.json, report.html and decisions.csv.", None, "--out", "-o"),
    allow_training_data: bool = option(
        "Compare also on training recordings; the report says so.", False, "--allow-training-data"
    ),
    force: bool = options.FORCE,
) -> None:
    """Play recordings through two models or control policies and report what would have been decided otherwise.

    Two --model with a policy each, or one --model with two --control. Trials of the classes that both decide are compared
    in pairs, false activations at rest as rates, both by exact tests. A bundle without a policy decides by the raw argmax:
    a class that leads with 0.6 for 0.5 s, then 1 s refractory.

    In closed loop the person would have reacted to each decision; this compares what would have been decided of one signal.
    """
    from mindwire.evaluation.comparison import MatchedRuns
    from mindwire.evaluation.comparison import compare as compare_sides
    from mindwire.evaluation.comparison_report import FILES, ComparisonReport, terminal_parts, write_comparison
    from mindwire.evaluation.control_report import tuned_on
    from mindwire.evaluation.known_recordings import check_not_trained_on
    from mindwire.outputs import check_report
    from mindwire_models.bundle import load_bundle

    if out is not None:
        check_report(out, FILES, inputs=[*(model or []), *(Path(text) for text in files if text)], force=force)
    paths, _, markers = cues.separate(files)
    resting = rest.times(paths)
    bundles = [load_bundle(path) for path in model or []]
    policies = _policies(bundles, control or [])
    bundles = bundles * 2 if len(bundles) == 1 else bundles
    unknown = next((name for name in markers.values() if not any(name in b.contract.classes for b in bundles)), None)
    if unknown is not None:
        msg = f"--markers: neither model has the class {unknown}; A has {', '.join(bundles[0].contract.classes)}."
        raise UsageError(msg)
    settings = options.run_settings(cues, markers, signal, conditioning)
    everything = [*paths, *resting.recordings]
    warnings = dict.fromkeys(check_not_trained_on(b, everything, allowed=allow_training_data) for b in bundles)
    using = (conditioning.adapt, backend, jobs, given)
    played, at_s = _play(bundles[0], paths, resting, settings, cues.at, using)
    again = (
        played
        if bundles[1].sha256 == bundles[0].sha256
        else _play(bundles[1], paths, resting, settings, at_s, using)[0]
    )
    print_problems_of(*played[0], *played[1])
    a, b = _side(bundles[0], policies[0], played, at_s), _side(bundles[1], policies[1], again, at_s)
    runs = MatchedRuns.of(a, b, resting)
    found = compare_sides(a, b, runs)
    left_out = f"Trials of {', '.join(found.left_out)} are left out, for only one of the two decides such classes."
    report = ComparisonReport(
        warning=" ".join(filter(None, warnings)) or None,
        trial_s=a.task.trial_s,
        a=_compared(bundles[0], policies[0], a, runs.a),
        b=_compared(bundles[1], policies[1], b, runs.b),
        comparison=found,
        notes=[
            *([left_out] if found.left_out else []),
            *(
                f"{letter}: {note}"
                for letter, one, some in (("A", a, runs.a), ("B", b, runs.b))
                for note in tuned_on(some, one.policy)
            ),
        ],
    )
    show(*filter(None, [report.warning]), *terminal_parts(report))
    if out is not None:
        print_written(*write_comparison(report, out))


def _policies(bundles: list["Bundle"], control: list[str]) -> list["ControlPolicy | None"]:
    """Return the policy of A and of B, None for the raw argmax; refuse what is not two different deciders."""
    from mindwire.control.policy import choose_policy

    if not (1 <= len(bundles) <= 2 and len(control) <= 2 and max(len(bundles), len(control)) == 2):
        msg = (
            "Two are compared: --model A --model B, with --control for each if wanted, or one --model with --control X --control Y; "
            f"found {len(bundles)} --model and {len(control)} --control."
        )
        raise UsageError(msg)
    two = bundles if len(bundles) == 2 else bundles * 2
    named: list[str | None] = [*(control * 2 if len(control) == 1 else control)] or [None, None]
    a, b = (choose_policy(bundle, text) for bundle, text in zip(two, named, strict=True))
    if two[0].sha256 == two[1].sha256 and a == b:
        msg = "A and B are the same model with the same control policy, so nothing can differ; name two that are different."
        raise UsageError(msg)
    return [a, b]


def _play(
    bundle: "Bundle",
    paths: list[Path],
    rest: "RestTimes",
    settings: "RunSettings",
    at_s: float | None,
    using: tuple[Literal["alignment", "bn", "entropy"], options.Backend, options.KeptJobs, Given],
) -> tuple[tuple[list["EvaluatedRun"], list["EvaluatedRun"]], float]:
    """Play the recordings with cues and those of rest through a model; return them, and the length of a trial in seconds."""
    from mindwire.evaluation.pseudo_online import as_in_training, run_recordings
    from mindwire.inference.load import load_decoder

    contract, (adapt, backend, jobs, given) = bundle.contract, using
    known = {label: name for label, name in settings.markers.items() if name in contract.classes}
    settings, at_s, remembered = as_in_training(replace(settings, markers=known), at_s, bundle, paths)
    if remembered:
        show(remembered)
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=adapt, purpose="recording")
    execution = jobs.execution(given, bundle, backend, adapt)
    with progress_bar(f"Playing through {bundle.name}") as progress:
        cued = run_recordings(
            paths,
            contract,
            decoder,
            classes=contract.classes,
            settings=settings,
            progress=progress,
            execution=execution,
        )
        rested = rest.run(contract, decoder, settings, execution)
    return (cued, rested), at_s


def _side(
    bundle: "Bundle",
    policy: "ControlPolicy | None",
    played: tuple[list["EvaluatedRun"], list["EvaluatedRun"]],
    at_s: float,
) -> "Side":
    """Return a model with its policy, or the raw argmax, and what was played through it."""
    from mindwire.evaluation.comparison import Side
    from mindwire.evaluation.control import ControlTask, raw_argmax
    from mindwire.evaluation.idle import idle_class

    idle = (policy and policy.idle) or idle_class(None, bundle.contract.classes)
    return Side(policy or raw_argmax(idle), ControlTask.of(bundle.contract, idle, at_s), *played)


def _compared(
    bundle: "Bundle", policy: "ControlPolicy | None", side: "Side", runs: list["ControlRun"]
) -> "ComparedSide":
    """Return a side with its figures."""
    from mindwire.evaluation.comparison_report import ComparedSide
    from mindwire.evaluation.control import control_counts
    from mindwire.evaluation.control_report import ControlScore

    counts = control_counts(runs, side.policy, side.task)
    return ComparedSide(
        name=bundle.name,
        sha256=bundle.sha256,
        policy_sha256=side.policy.hash,
        raw=policy is None,
        score=ControlScore.of(runs, counts, side.task.n_commands),
    )
