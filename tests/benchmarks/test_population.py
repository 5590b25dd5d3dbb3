"""The benchmark over people survives odd folders, trains on nothing that it decides, and compares in pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.calibration_recordings import CHANNELS, SFREQ, record
from tests.support.xdf_writer import eeg_file

pytest.importorskip("pyriemann")
pytest.importorskip("torch")

from benchmarks import population, population_data
from benchmarks.population_data import Paradigm, find_sessions
from benchmarks.population_report import Result, paired, table, write_picture
from mindwire_models import AttentionBaseNet
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from mindwire_models.export import export_bundle

MARKERS = ("1=left_hand", "2=right_hand")


def one_class(path: Path) -> Path:
    """Record cues of one class alone."""
    samples = np.random.default_rng(0).normal(0, 20, (2000, 4)).astype(np.float32)
    return eeg_file(path, samples, SFREQ, markers=[(1008.0, "1"), (1012.0, "1")], labels=CHANNELS)


def published(folder: Path) -> Path:
    """Write a network of random weights, whose classes are more than a person's, as a bundle."""
    contract = Contract(
        channels=CHANNELS[::-1],
        sfreq=SFREQ,
        window_samples=200,
        hop_samples=4,
        classes=("right_hand", "feet", "left_hand"),
        filters=Filters(highpass=Butterworth(order=2, freq=4.0)),
        normalisation=Alignment(kind="euclidean", scale="sample_mean", update_samples=100, ready_samples=400),
    )
    network = AttentionBaseNet(n_times=200, n_chans=4, n_outputs=3, n_temporal_filters=4).eval()
    export_bundle(network, contract, folder, name=folder.name, provenance="random weights", check="skip")
    return folder


def test_people_with_odd_folders(tmp_path, monkeypatch, capsys):
    paradigms = (
        Paradigm("tiny-.+", r"run\d\.xdf", MARKERS),
        Paradigm("days-.+", r"(?P<day>day\d)-.+\.xdf", MARKERS),
    )
    monkeypatch.setattr(population_data, "PARADIGMS", paradigms)
    folders = [tmp_path / name for name in ("tiny-1", "tiny-2", "tiny-3", "tiny-4", "tiny-5", "unknown", "absent")]
    for folder in folders[:-1]:
        folder.mkdir()
    other_cap = ("F3", "Fz", "F4", "Oz")
    for run in range(2):
        record(folders[0] / f"run{run}.xdf", seed=run, n=6)
    (folders[0] / "run7.xdf").write_bytes(b"XDF: but nothing that could be read")
    record(folders[0] / "run8.xdf", seed=8, n=2, labels=other_cap)
    record(folders[1] / "run0.xdf", seed=2, n=6)
    record(folders[2] / "run0.xdf", seed=3, n=4, labels=other_cap)
    one_class(folders[3] / "run0.xdf")
    bundle = published(tmp_path / "published")
    out = tmp_path / "out"
    command = ["population.py", *map(str, folders), "--checkpoint", str(bundle), "--out", str(out)]
    command += [word for name in population.DECODERS[:3] for word in ("--decoder", name)]
    monkeypatch.setattr(sys, "argv", command)
    population.main()
    printed, said = capsys.readouterr()
    for sentence in (
        f"{folders[0]}/run7.xdf: left out, ",
        f"{folders[0]}/run8.xdf: left out, its electrodes or rate are not those of the other runs.",
        "tiny-2: leave-one-run-out needs two runs, found 1.",
        "tiny-3: no other person has the same classes, electrodes and rate to train on.",
        "tiny-3: checkpoints are left out, ",
        "tiny-4: no trials of right_hand; it is decided between the other classes.",
        "tiny-4: trials of two classes are needed; the session is left out.",
        f"{folders[4]}: no file is called like",
        "unknown: expected a folder that is called like one of tiny-.+, days-.+; it is left out.",
        "absent: expected a folder with a person's recordings, found none.",
    ):
        assert sentence in said
    header, _, *rows = printed.splitlines()
    assert header == "| person | trained on | trials | tangent space | CSP+LDA | filter bank | checkpoint published |"
    found = {tuple(row.strip("| ").split(" | ")[:3]): row.strip("| ").split(" | ")[3:] for row in rows}
    own, others = "the person's other runs", "other people"
    assert [key[:2] for key in found if key[0].startswith("tiny")] == [
        ("tiny-1", own),
        ("tiny-2", own),  # by the checkpoint alone
        ("tiny-1", others),
        ("tiny-2", others),
    ]
    assert found["tiny-2", own, "6"][:3] == ["–", "–", "–"]
    right = [int(cell) for key in (("tiny-1", own, "12"), ("tiny-1", others, "12")) for cell in found[key][:3]]
    assert min(right) >= 9
    assert (out / "population.md").read_text().splitlines() == printed.splitlines()
    assert "<svg" in (out / "population.svg").read_text()

    # The table can be made again of what is known.
    monkeypatch.setattr(sys, "argv", ["population.py", "--out", str(out)])
    population.main()
    assert capsys.readouterr().out == printed


