"""Recordings at URLs, from a web server that lists its folders."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import MissingExtraError, RecordingError, UsageError
from mindwire.sources.recording import open_recording
from mindwire.sources.recording_lists import listed_recordings
from tests.support.bundles import random_bundle
from tests.support.calibration_recordings import record
from tests.support.streaming import contract

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Requests(SimpleHTTPRequestHandler):
    """Notes which files were asked for."""

    def __init__(self, *arguments, taken, **options) -> None:
        self._taken = taken
        super().__init__(*arguments, **options)

    def log_message(self, *_) -> None:
        if self.command == "GET" and not self.path.endswith("/"):
            self._taken.append(self.path)


@contextmanager
def served(folder: Path):
    taken: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Requests, directory=str(folder), taken=taken))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A web server with three recordings and a note; its address, the files asked for, and its folder."""
    monkeypatch.setenv("MINDWIRE_CACHE", str(tmp_path / "copies"))
    folder = tmp_path / "store"
    for i, name in enumerate(("day1/run1.xdf", "day1/run2.xdf", "day2/run1.xdf")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        record(folder / name, i, n=4)
    (folder / "day1" / "notes.txt").write_text("no recording")
    with served(folder) as (url, taken):
        yield url, taken, folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/day1/run1.xdf", ["day1/run1.xdf"]),
        ("/day1", ["day1/run1.xdf", "day1/run2.xdf"]),
        ("", ["day1/run1.xdf", "day1/run2.xdf", "day2/run1.xdf"]),
        ("/day1/*.xdf", ["day1/run1.xdf", "day1/run2.xdf"]),
        ("/**/run1.xdf", ["day1/run1.xdf", "day2/run1.xdf"]),
    ],
)
def test_recordings_folders_and_patterns_are_read_as_on_this_machine(store, text, expected):
    url, taken, folder = store
    listed = [one.path for one in listed_recordings([f"{url}{text}"])]
    assert not [path for path in taken if path.endswith(".xdf")]  # copied when it is opened, not before
    for path, name in zip(listed, expected, strict=True):
        opened = open_recording(path)
        assert opened.path.read_bytes() == (folder / name).read_bytes()
        assert opened.path.name == Path(name).name
        open_recording(path)
    assert [path for path in taken if path.endswith(".xdf")] == [f"/{name}" for name in expected]  # once


def test_a_recording_that_has_changed_is_copied_again_under_another_path(store):
    url, _, folder = store
    (before,) = listed_recordings([f"{url}/day2"])
    old = open_recording(before.path).path.read_bytes()
    record(folder / "day2" / "run1.xdf", 7, n=6)
    (after,) = listed_recordings([f"{url}/day2"])
    assert after.path != before.path
    assert open_recording(after.path).path.read_bytes() == (folder / "day2" / "run1.xdf").read_bytes() != old
    assert before.path.read_bytes() == old


def test_all_files_of_a_recording_are_copied_with_the_one_that_is_named(store):
    url, taken, folder = store
    own = ["run #1 (50 %).eeg", "run #1 (50 %).vhdr", "run #1 (50 %).vmrk"]
    for name in (*own, "run #1 (50 %)b.eeg"):
        (folder / name).write_text(name)
    for name in ("whole.mff/info.xml", "whole.mff/part/signal1.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    header, whole = (listed_recordings([f"{url}/{name}"])[0].path for name in ("*.vhdr", "whole.mff"))
    for path in (header, whole):
        with pytest.raises(RecordingError):  # they are no real ones
            open_recording(path)
    assert sorted(path.name for path in header.parent.iterdir()) == own
    assert (whole / "part" / "signal1.bin").read_text() == "whole.mff/part/signal1.bin"
    assert not [path for path in taken if path.endswith("b.eeg")]
    assert whole in [one.path for one in listed_recordings([url])]


def test_several_that_open_a_recording_at_once_have_one_copy_of_it(store):
    url, _, folder = store
    (one,) = listed_recordings([f"{url}/day2"])
    together = threading.Barrier(8)

    def opened(_):
        together.wait()
        return open_recording(one.path).path.read_bytes()

    with ThreadPoolExecutor(8) as threads:
        read = set(threads.map(opened, range(8)))
    assert read == {(folder / "day2" / "run1.xdf").read_bytes()}
    assert [path.name for path in one.path.parent.parent.iterdir()] == [one.path.parent.name]


def test_evaluation_of_a_table_of_urls_equals_that_of_the_files(store, tmp_path):
    url, _, _ = store
    bundle = random_bundle(tmp_path / "bundle", contract(window_samples=250, classes=("left_hand", "right_hand")))

    def evaluated(out: str, *rows: str, jobs: int = 1) -> list[object]:
        table = tmp_path / f"{out}.csv"
        table.write_text("file,participant\n" + "".join(f"{row},P{i}\n" for i, row in enumerate(rows)))
        options = ("--model", bundle, "--beside", "off", "--out", tmp_path / out, "--jobs", jobs)
        markers = ("--markers", "1=left_hand", "2=right_hand")
        result = CliRunner().invoke(app, ["evaluate", str(table), *map(str, (*options, *markers))])
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / out / "report.json").read_text())
        return [report["overall"], [run | {"file": ""} for run in report["runs"]]]

    names = ("day1/run1.xdf", "day2/run1.xdf")
    here = evaluated("here", *(f"store/{name}" for name in names))
    assert evaluated("there", *(f"{url}/{name}" for name in names)) == here
    shutil.rmtree(tmp_path / "copies")
    assert evaluated("jobs", f"{url}/day1/run1.xdf", f"{url}/day2", jobs=2) == here


def test_what_is_not_there_is_told_in_a_sentence(store, monkeypatch):
    url, _, folder = store
    (folder / "empty").mkdir()
    for text, why in (
        (f"{url}/none.xdf", "none that can be read"),
        (f"{url}/empty", "none of these"),
        (f"{url}/*.edf", "none of these"),
        ("http://127.0.0.1:9/run.xdf", "127.0.0.1:9"),
        ("nothing://host/run.xdf", "Protocol not known: nothing"),
        (f"{url}/day1/../day2/run1.xdf", "'..'"),
        (f"{url}/day1/run1.xdf?key=secret", "a question after '?'"),
        (url.replace("//", "//me:secret@") + "/day1/run1.xdf", "without a user and a password"),
    ):
        with pytest.raises(UsageError, match=r"^.+: expected .+") as raised:
            listed_recordings([text])
        assert why in str(raised.value)
        assert "secret" not in str(raised.value)
    (gone,) = listed_recordings([f"{url}/day2"])
    shutil.rmtree(folder / "day2")
    with pytest.raises(RecordingError, match="none that can be read"):
        open_recording(gone.path)
    assert not gone.path.parent.exists()
    with pytest.raises(MissingExtraError, match=r"Install s3fs to access S3, with pip\."):
        listed_recordings(["s3://bucket/run.xdf"])
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[jobs\]'"):
        listed_recordings([url])
