"""Verification: a recorded run against its replay, from files made for the purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from models.bundle import load_bundle
from service.cli.main import app
from service.errors import BundleError, MindwireError, RecordingError, UsageError
from service.inference.load import load_decoder
from service.pipeline import AdaptationCommand, Pipeline, PipelineOptions
from service.sources.recording import open_recording
from service.types import Chunk, Reason
from service.verify import recorded_run, run_details, verify
from tests.service.bundles import random_bundle
from tests.service.linear_decoder import LinearDecoder
from tests.service.signals import LABELS, noise, signal_info, small_contract
from tests.service.xdf_writer import XdfWriter

pytest.importorskip("torch")

N = 1500
START = 300  # samples that only the recorder saw
SAMPLES = noise(N).astype(np.float32)
TIMES = 2000.0 + np.arange(N) / 100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("verify") / "bundle", small_contract(window_samples=200)))


class LiveRun:
    """What a service publishes of a run, as a recorder would write it."""

    def __init__(self, bundle, options=None, *, name="cap", decoder=None) -> None:
        self.decoder = decoder or LinearDecoder(2)
        self.name = name
        self.bundle = bundle
        self.options = options or PipelineOptions()
        self.events: list[tuple[float, str, dict]] = []
        self.rows: list[np.ndarray] = []
        self.times: list[float] = []

    def begin(self, time, *, reconnect=False):
        source = {"name": "EEG-Test", "source_id": "cap-1", "uid": "u-cap-1"}
        details = run_details(self.bundle, self.options)
        self.events.append((time, "recording", {"time": time, "source": source, **details, "reconnect": reconnect}))

    def play(self, commands=(), reconnects=(), skip=()):
        """Run the pipeline as a live service does, chunk by chunk."""
        info = signal_info(name="EEG-Test", source_id="cap-1", uid="u-cap-1")
        pipeline = Pipeline(self.bundle.contract, info, self.decoder, self.options)
        self.begin(TIMES[START] + 2e-4)  # the live clock's offset was measured a little differently
        for at in range(START, N, 25):
            broken = Reason.NONE
            if at in reconnects:
                self.begin(TIMES[at], reconnect=True)
                broken = Reason.RECONNECT
            for p in pipeline.process(Chunk(SAMPLES[at : at + 25], TIMES[at : at + 25] + 2e-4, broken)):
                if p.seq not in skip:
                    self.rows.append(p.probabilities if p.valid else np.full(2, np.nan))
                    self.times.append(p.time)
            if at in commands:
                pipeline.adapt(AdaptationCommand(*commands[at]))
            self.events += [(TIMES[at], e.kind, dict(e.data)) for e in pipeline.drain_events()]
        return self

    def write(self, path, *others):
        writer = XdfWriter().stream(n_channels=3, labels=LABELS)
        for at in range(0, N, 100):
            writer.samples(SAMPLES[at : at + 100], TIMES[at : at + 100].tolist())
        for number, run in enumerate((self, *others)):
            a, b = 10 + 2 * number, 11 + 2 * number
            writer.stream(
                a, name=f"Mindwire-{run.name}", type="Probabilities", n_channels=2, sfreq=0.0, source_id=f"p{a}"
            )
            writer.stream(
                b,
                name=f"Mindwire-{run.name}-events",
                type="Events",
                n_channels=1,
                sfreq=0.0,
                dtype="string",
                source_id=f"e{b}",
            )
            if run.rows:
                writer.samples(run.rows, run.times, a)
            texts = [
                [json.dumps({"kind": kind, "message": "", "unix_time": 0, "data": data})]
                for _, kind, data in run.events
            ]
            writer.samples([*texts, ["no JSON"], ["[1]"]], [*(t for t, _, _ in run.events), 9e3, 9e3], b)
        return writer.write(path)


def verified(path, bundle):
    recording = open_recording(path)
    return verify(recording, recorded_run(recording), bundle, LinearDecoder(2))


def test_a_run_is_given_by_its_recording(tmp_path, bundle):
    run = LiveRun(bundle).play()
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.compared == sum(not np.isnan(row).any() for row in run.rows) > 50
    assert found.largest_difference < 1e-6
    assert (found.validity_differs, found.missing, found.unknown) == (0, 0, 0)
    assert found.agrees(1e-6)


def test_commands_and_reconnections_are_repeated(tmp_path, bundle):
    commands = {600: ("freeze",), 800: ("resume",), 1000: ("rollback", 2)}
    plain = LiveRun(bundle, name="plain").play()
    run = LiveRun(bundle).play(commands, reconnects=(1100,))
    assert len(run.times) < len(plain.times)
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees(1e-6)
    assert found.compared > 50
    run.events = [event for event in run.events if event[1] != "adaptation"]
    assert not verified(run.write(tmp_path / "forgot.xdf"), bundle).agrees(1e-6)


def test_windows_skipped_live_are_no_contradiction(tmp_path, bundle):
    found = verified(LiveRun(bundle).play(skip=range(40, 60)).write(tmp_path / "r.xdf"), bundle)
    assert found.agrees(1e-6)
    assert found.missing == 20


def test_a_changed_number_is_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    at = next(k for k, row in enumerate(run.rows) if k > 60 and not np.isnan(row).any())
    run.rows[at] = run.rows[at] + np.array([1e-3, -1e-3])
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.largest_difference == pytest.approx(1e-3, rel=1e-2)
    assert found.at_time == pytest.approx(run.times[at])
    assert not found.agrees(1e-6)


def test_a_false_validity_is_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.rows[-1] = np.full(2, np.nan)
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.validity_differs == 1
    assert not found.agrees(1e-6)


def test_predictions_that_nothing_gives_are_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.times.append(5000.0)
    run.rows.append(np.array([0.5, 0.5]))
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.unknown == 1
    assert not found.agrees(1e-6)


def test_another_bundle_is_refused(tmp_path, bundle):
    other = load_bundle(random_bundle(tmp_path / "other", small_contract(window_samples=200), seed=5))
    path = LiveRun(bundle).play().write(tmp_path / "r.xdf")
    with pytest.raises(BundleError, match=r"was made with bundle .* found other"):
        verified(path, other)


def test_which_run_is_meant_must_be_clear(tmp_path, bundle):
    path = LiveRun(bundle, name="a").play().write(tmp_path / "r.xdf", LiveRun(bundle, name="b").play())
    recording = open_recording(path)
    with pytest.raises(UsageError, match="runs a, b"):
        recorded_run(recording)
    assert recorded_run(recording, "b").stream == "b"
    with pytest.raises(RecordingError, match="expected predictions of c, found a, b"):
        recorded_run(recording, "c")


def test_what_lacks_the_beginning_is_refused(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.events = []
    with pytest.raises(RecordingError, match="beginning of the run"):
        recorded_run(open_recording(run.write(tmp_path / "r.xdf")))
    plain = XdfWriter().stream(n_channels=3, labels=LABELS).samples(SAMPLES[:5], TIMES[:5].tolist())
    with pytest.raises(RecordingError, match="found none"):
        recorded_run(open_recording(plain.write(tmp_path / "plain.xdf")))


def test_own_events_are_no_markers(tmp_path, bundle):
    assert open_recording(LiveRun(bundle).play().write(tmp_path / "r.xdf")).markers() == []


def test_the_command(tmp_path, bundle):
    run = LiveRun(bundle, decoder=load_decoder(bundle, device="cpu")).play()
    good = CliRunner().invoke(app, ["verify", str(run.write(tmp_path / "r.xdf")), "--model", str(bundle.path)])
    assert good.exit_code == 0, good.output
    assert "largest difference" in good.output
    assert "gives the predictions it contains" in good.output
    run.rows[-1] = np.array([0.9, 0.1])
    bad = CliRunner().invoke(app, ["verify", str(run.write(tmp_path / "b.xdf")), "--model", str(bundle.path)])
    assert bad.exit_code == 1
    assert "NOT" in bad.output
    missing = CliRunner().invoke(app, ["verify", str(tmp_path / "none.xdf"), "--model", str(bundle.path)])
    assert isinstance(missing.exception, MindwireError)
