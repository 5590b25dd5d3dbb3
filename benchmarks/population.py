"""Decoders over any number of people for whom nothing was tuned: leave-one-run-out and across people, with paired tests.

    python benchmarks/population.py ../shared/data/people/* ../shared/data/s1 ../shared/data/a --checkpoint 1.ckpt --out population

Each folder is a person and is called as its set: grasp-S05 (files S05R1.edf …), physionet-S002 (S002R04.edf …), course-s
(XDF), s1, a. Further people, days and runs of these sets need nothing but their folder. Files that cannot be read, folders of
no set, and people with too few runs or classes are named on the standard error, and the others go on.

Protocols: ``runs``, each run of a person is decided by what was trained on the others of that day; ``people``, each person by what was
trained on all others with the same classes, electrodes and rate. Decoders, all on the same windows, conditioned and aligned as live:

- tangent space, network: as ``mindwire train`` makes them by default;
- CSP+LDA: six common spatial patterns (pyRiemann), log-power, linear discriminant with shrinkage: the classical baseline;
- filter bank: tangent spaces of five narrow bands and of 8 to 30 Hz, one logistic regression;
- checkpoints (``--checkpoint``, a .ckpt of the paper or a bundle): without training, where classes and electrodes fit.

Trials are decided at their end, undecided ones count as wrong. ``--out FOLDER`` gets ``population.md``, ``population.svg`` and
``population.json``; what is in the last is not measured again, so a run that was stopped goes on, and decoders can be added later.
Without folders table and picture are made of what it has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.population_data import (  # noqa: E402
    Conditioned,
    Examples,
    Right,
    condition,
    decide_untrained,
    describe,
    find_sessions,
    joined,
    layout,
    open_checkpoint,
    right_of,
    without,
)
from benchmarks.population_report import TRAINED_ON, Result, table, write_picture  # noqa: E402
from mindwire.training import run  # noqa: E402
from mindwire_models.bundle import Bundle  # noqa: E402
from mindwire_models.contract import Contract  # noqa: E402
from mindwire_models.errors import MindwireError  # noqa: E402
from mindwire_models.parallel import Parallel, run_parallel  # noqa: E402
from mindwire_models.training.trials import TrialWindows  # noqa: E402

REFERENCE = "tangent space"
DECODERS = (REFERENCE, "CSP+LDA", "filter bank", "network")
Band = tuple[float, float]
# Of the decoders that take covariances; None is the band that the contract's filters leave.
BANDS: dict[str, tuple[Band | None, ...]] = {
    "CSP+LDA": (None,),
    "filter bank": ((8, 12), (12, 16), (16, 20), (20, 25), (25, 30), (8, 30)),
}

Decide = Callable[[NDArray[np.floating]], NDArray[np.intp]]


@dataclass(frozen=True)
class Job:
    """One decoder on one session by one protocol; ``others`` are the files of the people to train on."""

    file: Path
    protocol: str
    decoder: str
    others: tuple[Path, ...] = ()


def inputs(file: Path, one: Conditioned, decoder: str) -> NDArray[np.floating]:
    """Return what a decoder takes of a session's windows, then of the deciding ones: windows, or their covariances in each band.

    Covariances are computed once and kept beside the file.
    """
    windows = np.concatenate([one.data.windows, one.data.deciding])
    if decoder not in BANDS:
        return windows
    kept = file.with_suffix(f".{list(BANDS).index(decoder)}.npy")
    if not kept.exists():
        found = np.stack([covariances(windows, band, one.contract) for band in BANDS[decoder]], axis=1)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as part:
            np.save(part, found)
        Path(part.name).replace(kept)
    return np.asarray(np.load(kept, mmap_mode="r"))


def covariances(windows: NDArray[np.float32], band: Band | None, contract: Contract) -> NDArray[np.float64]:
    """Return the covariances of windows in a band, shrunk after Ledoit and Wolf, as steps of a pipeline that can be exported."""
    from pyriemann.estimation import Covariances

    from mindwire_models.band_pass import BandPass

    x = windows.astype(np.float64)
    return np.asarray(Covariances("lwf").transform(x if band is None else BandPass(*band, contract.sfreq).transform(x)))


def train(decoder: str, examples: Examples, contract: Contract) -> Decide:
    """Train a decoder, and return the function that gives the classes of inputs."""
    from mindwire_models.network.riemann import fit_tangent_space
    from mindwire_models.training.fit import predict_logits, train_network

    n_classes = len(contract.classes)
    if decoder == REFERENCE:
        fitted = fit_tangent_space(examples.x, examples.labels, n_classes, weights=examples.weights)
        return lambda windows: fitted.logits(windows).argmax(axis=1)
    if decoder == "network":
        how = run.candidate(contract)
        trials = TrialWindows(examples.x, examples.trial, examples.of_trials)
        network = train_network(trials, n_classes, how.recipe, network_arguments=how.network_arguments)
        return lambda windows: predict_logits(network, windows).argmax(axis=1)
    return csp_lda(examples) if decoder == "CSP+LDA" else filter_bank(examples)


def csp_lda(examples: Examples) -> Decide:
    """Train the classical baseline; the contract's filters have left 8 to 30 Hz."""
    from pyriemann.spatialfilters import CSP
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    patterns = CSP(nfilter=min(6, examples.x.shape[-1]), log=True)
    pipeline = make_pipeline(patterns, LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    pipeline.fit(examples.x[:, 0], examples.labels)
    return lambda matrices: np.asarray(pipeline.predict(matrices[:, 0]))


def filter_bank(examples: Examples) -> Decide:
    """Train the tangent spaces of several bands with one classifier, as the guide to decoders from outside has them."""
    from pyriemann.tangentspace import TangentSpace
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # The windows are aligned, so that their means are close to the identity and the kind of mean hardly counts: the quick one.
    metric = {"mean": "logeuclid", "map": "riemann"}
    spaces = [TangentSpace(metric).fit(matrices) for matrices in examples.x.swapaxes(0, 1)]

    def features(x: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.concatenate(
            [space.transform(matrices) for space, matrices in zip(spaces, x.swapaxes(0, 1), strict=True)], axis=1
        )

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    classifier.fit(features(examples.x), examples.labels, logisticregression__sample_weight=examples.weights)
    return lambda matrices: np.asarray(classifier.predict(features(matrices)))


def decide(job: Job) -> Right | str:
    """Train and decide; return the trials that were right, or a sentence on what went wrong."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return _decide(job)
    except Exception as error:  # noqa: BLE001 - one that cannot be trained is reported, and the others go on
        return str(error) or type(error).__name__


def _decide(job: Job) -> Right:
    one: Conditioned = joblib.load(job.file, mmap_mode="r")
    data, classes = one.data, np.zeros(len(one.data.decided), dtype=np.intp)
    x, deciding = np.split(inputs(job.file, one, job.decoder), [len(data.trial)])
    if job.protocol == "people":
        people = [(other, joblib.load(other, mmap_mode="r")) for other in job.others]
        others = [(other, inputs(file, other, job.decoder)[: len(other.data.trial)]) for file, other in people]
        return right_of(data, train(job.decoder, joined(others, one.contract), one.contract)(deciding))
    for index in np.unique(data.recording):
        held_out = np.flatnonzero(data.recording == index)
        tested = np.isin(data.decided, held_out)
        if tested.any():
            classes[tested] = train(job.decoder, without(data, x, held_out), one.contract)(deciding[tested])
    return right_of(data, classes)


def say(text: str) -> None:
    """Print what happened or was left out."""
    print(text, file=sys.stderr, flush=True)


def jobs_of(
    files: Sequence[tuple[Path, Conditioned]], decoders: Sequence[str], protocols: Sequence[str]
) -> list[tuple[Job, Conditioned]]:
    """Return all trainings, decoder by decoder, and name the sessions that a protocol leaves out."""
    found: list[tuple[Job, Conditioned]] = []
    others = {}
    for file, one in files:
        same = [
            (path, other)
            for path, other in files
            if layout(other.contract) == layout(one.contract) and other.session.person != one.session.person
        ]
        others[file] = tuple(path for path, _ in same)
        if "runs" in protocols and len(one.plan.paths) < 2:
            say(f"{one.session.name}: leave-one-run-out needs two runs, found {len(one.plan.paths)}.")
        if "people" in protocols and not same:
            say(f"{one.session.name}: no other person has the same classes, electrodes and rate to train on.")
    for decoder in decoders:
        for file, one in files:
            if "runs" in protocols and len(one.plan.paths) > 1:
                found.append((Job(file, "runs", decoder), one))
            if "people" in protocols and others[file]:
                found.append((Job(file, "people", decoder, others[file]), one))
    return found


class Kept:
    """Results by session, protocol and decoder, in a file where there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._all: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}

    def has(self, session: Conditioned, protocol: str, decoder: str) -> bool:
        """Tell if a result is known for just these runs and trials."""
        found = self._all.get(f"{session.session.name} | {protocol} | {decoder}")
        runs = [path.name for path in session.plan.paths]
        return found is not None and found["runs"] == runs and len(found["right"]) == len(session.data.labels)

    def add(self, session: Conditioned, protocol: str, decoder: str, right: Right) -> None:
        """Keep a result, and write the file."""
        self._all[f"{session.session.name} | {protocol} | {decoder}"] = {
            "runs": [path.name for path in session.plan.paths],
            "person": session.session.person,
            "right": "".join(map(str, right.astype(int))),
        }
        if self._path is not None:
            self._path.write_text(json.dumps(self._all, indent=1), encoding="utf-8")

    def results(self) -> list[Result]:
        """Return all results."""
        found = []
        for name, one in self._all.items():
            session, protocol, decoder = name.split(" | ")
            right = np.array([digit == "1" for digit in one["right"]])
            found.append(Result(session, one["person"], protocol, decoder, right))
        return sorted(found, key=lambda result: result.session)


def measure(
    folders: Sequence[Path],
    kept: Kept,
    *,
    decoders: Sequence[str],
    protocols: Sequence[str],
    checkpoints: Sequence[Path] = (),
    parallel: Parallel | None = None,
    folder: Path | None = None,
) -> None:
    """Condition all recordings, then train and decide what is not yet known; conditioned signals are kept in ``folder`` meanwhile."""
    parallel = parallel or Parallel()
    sessions, remarks = find_sessions(folders)
    for remark in remarks:
        say(remark)
    with tempfile.TemporaryDirectory(prefix="mindwire-", dir=folder) as name:
        bundles = _bundles(checkpoints, Path(name))
        files: list[tuple[Path, Conditioned]] = []
        calls = [(one, Path(name) / f"{i}.joblib") for i, one in enumerate(sessions)]
        for file, said in _ordered(_condition, None, calls, parallel):
            for sentence in said:
                say(sentence)
            if file is not None:
                files.append((file, joblib.load(file, mmap_mode="r")))
        wanted = jobs_of(files, decoders, protocols)
        wanted = [(job, one) for job, one in wanted if not kept.has(one, job.protocol, job.decoder)]
        untrained = [
            one
            for _, one in files
            if any(not kept.has(one, name, f"checkpoint {b.name}") for b in bundles for name in protocols)
        ]
        for one, found in zip(untrained, _ordered(_untrained, bundles, untrained, parallel), strict=True):
            for sentence in dict.fromkeys(said for said in found.values() if isinstance(said, str)):
                say(f"{one.session.name}: checkpoints are left out, {sentence}")
            for checkpoint, right in found.items():
                for protocol in protocols if not isinstance(right, str) else ():
                    kept.add(one, protocol, f"checkpoint {checkpoint}", right)
        for number, right in run_parallel(_decide_one, None, [job for job, _ in wanted], parallel):
            job, one = wanted[number]
            what = f"{one.session.name}, {job.decoder} trained on {TRAINED_ON[job.protocol]}"
            if isinstance(right, MindwireError | str):
                say(f"{what}: left out, {right}")
                continue
            say(f"{what}: {int(right.sum())} of {len(right)}")
            kept.add(one, job.protocol, job.decoder, right)


def _ordered(function: Any, shared: Any, arguments: Sequence[Any], parallel: Parallel) -> list[Any]:
    """Return all results in the order of the arguments."""
    results = dict(run_parallel(function, shared, arguments, parallel))
    for result in results.values():
        if isinstance(result, MindwireError):
            raise result
    return [results[number] for number in range(len(arguments))]


def _decide_one(_: None, job: Job) -> Right | str:
    return decide(job)


def _untrained(bundles: list[Bundle], one: Conditioned) -> Any:
    return decide_untrained(one, bundles)


def _condition(_: None, call: tuple[Any, Path]) -> tuple[Path | None, list[str]]:
    session, file = call
    found, remarks = condition(session)
    if found is None:
        return None, remarks
    joblib.dump(found, file)
    return file, [*remarks, describe(found)]


def _bundles(paths: Sequence[Path], folder: Path) -> list[Bundle]:
    found = []
    for path in paths:
        try:
            found.append(open_checkpoint(path, folder))
        except Exception as error:  # noqa: BLE001 - a damaged one is reported, and the others go on
            say(f"{path}: the checkpoint is left out, {error}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="PERSON")
    parser.add_argument("--decoder", action="append", choices=DECODERS, help="may be repeated; all by default")
    parser.add_argument(
        "--protocol", action="append", choices=list(TRAINED_ON), help="may be repeated; both by default"
    )
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="PATH")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; -1: one per core")
    parser.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster instead, whose nodes share --out")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    kept = Kept(None if given.out is None else given.out / "population.json")
    measure(
        given.folders,
        kept,
        decoders=given.decoder or DECODERS,
        protocols=given.protocol or list(TRAINED_ON),
        checkpoints=given.checkpoint,
        parallel=Parallel(joblib.cpu_count() if given.jobs == -1 else given.jobs, given.ray),
        folder=given.out,
    )
    results = kept.results()
    if not results:
        sys.exit("No session could be decided; what is missing is said above.")
    known = dict.fromkeys(one.decoder for one in results)
    decoders = [*(name for name in DECODERS if name in known), *sorted(name for name in known if name not in DECODERS)]
    text = table(results, decoders, REFERENCE)
    print(text)
    if given.out is not None:
        (given.out / "population.md").write_text(f"{text}\n", encoding="utf-8")
        write_picture(results, decoders, given.out / "population.svg")


if __name__ == "__main__":
    main()
