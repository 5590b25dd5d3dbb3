"""Sessions on disk: names, locks, runs that are never overwritten, and what is left after a crash."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import msgspec
import pytest

from mindwire.config import StreamSpec
from mindwire.errors import RecordingError
from mindwire.sessions.completion import complete_run, recover_runs
from mindwire.sessions.document import (
    Moment,
    Run,
    UsedModel,
    change_run,
    read_session,
    sessions_in,
)
from mindwire.sessions.folder import open_session
from mindwire.sessions.runs import SessionRuns
from mindwire.status import RecordingRequest
from mindwire_models import zoo
from mindwire_models.bundle import load_bundle
from tests.support.signals import noise
from tests.support.xdf_writer import eeg_file

HOSTILE = (
    "", ".", "..", "../P01", "P01/..", "/etc", "a/b", "a\\b", "P 1", "P01\n", "P01\x00", "-P01", "P01-", "Ä1", "１",
    "CON", "nul", "com1", "Lpt9", ".lock", "P_1", "P01.xdf", "x" * 65, "%2e%2e", "~", "$HOME",
)  # fmt: skip


def begin(session, number=None, **fields):
    def make(number, file):
        return Run(number, file, "cap", "recording", Moment(1.0, 2.0), **fields)

    return session.begin_run(number, make)


@pytest.fixture
def session(tmp_path):
    opened = open_session(tmp_path / "sessions", "P01", "2026-11-29")
    yield opened
    opened.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_participant_is_refused_everywhere(tmp_path, name):
    with pytest.raises(RecordingError, match="Expected a participant's name"):
        open_session(tmp_path / "sessions", name)
    assert not (tmp_path / "sessions").exists()
    with pytest.raises(ValueError, match="participant's name"):
        RecordingRequest(participant=name)
    with pytest.raises(ValueError, match="participant's name"):
        StreamSpec(name="cap", participant=name)


def test_a_name_that_differs_in_capitals_alone_is_refused(tmp_path, session):
    with pytest.raises(RecordingError, match="There is a participant P01 in"):
        open_session(tmp_path / "sessions", "p01")


def test_runs_are_numbered_on_and_never_overwritten(session):
    first = begin(session)
    (session.folder / "run-02.xdf").write_bytes(b"someone's")
    assert [begin(session).file, begin(session, 7).file, begin(session).file] == [
        "run-03.xdf", "run-07.xdf", "run-08.xdf",
    ]  # fmt: skip
    for taken in (1, 2, 7):
        with pytest.raises(RecordingError, match=f"has a run {taken} already; leave the number out"):
            begin(session, taken)
    assert (session.folder / "run-02.xdf").read_bytes() == b"someone's"
    assert [run.run for run in read_session(session.folder).runs] == [1, 3, 7, 8]
    assert read_session(session.folder).run(1) == first
    document = json.loads((session.folder / "session.json").read_text())
    assert (document["format"], document["version"], document["participant"]) == ("mindwire-session", 1, "P01")


def test_runs_begun_at_one_moment_have_entries_of_their_own(session):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: begin(session).run, range(24)))
    assert sorted(runs) == list(range(1, 25))
    assert len(read_session(session.folder).runs) == 24


OTHER = """
import sys
from pathlib import Path
from mindwire.sessions.folder import open_session
from mindwire.sessions.runs import SessionRuns
open_session(Path(sys.argv[1]), "P01", "2026-11-29")
print("held", flush=True)
sys.stdin.read()
"""


def test_one_service_alone_writes_a_session_and_a_dead_one_holds_nothing(tmp_path):
    root = tmp_path / "sessions"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RecordingError, match=rf"is being recorded by process {other.pid} on .*mindwire"):
            open_session(root, "P01", "2026-11-29")
        open_session(root, "P02", "2026-11-29").close()
        assert recover_runs(root) == []
        other.kill()
    open_session(root, "P01", "2026-11-29").close()


def test_streams_of_one_service_share_a_session(tmp_path):
    root = tmp_path / "sessions"
    one, two = (open_session(root, "P01") for _ in range(2))
    assert one is two
    one.close()
    assert begin(two).run == 1
    two.close()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"participant": 1}', b'{"format":"x","participant":"P","date":"d"}'])
def test_a_damaged_session_is_refused_in_a_sentence_and_left_as_it_is(tmp_path, content):
    folder = tmp_path / "sessions" / "P01" / "2026-11-29"
    folder.mkdir(parents=True)
    (folder / "session.json").write_bytes(content)
    with pytest.raises(RecordingError, match=r"session.json"):
        open_session(tmp_path / "sessions", "P01", "2026-11-29")
    assert (folder / "session.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "P01").write_text("a file")
    with pytest.raises(RecordingError, match=r"cannot be written in .*; choose another folder with --sessions\."):
        open_session(tmp_path / "sessions", "P01")


def test_a_full_disk_leaves_no_run_half_begun(session, monkeypatch):
    before = (session.folder / "session.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mindwire.sessions.folder.write_session", full)
    with pytest.raises(RecordingError, match=r"No run can be begun in .* \(No space left on device\)\."):
        begin(session)
    assert not list(session.folder.glob("*.xdf"))
    assert (session.folder / "session.json").read_bytes() == before


def test_a_bundle_is_copied_once_and_loads_as_itself(session):
    bundle = load_bundle(zoo.zoo_bundle_path())
    place = session.keep_bundle(bundle)
    assert place == f"models/{bundle.name}-{bundle.sha256[:8]}"
    assert load_bundle(session.folder / place).sha256 == bundle.sha256
    copied = (session.folder / place / "model.onnx").stat().st_mtime_ns
    assert session.keep_bundle(bundle) == place
    assert (session.folder / place / "model.onnx").stat().st_mtime_ns == copied
    (session.folder / place / "model.onnx").write_bytes(b"damaged")
    session.keep_bundle(bundle)
    assert load_bundle(session.folder / place).sha256 == bundle.sha256


def test_unfinished_runs_are_completed_by_the_next_start_and_nothing_in_them_is_lost(tmp_path):
    root = tmp_path / "sessions"
    session = open_session(root, "P01", "2026-11-29")
    used = (UsedModel("m", "ab" * 32),)
    run, empty, ended, lost = (begin(session, models=used) for _ in range(4))
    cues = [(20.5, "left"), (21.5, "right"), (22.5, "left")]
    for one in (run, ended):
        eeg_file(session.folder / one.file, noise(500), 100.0, ("a", "b", "c"), markers=cues)
    (session.folder / lost.file).unlink()
    change_run(session.folder, ended.run, status="complete", ended=Moment(5.0, 6.0), ending="ended on request")
    session.active.clear()  # as after kill -9
    before = (session.folder / run.file).read_bytes()
    session.close()
    recovered = {run.run: run for _, run in recover_runs(root)}
    assert {n: one.status for n, one in recovered.items()} == {
        1: "interrupted", 2: "interrupted", 3: "complete", 4: "interrupted",
    }  # fmt: skip
    assert recovered[run.run].cues == {"left": 2, "right": 1}
    assert recovered[run.run].sha256 == hashlib.sha256(before).hexdigest()
    assert recovered[run.run].ending == "the service ended without ending the recording"
    assert recovered[ended.run].ending == "ended on request"
    assert "nothing was recorded" in recovered[lost.run].problems[0]
    assert recovered[empty.run].problems
    assert recovered[run.run].models == used
    assert (session.folder / run.file).read_bytes() == before
    assert recover_runs(root) == []
    assert sessions_in(root) == sessions_in(root / "P01") == sessions_in(session.folder) == [session.folder]


def test_a_run_is_complete_with_the_models_and_policies_that_its_events_name(tmp_path, session):
    run = begin(session, models=(UsedModel("m", "ab" * 32, folder="models/m"),))
    eeg_file(session.folder / run.file, noise(500), 100.0, ("a", "b", "c"), markers=[(20.5, "left")])
    done = complete_run(session.folder, run.run, "complete", "ended on request")
    assert done.status == "complete"
    assert done.cues == {"left": 1}
    assert msgspec.structs.replace(done, sha256=None).models == run.models
    assert any("does not hold the beginning of the run" in problem for problem in done.problems)


def test_a_run_that_ends_while_the_disk_is_full_is_entered_once_there_is_room(tmp_path, monkeypatch):
    status = SimpleNamespace(
        model=SimpleNamespace(engine="e"), control=None, clock_offset_s=0.0, drift_ppm=0.0, effective_rate=100.0
    )
    bundle = load_bundle(zoo.zoo_bundle_path())
    session = open_session(tmp_path / "sessions", "P01", "2026-11-29")
    runs = SessionRuns(session, "cap", bundle, lambda: status, lambda: 0)
    path = runs.begin(None)
    eeg_file(path, noise(500), 100.0, ("a", "b", "c"), markers=[(1001.0, "left")])
    with monkeypatch.context() as context:
        context.setattr("mindwire.sessions.runs.change_run", raising(OSError(28, "No space left on device")))
        runs.end("has not grown", "interrupted")
    assert read_session(session.folder).run(1).status == "recording"
    assert runs.describe(recording=False).status == "interrupted"
    runs.close()
    assert runs.wait(30)
    run = read_session(session.folder).run(1)
    assert (run.status, run.ending, run.cues) == ("interrupted", "has not grown", {"left": 1})
    assert run.sha256


def raising(error):
    def function(*_, **__):
        raise error

    return function
