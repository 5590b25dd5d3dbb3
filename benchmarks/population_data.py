"""Recordings of people: which files belong together, what they do not say of themselves, and their trials, conditioned as they would be live."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.offline.trials import parse_marker_map, trials_from_markers
from mindwire.options import PipelineOptions
from mindwire.sources.recording import open_recording
from mindwire.training import fit, run
from mindwire.training.data import RecordedTrials
from mindwire.training.transfer import starting_network
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.contract import Contract
from mindwire_models.presets import BCIC2A
from mindwire_models.text import counted

FISTS = ("T1=left_hand", "T2=right_hand")
FEET = ("T1=both_hands", "T2=feet")
NUMBERS = ("1=idle", "2=left_hand", "3=right_hand")
_LABELS_11 = "C3,C4,Cz,FC1,FC2,FC5,FC6,CP1,CP2,CP5,CP6,X1,X2,X3,X4,X5"
_LABELS_13 = "C3,C4,CP1,CP2,FC1,FC2,CP5,CP6,FC5,FC6,T3,T4,Cz,X1,X2,X3"

Right = NDArray[np.bool_]
"""Whether each cued trial of a session was decided right; undecided ones were not."""


@dataclass(frozen=True)
class Paradigm:
    """Recordings of one kind: which folders and files they are (a group ``day`` parts them), and what they do not say of themselves.

    ``person`` is the person's name where that is not the folder's.
    """

    folder: str
    files: str
    markers: tuple[str, ...]
    title: str = ""
    channels: str | None = None
    unit: str | None = None
    person: str = ""

    @property
    def settings(self) -> RunSettings:
        channels = None if self.channels is None else tuple(self.channels.split(","))
        return RunSettings(
            markers=parse_marker_map(self.markers), pipeline=PipelineOptions(channels=channels, unit=self.unit)
        )


PARADIGMS = (
    Paradigm(r"grasp-.+", r".+R\d+\.edf", ("OVTK_GDF_Right=grasp", "OVTK_GDF_Tongue=rest"), unit="uV"),
    # Runs 1 and 2 are rest without cues; the movements of the odd ones were made, not imagined.
    Paradigm(r"physionet-.+", r".+R(04|08|12)\.edf", FISTS, "fists"),
    Paradigm(r"physionet-.+", r".+R(06|10|14)\.edf", FEET, "feet"),
    Paradigm(
        "s1",
        r".+-run(04|08)-64ch.+\.xdf",
        ("left_hand=left_hand", "right_hand=right_hand"),
        "fists",
        person="physionet-S001",
    ),
    Paradigm(
        "s1", r".+-run(06|10)-64ch.+\.xdf", ("both_hands=both_hands", "feet=feet"), "feet", person="physionet-S001"
    ),
    Paradigm(r"course-.+", r".+-(?P<day>\d{4}-\d\d-\d\d)-.+\.xdf", NUMBERS, channels=_LABELS_13),
    Paradigm("a", r"a-(?P<day>day\d+)-.+\.xdf", NUMBERS, channels=_LABELS_11),
)


@dataclass(frozen=True)
class Session:
    """Runs of one paradigm that a person recorded on one day."""

    name: str
    person: str
    paradigm: Paradigm
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Conditioned:
    """Trials of a session and the contract that they were conditioned for; ``plan`` has the runs and classes that could be read."""

    session: Session
    plan: run.Plan
    contract: Contract
    data: RecordedTrials


def find_sessions(folders: Sequence[Path]) -> tuple[list[Session], list[str]]:
    """Return the sessions of people's folders, and a sentence on each folder without one."""
    sessions, remarks = [], []
    for folder in folders:
        matching = [one for one in PARADIGMS if re.fullmatch(one.folder, folder.name)]
        names = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        found: dict[tuple[int, str], list[Path]] = {}
        for index, paradigm in enumerate(matching):
            for path in names:
                if (match := re.fullmatch(paradigm.files, path.name)) is not None:
                    found.setdefault((index, match.groupdict().get("day") or ""), []).append(path)
        for (index, day), runs in found.items():
            paradigm = matching[index]
            name = " ".join(part for part in (folder.name, paradigm.title, day) if part)
            sessions.append(Session(name, paradigm.person or folder.name, paradigm, tuple(runs)))
        if not folder.is_dir():
            remarks.append(f"{folder}: expected a folder with a person's recordings, found none.")
        elif not matching:
            known = ", ".join(dict.fromkeys(one.folder for one in PARADIGMS))
            remarks.append(f"{folder}: expected a folder that is called like one of {known}; it is left out.")
        elif not found:
            known = ", ".join(one.files for one in matching)
            remarks.append(f"{folder}: no file is called like {known}; it is left out.")
    return sessions, remarks


