"""What was learnt of a person is kept, begun with again, and learnt live as its replay learns it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.adaptation import SavedAdaptation
from mindwire.cli.main import app
from mindwire.errors import ContractError, MindwireError, RecordingError, UsageError
from mindwire.inference.load import load_decoder
from mindwire.live.warm_start import initial_adaptation, warm_start_from
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sinks.adaptation import AdaptationWriter
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Simulator
from mindwire.types import Chunk, Reason
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Alignment, NoNormalisation
from mindwire_models.presets import BCIC2A
from tests.support.bundles import random_bundle
from tests.support.linear_decoder import LinearDecoder
from tests.support.processes import LISTENERS, ROOT, Processes, line
from tests.support.signals import LABELS, noise, signal_info, small_contract
from tests.support.xdf_writer import eeg_file

pytest.importorskip("torch")

CONTRACT = small_contract(window_samples=200)
SAMPLES, TIMES = noise(4000), np.arange(4000) / 100.0


def learnt(samples=SAMPLES, contract=CONTRACT):
    pipeline = Pipeline(contract, signal_info(), LinearDecoder(2))
    pipeline.advance(Chunk(samples, TIMES[: len(samples)]))
    return pipeline.saved_adaptation()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("kept") / "bundle", CONTRACT)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept-recording") / "rest.xdf"
    return eeg_file(path, SAMPLES.astype(np.float32), 100.0, LABELS, times=TIMES, name="cap")


def test_files_read_back_as_written(tmp_path):
    saved = learnt()
    saved.write(tmp_path / "deep" / "state.safetensors")
    again = SavedAdaptation.read(tmp_path / "deep" / "state.safetensors")
    assert again.to_bytes() == saved.to_bytes()
    np.testing.assert_array_equal(again.alignment.covariance, saved.alignment.covariance)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.safetensors"]
    assert SavedAdaptation.from_text(saved.to_text()).to_bytes() == saved.to_bytes()


@pytest.mark.parametrize("damage", [b"", b"{}", bytes(100), b"\xff" * 200])
def test_what_is_no_saved_adaptation_is_refused(tmp_path, damage):
    (tmp_path / "state").write_bytes(damage)
    with pytest.raises(ContractError, match="expected a saved adaptation"):
        SavedAdaptation.read(tmp_path / "state")
    whole = learnt().to_bytes()
    with pytest.raises(ContractError, match="expected a saved adaptation"):
        SavedAdaptation.from_bytes(whole[:-1])
    with pytest.raises(ContractError, match="cannot be read"):
        SavedAdaptation.read(tmp_path / "absent")


def test_what_was_learnt_of_another_signal_is_refused():
    state = learnt(contract=small_contract(window_samples=200, sfreq=64.0)).to_text()
    with pytest.raises(ContractError, match="other channels, another rate"):
        Pipeline(CONTRACT, signal_info(), LinearDecoder(2), PipelineOptions(state=state))


def test_a_kept_alignment_is_ready_at_once_and_soon_outweighed():
    samples = SAMPLES * [3, 1, 1]
    long = learnt(np.concatenate([samples] * 3)[: len(TIMES)])
    heavy = replace(long, alignment=replace(long.alignment, weight=1e9))
    pipeline = Pipeline(CONTRACT, signal_info(), LinearDecoder(2), PipelineOptions(state=heavy.to_text()))
    np.testing.assert_array_equal(pipeline.alignment.state.covariance, heavy.alignment.covariance)
    assert pipeline.alignment.state.weight == 6000
    [first, *_] = pipeline.advance(Chunk(SAMPLES[:300], TIMES[:300]))
    assert not first.reasons & Reason.ALIGNING


def test_a_recording_at_rest_warms_the_alignment(recording, bundle):
    saved = warm_start_from(recording, CONTRACT)
    np.testing.assert_allclose(saved.alignment.covariance, learnt().alignment.covariance, rtol=0.02, atol=5)
    assert not saved.network
    loaded = load_bundle(bundle)
    options = PipelineOptions()
    assert initial_adaptation(loaded, load_decoder(loaded), options, None, None) is None
    assert initial_adaptation(loaded, load_decoder(loaded), options, None, recording).to_bytes() == saved.to_bytes()


def test_too_little_signal_warms_nothing(tmp_path):
    path = eeg_file(tmp_path / "short.xdf", SAMPLES[:120].astype(np.float32), 100.0, LABELS, times=TIMES[:120])
    with pytest.raises(RecordingError, match="record a minute at rest"):
        warm_start_from(path, CONTRACT)
    with pytest.raises(UsageError, match="aligns nothing"):
        warm_start_from(path, small_contract(normalisation=NoNormalisation()))


def test_the_keeper_writes_at_the_end_and_never_raises(tmp_path, caplog):
    AdaptationWriter(tmp_path / "state", lambda: None).close()
    assert not (tmp_path / "state").exists()
    keeper = AdaptationWriter(tmp_path / "state", learnt)
    keeper.close()
    assert SavedAdaptation.read(tmp_path / "state").to_bytes() == learnt().to_bytes()
    AdaptationWriter(tmp_path / "state" / "below a file", learnt).close()
    assert "could not be written" in caplog.text


def test_a_poorer_state_never_replaces_the_kept_one(tmp_path):
    network = {"steps": np.array([5])}
    rich, poor = replace(learnt(), network=network), learnt(SAMPLES[:1000])
    for first, then, alignment in ((rich, poor, rich), (replace(poor, network=network), learnt(), learnt())):
        path = tmp_path / "state"
        first.write(path)
        AdaptationWriter(path, lambda then=then: then).close()
        kept = SavedAdaptation.read(path)
        assert kept.network["steps"] == [5]
        np.testing.assert_array_equal(kept.alignment.covariance, alignment.alignment.covariance)
        assert kept.alignment.good_samples == alignment.alignment.good_samples
    other = learnt(contract=small_contract(window_samples=200, sfreq=64.0))
    AdaptationWriter(path, lambda: other).close()
    assert SavedAdaptation.read(path).to_bytes() == other.to_bytes()


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_replay_begins_with_what_was_kept(tmp_path, recording, bundle):
    learnt().write(tmp_path / "state.safetensors")
    valid = {}
    for name, options in {
        "cold": [],
        "kept": ["--adaptation-state", tmp_path / "state.safetensors"],
        "rest": ["--warm-start", recording],
        "bn": ["--adapt", "bn", "--warm-start", tmp_path / "state.safetensors"],
    }.items():
        run("replay", recording, "--model", bundle, "--hop", 10, "--out", tmp_path / f"{name}.csv", *options)
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
        valid[name] = sum(row["valid"] == "true" for row in rows)
    assert valid["kept"] == valid["rest"] == valid["bn"] >= valid["cold"]
    with pytest.raises(UsageError, match="there is no such file"):
        run("replay", recording, "--model", bundle, "--adaptation-state", tmp_path / "absent")


@pytest.mark.parametrize("kind", ["bn", "entropy"])
def test_live_and_replay_give_the_same_adapted_predictions(tmp_path, kind):
    alignment = Alignment(kind="euclidean", scale="window_sum", update_samples=250, ready_samples=500)
    contract = BCIC2A.model_copy(update={"window_samples": 250, "normalisation": alignment})
    folder = random_bundle(tmp_path / "bundle", contract)
    name = f"kept-{uuid4().hex[:8]}"
    simulator = Simulator(3, sfreq=250.0, name=name)
    chunk = simulator.read(16 * 250)
    labels = simulator.info.labels
    path = eeg_file(
        tmp_path / "live.xdf", chunk.samples.astype(np.float32), 250.0, labels, times=chunk.times, name=name
    )
    table, state = tmp_path / "replay.csv", tmp_path / "state.safetensors"
    run("replay", path, "--model", folder, "--adapt", kind, "--out", table)
    rows = list(csv.reader(table.read_text().splitlines()))[1:]
    with ExitStack() as stack:
        processes = Processes(stack)
        serve = processes.start(
            *("-m", "mindwire", "serve", "--model", folder, "--stream", f"id={name},name={name}", "--port", "0"),
            *("--adapt", kind, "--adaptation-state", state),
        )
        url = line(serve, r"http://(127\.0\.0\.1:\d+)")[1]
        client = processes.start(LISTENERS, "ws", f"ws://{url}/v1/streams/{name}/predictions", len(rows))
        line(client, "ready")
        subprocess.run([sys.executable, "-m", "mindwire", "play", path], cwd=ROOT, check=True, timeout=90)
        live = json.loads(client.communicate(timeout=60)[0])
        serve.send_signal(signal.SIGHUP if kind == "bn" else signal.SIGTERM)
        assert serve.wait(30) == 0
    assert [m["seq"] for m in live] == [int(row[0]) for row in rows]
    replayed = np.array([[float(v) for v in row[3:-2]] for row in rows])
    np.testing.assert_allclose([m["probabilities"] for m in live], replayed, rtol=0, atol=1e-6)

    bundle = load_bundle(folder)
    pipeline = Pipeline(
        contract, simulator.info, load_decoder(bundle, adapt=kind), PipelineOptions(adapt=kind, hop_samples=100_000)
    )
    for piece in open_recording(path).signal().chunks():
        pipeline.advance(piece)
    assert pipeline.learner.steps > 0
    kept, again = SavedAdaptation.read(state), pipeline.saved_adaptation()
    for tensor in again.network:
        np.testing.assert_array_equal(kept.network[tensor], again.network[tensor], err_msg=tensor)
    np.testing.assert_allclose(kept.alignment.covariance, again.alignment.covariance)
