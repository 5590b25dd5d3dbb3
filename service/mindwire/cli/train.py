"""``mindwire train``: recordings with cues become a model for this person and this cap."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mindwire.cli import options, train_options
from mindwire.cli.console import print_problems, print_run_command, progress_bar, show
from mindwire.cli.groups import Given, option
from mindwire.errors import ArgumentError, UsageError

if TYPE_CHECKING:
    from mindwire.control.policy import ControlPolicy
    from mindwire.training.run import Result
    from mindwire_models.bundle import Bundle


def train(
    files: options.Recordings,
    given: Given,
    cues: options.ClassCues,
    signal: options.Signal,
    trials: train_options.Trials,
    terms: train_options.Terms,
    training: train_options.Training,
    out: Path | None = option("Folder of the bundle; a bundle there is replaced.", None, "--out", "-o"),
    decoder: Literal["network", "riemann", "best"] = option(
        "Decoder to train: AttentionBaseNet, the tangent-space baseline itself, or the better one of both: the network if more held-out trials are right than chance explains.",
        "network",
    ),
    start_from: Path | None = option(
        "Bundle of an AttentionBaseNet to train on, for the same electrodes and some of its classes; its contract holds.",
        None,
        "--from",
    ),
    reference: str | None = option("Reference and ground, for the contract."),
    folds: int | None = option("Folds of the validation, 0 for none; by default one per recording.", min=0),
    sweep: list[str] | None = option(
        "Validate each value, attention_mode=none,se, and write no bundle.", metavar="KEY=V,V,…"
    ),
    budget: str | None = option(
        "False activations at rest that the control policy may make, 1/min by default, where a class is idle; or none for no policy.",
        metavar="N/min",
    ),
    name: str | None = options.NAME,
) -> None:
    """Train a model on recordings through the live pipeline, validate it beside the baseline, write a bundle.

    With --from the network of a bundle, trained on other people for example, is trained on.

    Where a class is called idle, rest or nothing, a control policy is tuned on the recordings that each fold holds out, so
    that the bundle decides at once; `mindwire tune` tunes it on others.
    """
    from mindwire.evaluation.idle import idle_class
    from mindwire.evaluation.tuning_report import parse_budget
    from mindwire.training import run
    from mindwire_models.bundle import check_target

    paths, _, markers = cues.separate(files)
    classes = cues.at_least_two(markers)
    at_rest = idle_class(None, classes)
    if at_rest is None:
        given.refuse("--budget", why="A control policy is tuned where a class is called idle, rest or nothing")
    allowed = None if at_rest is None or budget == "none" else parse_budget(budget or "1/min")
    start = None if start_from is None else _start(start_from, given, decoder)
    _check_decoder(decoder, given, folds)
    if sweep:
        given.refuse("--out", "--name", "--budget", why="--sweep writes no bundle")
        if folds == 0:
            given.refuse("--folds", why="--sweep compares by validation, which --folds 0 leaves out")
    else:
        given.refuse("--seeds", why="Several seeds are compared in a --sweep")
        if out is None:
            msg = "Missing option '--out'. See `mindwire train --help`."
            raise UsageError(msg)
        check_target(out, name or out.name)
    plan = run.Plan(
        paths=paths,
        classes=classes,
        settings=options.run_settings(cues, markers, signal),
        base=train_options.base_contract(terms.preset, terms.contract),
        terms=terms.terms() | {"reference": reference},
        **asdict(trials),
        decided_at=cues.at,
        n_folds=folds,
        parallel=training.parallel(given),
        start=start,
    )
    training.check()
    with progress_bar("Conditioning") as progress:
        prepared = run.prepare(plan, progress)
    for source in prepared.sources:
        print_problems(source.path, source.problems)
    show(run.describe(prepared))
    if out is None:
        combinations = train_options.parse_sweep(sweep or [])
        with progress_bar("Training") as progress:
            candidate = training.candidate(prepared.contract)
            show(run.sweep(prepared, candidate, combinations, training.seeds, progress))
        return
    with progress_bar("Preparing"):  # PyTorch takes seconds to load
        network = None if decoder == "riemann" else training.candidate(prepared.contract, start)
    with progress_bar("Training") as progress:
        trained = run.train_best if decoder == "best" else run.train_network
        result = run.train_riemann(prepared) if network is None else trained(prepared, network, progress)
    if decoder == "best" and "network" not in result.validations:
        show("There are too few trials to train a network, so this is the tangent space.")
    policy, said = None, ""
    if at_rest is not None and allowed is not None:
        with progress_bar("Tuning the control policy"):
            policy, said = _tuned(result, at_rest, allowed)
    with progress_bar("Writing the bundle"):
        bundle = run.write(result, out, name or out.name, policy)
    show(run.summary(result), *filter(None, [said]))
    print_run_command(bundle, f"Wrote {bundle.path}; run it with")


def _check_decoder(decoder: str, given: Given, folds: int | None) -> None:
    """Refuse options that contradict the choice of a decoder."""
    if decoder == "riemann":
        given.refuse(*train_options.OF_NETWORK, "--sweep", why="--decoder riemann trains no network")
    if decoder == "best":
        given.refuse("--sweep", why="--decoder best chooses between two decoders, not between networks")
        if folds == 0:
            given.refuse("--folds", why="--decoder best chooses by validation, which --folds 0 leaves out")


def _start(path: Path, given: Given, decoder: str) -> "Bundle":
    """Return the bundle to start from; refuse options that contradict it."""
    from mindwire_models.bundle import load_bundle

    given.refuse(*train_options.OF_START, why="--from takes network and contract of its bundle")
    if decoder != "network":
        given.refuse("--decoder", why="--from trains a network on")
    return load_bundle(path)


def _tuned(result: "Result", idle: str, budget_per_minute: float) -> "tuple[ControlPolicy | None, str]":
    """Return the control policy of a trained model and a text about it; a model is no worse for having none."""
    from mindwire.training.control import tune_held_out

    try:
        tuned = tune_held_out(result, idle, budget_per_minute)
    except ArgumentError as error:
        return None, str(error)
    counts = tuned.counts
    text = (
        f"Control policy: {counts.right} of {counts.trials} trials right, as many as were found within the budget in "
        f"{counts.rest_minutes:.1f} minutes of rest; for more, record more rest or give a larger --budget. {tuned.statement}"
    )
    return tuned.policy, text