def condition(session: Session) -> tuple[Conditioned | None, list[str]]:
    """Run a session's recordings through the live pipeline; what cannot be read is left out, with a sentence each."""
    runs, classes, remarks = _readable(session)
    if len(classes) < 2 or not runs:
        return None, [*remarks, f"{session.name}: trials of two classes are needed; the session is left out."]
    settings = session.paradigm.settings
    markers = {label: name for label, name in settings.markers.items() if name in classes}
    plan = run.Plan(runs, classes, replace(settings, markers=markers), n_folds=0)
    try:
        return _conditioned(session, plan), remarks
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything, and the others go on
        first = error
    # One of the runs spoils the others: those that can be conditioned alone, under the most frequent contract, are kept.
    alone: dict[Path, Contract] = {}
    for path in runs:
        try:
            alone[path] = run.prepare(replace(plan, paths=[path])).contract
        except Exception as error:  # noqa: BLE001 - as above
            remarks.append(f"{path}: left out, {_sentence(error)}")
    layouts = Counter((one.channels, one.sfreq) for one in alone.values())
    usual = layouts.most_common(1)[0][0] if layouts else None
    kept = [path for path, one in alone.items() if (one.channels, one.sfreq) == usual]
    remarks += [
        f"{path}: left out, its electrodes or rate are not those of the other runs."
        for path in alone
        if path not in kept
    ]
    try:
        return _conditioned(session, replace(plan, paths=kept)), remarks
    except Exception as error:  # noqa: BLE001 - as above
        sentence = _sentence(error if kept else first)
        return None, [*remarks, f"{session.name}: the session is left out, {sentence}"]


def _readable(session: Session) -> tuple[list[Path], tuple[str, ...], list[str]]:
    """Return the runs that can be opened and have cues, the classes that they have trials of, and sentences on the others."""
    markers = session.paradigm.settings.markers
    classes = tuple(dict.fromkeys(markers.values()))
    runs, remarks, counts = [], [], Counter[str]()
    for path in session.runs:
        try:
            recording = open_recording(path)
            trials = trials_from_markers(recording.markers(), classes, markers, where=str(path))
            recording.signal()
        except Exception as error:  # noqa: BLE001 - a damaged file may raise anything, and the others go on
            remarks.append(f"{path}: left out, {_sentence(error)}")
            continue
        runs.append(path)
        counts.update(trial.label for trial in trials)
    absent = [name for name in classes if not counts[name]]
    if absent and runs:
        remarks.append(f"{session.name}: no trials of {', '.join(absent)}; it is decided between the other classes.")
    return runs, tuple(name for name in classes if counts[name]), remarks


def _conditioned(session: Session, plan: run.Plan) -> Conditioned:
    prepared = run.prepare(plan)
    return Conditioned(session, plan, prepared.contract, prepared.data)


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def open_checkpoint(path: Path, folder: Path) -> Bundle:
    """Return a bundle as it is, and a checkpoint of the paper as a bundle in ``folder`` with the contract of its data set."""
    if path.is_dir():
        return load_bundle(path)
    from mindwire_models.export import export_bundle
    from mindwire_models.source import open_source

    opened = open_source(str(path))
    return export_bundle(
        opened.network,  # type: ignore[arg-type]
        opened.contract or BCIC2A,
        folder / path.stem,
        name=path.stem,
        provenance=opened.provenance,
        check="skip",
    )


