"""Choice of the recordings and classes that a job learns from."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from mindwire.errors import RecordingError
from mindwire.sessions.document import Moment, Run, SessionDocument, change_run, write_session
from mindwire.sessions.paradigm import check_paradigm
from mindwire.sessions.task import new_task, write_task
from mindwire.training import selection
from mindwire.training.selection import select, wait_until_read

HANDS = {"left_hand": 10, "right_hand": 10}
TASK = {"task_start motor-imagery": 1, "fixation": 20, "imagery_end": 20, "practice_left_hand": 3, "pause": 1}


def session(root, date, *runs, task=None):
    """Write a session whose runs have these cues, or are of another status or cap."""
    folder = root / "P01" / date
    folder.mkdir(parents=True)
    kept = []
    for number, (cues, fields) in enumerate(runs, 1):
        (folder / f"run-{number:02d}.xdf").write_bytes(b"XDF:")
        fields = {"status": "complete", "source": {"labels": ["C3", "C4"]}, "sha256": "a"} | fields
        if fields["status"] == "recording":
            fields["sha256"] = None
        kept.append(Run(number, f"run-{number:02d}.xdf", "cap", started=Moment(1.0, 1.0), cues=cues, **fields))
    write_session(folder, SessionDocument("P01", date, tuple(kept)))
    if task is not None:
        paradigm = check_paradigm({"name": "own", "title": "Own"} | task)
        write_task(folder, new_task(paradigm, 1, number=1, participant="P01", date=date, stream="cap"))


def names(paths):
    return [f"{path.parent.name}/{path.name}" for path in paths]


def test_all_runs_with_cues_are_taken_the_newest_session_first_and_rest_beside_them(tmp_path):
    session(tmp_path, "2026-11-28", (HANDS, {}), (HANDS, {"source": {"labels": ["C3"]}}))
    session(
        tmp_path,
        "2026-11-29",
        ({"rest_start": 1, "rest_end": 1}, {}),
        (HANDS | TASK, {}),
        (HANDS | TASK, {"status": "interrupted"}),
        ({"left_hand": 9}, {}),
        (None, {"status": "recording"}),
    )
    chosen = select(tmp_path, "P01", None, None)
    assert names(chosen.recordings) == ["2026-11-29/run-03.xdf", "2026-11-29/run-02.xdf", "2026-11-28/run-01.xdf"]
    assert names(chosen.rest) == ["2026-11-29/run-01.xdf"]
    assert chosen.classes == ("left_hand", "right_hand")
    assert chosen.left_out == (
        {"reason": "still_recording", "recording": "2026-11-29/run-05.xdf", "trials": 0},
        {"reason": "other_electrodes", "recording": "2026-11-28/run-02.xdf", "trials": 20},
    )


def test_classes_are_those_of_the_task_and_else_of_the_cues(tmp_path):
    cues = {"push": 10, "pull": 10, "beep": 20}
    session(tmp_path, "2026-11-29", (cues, {}), task={"kind": "cued", "classes": ["push", "pull"]})
    assert select(tmp_path, "P01", None, None).classes == ("push", "pull")
    session(tmp_path / "other", "2026-11-29", (cues, {}), task={"kind": "rest"})
    assert select(tmp_path / "other", "P01", None, None).classes == ("beep", "pull", "push")
    assert select(tmp_path / "other", "P01", None, ["push", "pull"]).classes == ("push", "pull")
    (tmp_path / "other/P01/2026-11-29/task-01.json").write_text("{damaged")
    assert len(select(tmp_path / "other", "P01", None, None).recordings) == 1


def test_recordings_that_are_named_are_taken_as_they_are(tmp_path):
    session(tmp_path, "2026-11-29", (HANDS, {}), ({"left_hand": 9}, {}), (None, {"status": "recording"}))
    chosen = select(tmp_path, "P01", ["2026-11-29/run-02.xdf"], ["left_hand", "right_hand"])
    assert names(chosen.recordings) == ["2026-11-29/run-02.xdf"]
    with pytest.raises(RecordingError, match="still being recorded"):
        select(tmp_path, "P01", ["2026-11-29/run-03.xdf"], None)


def test_recordings_that_are_named_are_used_the_newest_first(tmp_path):
    for date in ("2026-11-28", "2026-11-29"):
        session(tmp_path, date, (HANDS, {}), (HANDS, {}))
    named = ["2026-11-28/run-02.xdf", "2026-11-29/run-01.xdf", "2026-11-29/run-02.xdf"]
    assert names(select(tmp_path, "P01", named, None).recordings) == [named[2], named[1], named[0]]


def test_recordings_of_two_caps_are_one_set_only_with_the_electrodes_of_the_newest(tmp_path):
    smaller = {"source": {"labels": ["C3"]}}
    session(tmp_path, "2026-11-28", (HANDS, smaller), ({"rest_start": 1, "rest_end": 1}, smaller))
    session(tmp_path, "2026-11-29", (HANDS, {}))
    chosen = select(tmp_path, "P01", None, None)
    assert (names(chosen.recordings), chosen.rest) == (["2026-11-29/run-01.xdf"], ())
    assert [one["recording"] for one in chosen.left_out] == ["2026-11-28/run-01.xdf", "2026-11-28/run-02.xdf"]
    named = ["2026-11-28/run-01.xdf", "2026-11-29/run-01.xdf"]
    with pytest.raises(
        RecordingError, match=r"2026-11-28/run-01.xdf lacks electrodes of 2026-11-29/run-01.xdf, the newest"
    ):
        select(tmp_path, "P01", named, None)
    assert len(select(tmp_path, "P01", named, None, any_electrodes=True).recordings) == 2


def test_a_run_that_cannot_be_read_is_not_waited_for_and_is_left_out(tmp_path, monkeypatch):
    damaged = {"sha256": "", "ended": Moment(time.time(), 2.0), "problems": ("It is damaged.",)}
    session(tmp_path, "2026-11-29", (HANDS, {}), (None, damaged))
    monkeypatch.setattr(selection, "time", SimpleNamespace(sleep=pytest.fail, monotonic=time.monotonic, time=time.time))
    wait_until_read(tmp_path, "P01")
    assert select(tmp_path, "P01", None, None).left_out == (
        {"reason": "unreadable", "recording": "2026-11-29/run-02.xdf", "trials": 0},
    )
    with pytest.raises(RecordingError, match=r"run-02.xdf cannot be read; leave it out. It is damaged\."):
        select(tmp_path, "P01", ["2026-11-29/run-02.xdf"], None)


@pytest.mark.parametrize("name", ["../../secret.xdf", "2026-11-29/run-09.xdf", "/etc/passwd", "2026-11-29/link.xdf"])
def test_a_recording_outside_the_participants_folder_is_refused(tmp_path, name):
    session(tmp_path, "2026-11-29", (HANDS, {}))
    (tmp_path / "secret.xdf").write_bytes(b"XDF:")
    (tmp_path / "P01/2026-11-29/link.xdf").symlink_to(tmp_path / "secret.xdf")
    with pytest.raises(RecordingError, match=r"There is no recording '.*' of P01; expected one such as"):
        select(tmp_path, "P01", [name], None)


def test_nothing_to_learn_from_is_one_sentence_with_the_cues_that_there_are(tmp_path):
    with pytest.raises(RecordingError, match="There is no session of P01 with a recording"):
        select(tmp_path, "P01", None, None)
    session(tmp_path, "2026-11-29", ({"left_hand": 9, "fixation": 9}, {}))
    with pytest.raises(RecordingError, match=r"at least two classes; its cues are left_hand\. Record a run"):
        select(tmp_path, "P01", None, None)


def test_a_run_that_has_just_ended_is_waited_for_and_an_old_one_that_was_never_read_is_not(tmp_path):
    just_ended = {"ended": Moment(time.time(), 2.0), "sha256": None}
    session(tmp_path, "2026-11-28", (None, {"ended": Moment(time.time() - 3600, 2.0), "sha256": None}))
    session(tmp_path, "2026-11-29", (HANDS, {}), (None, just_ended))

    def read() -> None:
        change_run(tmp_path / "P01/2026-11-29", 2, cues=HANDS, sha256="a")

    reader = threading.Timer(0.3, read)
    reader.start()
    wait_until_read(tmp_path, "P01")
    assert len(select(tmp_path, "P01", None, None).recordings) == 2
    reader.join()