def test_folders_of_the_known_sets_become_sessions(tmp_path):
    files = {
        "grasp-S07": ["S07R1.edf", "S07R2.edf", "S07R2.txt"],
        "physionet-S004": ["S004R01.edf", "S004R04.edf", "S004R06.edf", "S004R08.edf"],
        "course-t": ["t-2021-07-14-run1.xdf", "t-2021-07-15-run1.xdf"],
        "s1": ["s1-run04-64ch-160hz.xdf", "s1-run04-22ch-250hz.xdf"],
        "a": ["a-day1-run1.xdf", "a-day3-run1.xdf", "a-day3-run2.xdf"],
    }
    for folder, names in files.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    sessions, remarks = find_sessions([tmp_path / folder for folder in files])
    assert not remarks
    assert {one.name: (one.person, len(one.runs)) for one in sessions} == {
        "grasp-S07": ("grasp-S07", 2),
        "physionet-S004 fists": ("physionet-S004", 2),
        "physionet-S004 feet": ("physionet-S004", 1),
        "course-t 2021-07-14": ("course-t", 1),
        "course-t 2021-07-15": ("course-t", 1),
        "s1 fists": ("physionet-S001", 1),
        "a day1": ("a", 1),
        "a day3": ("a", 2),
    }


def test_decoders_are_compared_in_pairs():
    def results(decoder: str, *people: tuple[str, list[int]]) -> list[Result]:
        return [Result(name, name, "runs", decoder, np.array(right, dtype=bool)) for name, right in people]

    ours = results("ours", ("p1", [1, 1, 1, 0]), ("p2", [1, 1, 0, 0]), ("p3", [1, 1, 1, 1]), ("p4", [1, 0]))
    theirs = results("theirs", ("p1", [0, 1, 0, 0]), ("p2", [0, 1, 1, 0]), ("p3", [1, 0, 0, 0]))
    found = paired(ours, theirs)
    # Alone right: 2 + 1 + 3 against 1; better in two people, equal in one.
    assert found is not None
    assert (found.alone, found.reference_alone, found.better, found.worse) == (6, 1, 2, 0)
    assert found.trials_p == pytest.approx(2 * 8 / 2**7)
    assert found.people_p == pytest.approx(0.5)
    assert paired(ours, []) is None
    equal = paired(ours, ours)
    assert equal is not None
    assert (equal.people_p, equal.trials_p) == (1.0, 1.0)
    rows = table([*ours, *theirs], ["theirs", "ours"], "theirs").splitlines()
    assert "| p4 | the person's other runs | 2 | – | 1 |" in rows
    assert rows[-4].endswith("| 4 of 12 | 10 of 14 |")
    assert rows[-3].endswith("| 33.3 ± 14.4 (3) | 68.8 ± 23.9 (4) |")
    assert rows[-2].endswith("| – | 2 : 0, p = 0.5 |")
    assert rows[-1].endswith("| – | 6 : 1, p = 0.12 |")


def test_a_picture_of_one_person(tmp_path):
    write_picture([Result("p1", "p1", "runs", "ours", np.array([True, False]))], ["ours"], tmp_path / "one.svg")
    assert "trained on the person's other runs" in (tmp_path / "one.svg").read_text()