def decide_untrained(conditioned: Conditioned, bundles: Sequence[Bundle]) -> dict[str, Right | str]:
    """Return the trials that published networks have right, as they are; a sentence where classes or electrodes do not fit."""
    found: dict[str, Right | str] = {}
    known: dict[str, RecordedTrials] = {}
    for bundle in bundles:
        terms = bundle.contract.model_copy(update={"temperature": 1.0}).model_dump_json()
        try:
            if terms not in known:
                known[terms] = run.prepare(replace(conditioned.plan, start=bundle)).data
            data = known[terms]
            network = starting_network(bundle, data.classes)
            only = replace(data, windows=data.windows[:0])
            found[bundle.name] = right_of(data, fit.untouched_logits(only, network).argmax(axis=1))
        except Exception as error:  # noqa: BLE001 - one that does not fit is reported, and the others go on
            found[bundle.name] = _sentence(error)
    return found


def right_of(data: RecordedTrials, classes: NDArray[np.intp]) -> Right:
    """Return which cued trials were decided right, from the classes of those with a deciding window."""
    right = np.zeros(len(data.labels), dtype=bool)
    right[data.decided] = classes == data.labels[data.decided]
    return right


def layout(contract: Contract) -> tuple[frozenset[str], frozenset[str], float, int]:
    """Return what has to agree for people to be trained on together: classes, electrodes, rate and length of a window."""
    electrodes = frozenset(label.casefold() for label in contract.channels)
    return frozenset(contract.classes), electrodes, contract.sfreq, contract.window_samples


@dataclass(frozen=True)
class Examples:
    """Examples to train a decoder on: its inputs ``x`` (of windows, along the first axis), the trial of each, and the class of each trial."""

    x: NDArray[np.floating]
    trial: NDArray[np.intp]
    of_trials: NDArray[np.intp]

    @property
    def labels(self) -> NDArray[np.intp]:
        return self.of_trials[self.trial]

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights that make trials count equally."""
        return np.asarray(1 / np.bincount(self.trial)[self.trial])


def without(data: RecordedTrials, x: NDArray[np.floating], held_out: NDArray[np.intp]) -> Examples:
    """Return the examples of all trials but those held out."""
    kept = ~np.isin(data.trial, held_out)
    usable, trial = np.unique(data.trial[kept], return_inverse=True)
    return Examples(np.asarray(x[kept]), trial.astype(np.intp), data.labels[usable])


def joined(people: Sequence[tuple[Conditioned, NDArray[np.floating]]], contract: Contract) -> Examples:
    """Return the examples of several sessions, with electrodes and classes in the order of a contract.

    Inputs are windows ``(n, n_chans, n_times)`` or covariances ``(n, n_bands, n_chans, n_chans)``.
    """
    parts, trials, labels, n = [], [], [], 0
    wanted = [label.casefold() for label in contract.channels]
    for other, x in people:
        electrodes = [label.casefold() for label in other.contract.channels]
        order = [electrodes.index(label) for label in wanted]
        classes = np.array([contract.classes.index(name) for name in other.contract.classes], dtype=np.intp)
        one = without(other.data, x, np.empty(0, dtype=np.intp))
        parts.append(one.x[:, order] if one.x.ndim == 3 else one.x[:, :, order][..., order])
        trials.append(one.trial + n)
        labels.append(classes[one.of_trials])
        n += len(one.of_trials)
    return Examples(np.concatenate(parts), np.concatenate(trials), np.concatenate(labels))


def describe(conditioned: Conditioned) -> str:
    """Return how many runs and trials of a session there are, and how many give a decision."""
    data = conditioned.data
    return (
        f"{conditioned.session.name}: {counted(len(conditioned.plan.paths), 'run')}, {len(data.labels)} trials, "
        f"{len(data.decided)} with a valid window when they are decided."
    )
