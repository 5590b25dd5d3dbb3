"""Verification of runs whose model changed while they ran."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_run
from mindwire.options import PipelineOptions
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Butterworth, Filters
from tests.support.bundles import random_bundle
from tests.support.live_run import LiveRun
from tests.support.signals import small_contract

pytest.importorskip("torch")
POLICY = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.5, release=0.5, dwell_s=0.2, refractory_s=0.2))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """The first model, one of the same contract, and one of other filters, window and hop."""
    folder = tmp_path_factory.mktemp("changes")
    changed = {"filters": Filters(lowpass=Butterworth(order=4, freq=20.0)), "hop_samples": 16}
    contracts = (
        small_contract(window_samples=200),
        small_contract(window_samples=200),
        small_contract(window_samples=190, **changed),
    )
    return [load_bundle(random_bundle(folder / str(k), one, seed=k)) for k, one in enumerate(contracts)]


@pytest.fixture
def run(bundles):
    """A run that goes to the second model, back to the first, and to the third."""
    first, second, third = ((one, load_decoder(one, device="cpu")) for one in bundles)
    made = LiveRun(first[0], PipelineOptions(policy=POLICY), decoder=first[1])
    changes = {500: (*second, PipelineOptions()), 650: 1, 800: (*third, PipelineOptions()), 950: 0, 1150: 2}
    return made.play({700: ("freeze",), 900: ("resume",)}, changes=changes)


def verify(path, *bundles):
    given = [word for one in bundles for word in ("--model", str(one.path))]
    return CliRunner().invoke(app, ["verify", str(path), *given])


def test_changes_of_the_model_are_repeated(tmp_path, bundles, run):
    path = run.write(tmp_path / "r.xdf")
    assert [model.sha256 for model in recorded_run(open_recording(path)).used] == [one.sha256 for one in bundles]
    found = verify(path)
    assert found.exit_code == 0, found.output
    assert f"{len(run.times)} predictions confirmed" in found.output
    assert f"{len(run.decisions)} decisions" in found.output
    assert len(run.decisions) > 5
    certified = CliRunner().invoke(app, ["certify", str(path), "--out", str(tmp_path / "report")])
    assert certified.exit_code == 0, certified.output
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(one.sha256 in page for one in bundles)


@pytest.mark.parametrize("kind", ["model", "adaptation"])
def test_a_change_that_is_not_in_the_recording_is_a_contradiction(tmp_path, run, kind):
    run.events = [event for event in run.events if event[1] != kind]
    assert verify(run.write(tmp_path / "r.xdf")).exit_code == 1


def test_a_model_that_is_gone_is_named_unless_it_is_given(tmp_path, bundles, run):
    for _, kind, data in run.events:
        if kind == "model" and data.get("name") == bundles[1].name:
            data["model"] = data["model"] | {"path": str(tmp_path / "gone")}
    path = run.write(tmp_path / "r.xdf")
    assert bundles[1].sha256[:12] in str(verify(path).exception)
    assert verify(path, bundles[1]).exit_code == 0
    shutil.copytree(bundles[1].path, tmp_path / "models" / f"second-{bundles[1].sha256[:8]}")
    assert verify(path).exit_code == 0
