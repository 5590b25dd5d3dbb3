"""``mindwire evaluate`` on real recordings, and what it says when asked for what is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.cli.options import split_files
from mindwire.control.policy import ControlPolicy, load_policy
from mindwire.control.stages import Decide, Latest
from mindwire.errors import ContractError, MindwireError, RecordingError, UsageError

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first published checkpoint, exported for four classes."""
    checkpoint = data_dir / "checkpoints" / "bcic2a-loso-riemann-1.ckpt"
    out = tmp_path_factory.mktemp("evaluate") / "bundle"
    result = CliRunner().invoke(app, ["export", str(checkpoint), "--preset", "bcic2a", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("kind", "at_least"), [("22ch-250hz", 25), ("64ch-160hz", 24)])
def test_the_published_checkpoint_decides_another_laboratory_s_recordings(
    kind: str, at_least: int, bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    files = [data_dir / "s1" / f"s1-run{run_}-{kind}.xdf" for run_ in ("04", "08")]
    output = run(*files, "--model", bundle, "--classes", "left_hand,right_hand", "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    overall = report["overall"]
    assert overall["n_trials"] == 30
    assert overall["n_undecided"] == 0
    assert overall["n_correct"] >= at_least
    assert overall["accuracy"] == overall["n_correct"] / 30
    assert [Path(r["file"]).name for r in report["runs"]] == [file.name for file in files]
    assert sum(r["n_correct"] for r in report["runs"]) == overall["n_correct"]
    assert report["classes"] == ["left_hand", "right_hand"]
    assert f"{overall['n_correct']} of 30 trials right" in output
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


def test_without_alignment_the_same_recordings_are_decided_about_by_chance(
    bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    file = data_dir / "s1" / "s1-run04-22ch-250hz.xdf"
    options = ("--classes", "left_hand,right_hand", "--alignment", "off", "--beside", "online")
    output = run(file, "--model", bundle, *options, "--idle", "left_hand", "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    low, high = report["overall"]["chance_interval"]
    assert low <= report["overall"]["accuracy"] <= high
    assert report["alignment"] == "off"
    assert report["beside"]["alignment"] == "online"
    assert report["beside"]["overall"]["n_correct"] > report["overall"]["n_correct"]
    assert report["beside"]["runs"][0]["file"] == file.name
    assert (report["idle"]["idle_class"], report["idle"]["n_movements"]) == ("left_hand", 7)
    assert "false activations per minute of left_hand" in " ".join(output.split())
    assert "not distinguishable from guessing" in " ".join(output.split())


def test_a_control_policy_is_counted_in_trials_and_at_rest(bundle: Path, data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / "s1" / "s1-run04-22ch-250hz.xdf"
    policy = tmp_path / "control.json"
    policy.write_text(ControlPolicy(evidence=Latest(), decide=Decide(commit=0.35, release=0.3, dwell_s=0.2)).to_json())
    arguments = (file, "--model", bundle, "--classes", "left_hand,right_hand", "--control", policy)
    output = " ".join(run(*arguments, "--out", tmp_path / "none").split())
    assert "There is no rest in these recordings, so false activations cannot be counted" in output
    output = " ".join(
        run(*arguments, "--rest", "rest..left_hand", "--rest", "rest..right_hand", "--out", tmp_path).split()
    )
    control = json.loads((tmp_path / "report.json").read_text())["control"]
    figures = control["score"]["overall"]
    assert figures["n_trials"] == 15
    assert 0.5 < figures["rest_minutes"] < 1.1
    assert f"{figures['n_right']} of 15 trials with a right activation" in output
    assert f"{figures['false_activations']} in {figures['rest_minutes']:.1f} minutes of rest proves at most" in output
    page = (tmp_path / "report.html").read_text()
    assert "Right activations against false ones at rest" in page
    assert f"{figures['n_right']}/15" in page
    assert control["sha256"] == load_policy(policy).hash


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ["--rest", "rest..left_hand"],
            UsageError,
            "`mindwire tune` writes and --control names, found --rest; leave it out",
        ),
        (["--between", "--classes", "feet,tongue"], UsageError, "trials of classes left out by --classes included"),
        (["--classes", "left_hand,tail"], UsageError, "no class 'tail'; its classes are feet, left_hand"),
        (["--classes", "left_hand"], UsageError, "at least two of feet"),
        (["--markers", "7=left_hand"], UsageError, "no marker '7'; its markers are 'rest'"),
        (["--markers", "rest=tail"], UsageError, "'tail' does not exist; the classes are feet"),
        (["--markers", "left_hand", "right_hand"], UsageError, "LABEL=CLASS such as 2=left_hand, found 'left_hand'"),
        (["--markers", "left_hand=2", "right_hand=3"], UsageError, "class '2' does not exist"),
        (["--classes", "feet,tongue"], RecordingError, "expected markers for feet, tongue, but its markers are 'rest'"),
        (["--at", "0"], UsageError, "--at must be above 0"),
        (["--alignment", "frozen"], UsageError, "no warm start"),
        (["--stream", "name=nobody"], MindwireError, "EEG-S1"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    arguments: list[str], error: type[MindwireError], message: str, bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    file = data_dir / "s1" / "s1-run04-22ch-250hz.xdf"
    with pytest.raises(error, match=message):
        run(file, "--model", bundle, "--out", tmp_path, *arguments)


@pytest.mark.parametrize(
    ("file", "markers"),
    [
        ("marker-spaces.xdf", ("Stimulus/S  1=left_hand", "Stimulus/S  2=right_hand")),
        ("marker-spaces.xdf", ("1=left_hand", "S2=right_hand")),
        ("marker-commas.xdf", ("switch,2,0,2=left_hand", "switch,2,1,2=right_hand")),
    ],
)
def test_labels_with_blanks_and_commas_are_mapped(
    file: str, markers: tuple[str, ...], bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir / "faulty" / file, "--model", bundle, "--markers", *markers, "--out", tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["overall"]["n_cued"] == 4


def test_trials_of_classes_that_the_model_lacks_are_told_and_one_class_gives_no_verdict(
    bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    output = " ".join(run(data_dir / "s1" / "s1-run06-22ch-250hz.xdf", "--model", bundle, "--out", tmp_path).split())
    notes = [
        "22 markers (rest 15, both_hands 7) belong to no class of the model and were left out.",
        "No trial is of left_hand, right_hand, tongue, so the figures say nothing of them.",
    ]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["notes"] == notes
    assert report["overall"]["better_than_chance"] is None
    assert "all are of feet, which always answering feet decides as well: no verdict" in output
    page = (tmp_path / "report.html").read_text()
    for note in notes:
        assert note in output
    assert notes[0] in page
    assert "No trial is of left hand, right hand, tongue" in page


def test_cues_of_another_clock_are_told(bundle: Path, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecordingError, match=r"none of the 4 cues lies within the EEG's time.*1699998981\.5 s apart; the EEG"
    ):
        run(data_dir / "faulty" / "eeg-unix-markers-lsl.xdf", "--model", bundle, "--out", tmp_path)


def test_the_same_recording_twice_is_refused(bundle: Path, data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / "faulty" / "marker-spaces.xdf"
    copy = tmp_path / "copy.xdf"
    copy.write_bytes(file.read_bytes())
    for other, told in ((file, "is named twice"), (copy, "is the same recording as")):
        with pytest.raises(UsageError, match=told):
            run(file, other, "--model", bundle, "--out", tmp_path / "out")


def test_a_clock_that_jumps_and_returns_loses_only_the_trials_that_it_jumps_over(
    bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.xdf"
    damaged.write_bytes((data_dir / "faulty" / "stamps-jump-and-return.xdf").read_bytes() + b"\xff" * 30)
    output = run(damaged, "--model", bundle, "--at", 4, "--out", tmp_path)
    assert f"mindwire: {damaged}: The file ends in an incomplete chunk" in output
    assert re.search(r"damaged\.xdf: \d+ (gap|clock jump)s? in the signal, \d+\.\d+ s together", output)
    overall = json.loads((tmp_path / "report.json").read_text())["overall"]
    assert (overall["n_cued"], overall["undecided"]) == (4, {"no_prediction": 3})
    # The last one, a right hand, after the return.
    assert [sum(row) for row in overall["confusion"]] == [0, 0, 1, 0]


def test_a_signal_that_cannot_meet_the_contract_is_refused(bundle: Path, data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / "a" / "a-day1-run2.xdf"
    with pytest.raises(ContractError):
        run(file, "--model", bundle, "--out", tmp_path, "--markers", "2=left_hand", "3=right_hand")


def test_further_assignments_after_markers_are_told_from_files(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.write_text("")
    assignments = [
        "2=left_hand",
        "Stimulus/S  3=right_hand",
        "class=left=left",
        '{"a": "/b", "c": 1}=right',
        f"{'x' * 999}=y",
    ]
    assert split_files([str(odd), *assignments], expect_assignments=True) == ([odd], assignments)
    arguments = [str(odd), "2=left_hand"]
    with pytest.raises(
        UsageError, match="2=left_hand: there is no such recording; LABEL=CLASS is given after --markers"
    ):
        split_files(arguments, expect_assignments=False)
    with pytest.raises(UsageError, match=r"b=c\.xdf: there is no such recording; check the path"):
        split_files(["b=c.xdf"], expect_assignments=True)
    with pytest.raises(UsageError, match="at least one recording"):
        split_files(["2=left_hand"], expect_assignments=True)
