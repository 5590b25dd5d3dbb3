"""A recorded run whose model changed is repeated with the bundles that its events name by their hashes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.inference.load import load_decoder
from mindwire.live.loaded_model import LoadedModel
from mindwire.offline.recorded_bundles import load_models
from mindwire.offline.recorded_run import changes_of_model, recorded_run, run_details
from mindwire.offline.verify import verify
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.own_input import InputMark
from mindwire.sources.recording import open_recording
from mindwire.types import Chunk
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Butterworth, Filters
from tests.support.bundles import random_bundle
from tests.support.live_run import INFO, SAMPLES, LiveRun, N
from tests.support.scripted_source import Scripted
from tests.support.signals import small_contract
from tests.support.streaming import MODEL, eventually, make_stream, running

pytest.importorskip("torch")

POLICY = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.502, release=0.501, dwell_s=0, refractory_s=0.1))
OWN = POLICY.model_copy(update={"decide": Decide(commit=0.501, release=0.5005, dwell_s=0, refractory_s=0.1)})
CHANGES = {
    "alike": {},
    "filters": {"filters": Filters(highpass=Butterworth(order=2, freq=2.0)), "hop_samples": 10},
}


def played(folder, change):
    """A run that changed its model and went back, as a recorder would have written it."""
    contracts = [small_contract(window_samples=200), small_contract(window_samples=200, **CHANGES[change])]
    bundles = [
        load_bundle(random_bundle(folder / f"m{seed}", contract_, seed)) for seed, contract_ in enumerate(contracts)
    ]
    options = [PipelineOptions(policy=policy) for policy in (POLICY, OWN)]
    decoders = [load_decoder(bundle) for bundle in bundles]
    source = Scripted(INFO)
    stream, memory = make_stream(
        connector=source, contract_=contracts[0], decoder=decoders[0], options=options[0], max_backlog_s=1e9
    )
    stream.load_model = lambda path: LoadedModel(
        MODEL.model_copy(update={"name": bundles[1].name, "sha256": bundles[1].sha256}),
        contracts[1],
        decoders[1],
        lambda info, learnt: Pipeline(contracts[1], info, decoders[1], options[1]),
        contracts[1].hop_samples,
        OWN,
        path,
        run_details(bundles[1], options[1]),
    )
    run = LiveRun(bundles[0], options[0])
    times = 1000.0 + np.arange(N) / 100.0

    def feed(until):
        while source.index < until:
            part = slice(source.index, source.index + 10)
            source.fed.put(Chunk(SAMPLES[part], times[part]))
            source.index += 10
        eventually(lambda: stream.counters.samples == source.index)

    def state(wanted):
        while not any(event.data["state"] == wanted for event in memory.of("model")):
            assert source.index < N, [(e.data["state"], e.message) for e in memory.of("model")] + [
                (p.seq, p.reasons) for p in memory.predictions[-2:]
            ]
            feed(source.index + 10)

    with running(stream):
        feed(400)
        stream.swap.request(bundles[1].path, "ready")
        eventually(lambda: stream.swap.active)
        state("warming")
        if change == "alike":  # an alignment that is learnt would never be ready
            stream.command(AdaptationCommand("freeze"))
        state("swapped")
        stream.command(AdaptationCommand("freeze"))
        feed(source.index + 200)
        stream.command(AdaptationCommand("resume"))
        feed(source.index + 100)
        stream.swap.rollback()
        state("rolled_back")
        feed(N)
    run.begin(float(times[0]))
    run.events += [(1000.0, event.kind, json.loads(json.dumps(dict(event.data)))) for event in memory.events]
    rows = np.zeros((N, 4), np.float32)
    rows[:, :3] = SAMPLES
    rows[0, 3] = InputMark.BEGIN
    run.input, run.input_times = list(rows), times.tolist()
    for p in memory.predictions:
        run.rows.append(p.probabilities if p.valid else np.full(2, np.nan))
        run.times.append(p.time)
        if p.control.decision:
            run.decisions.append((p.time, p.control.decision.label))
    return run


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_a_stream_reports_repeats_its_run(tmp_path, change):
    run = played(tmp_path / "models", change)
    path = run.write(tmp_path / "r.xdf", device_times=np.array(run.input_times))
    recorded = recorded_run(open_recording(path))
    found = verify(recorded, *load_models(recorded, ()))
    assert found.reproduced, found.lines()
    assert found.confirmed == len(run.rows)
    assert found.control.decisions == len(run.decisions) > 5
    assert changes_of_model(recorded.recording) == 2
    shutil.move(tmp_path / "models", tmp_path / "kept")
    given = [part for name in ("m0", "m1") for part in ("--model", str(tmp_path / "kept" / name))]
    assert CliRunner().invoke(app, ["verify", str(path), *given[:2]]).exit_code == 1
    assert CliRunner().invoke(app, ["verify", str(path), *given]).exit_code == 0
    for _, kind, data in run.events:
        if kind == "model" and data["state"] == "rolled_back":
            data["samples"] += 30
    path = run.write(tmp_path / "changed.xdf", device_times=np.array(run.input_times))
    assert CliRunner().invoke(app, ["verify", str(path), *given]).exit_code == 1
