"""Verification of decisions and axes: those recorded against those that the policy makes of the recorded predictions."""

from __future__ import annotations

import csv

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_control
from mindwire.options import PipelineOptions
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.live_run import OFFSET, TIMES, LiveRun, verified
from tests.support.signals import small_contract

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("verify") / "bundle", small_contract(window_samples=200)))


@pytest.fixture(scope="module")
def policy(bundle):
    left, right = bundle.contract.classes
    return ControlPolicy(
        evidence=Latest(),
        decide=Decide(commit=0.5, release=0.5, dwell_s=0.2, refractory_s=0.2),
        axes=(Axis(name="x", positive=right, negative=left),),
    )


@pytest.fixture
def controlled(bundle, policy):
    def played(**how):
        return LiveRun(bundle, PipelineOptions(policy=policy)).play(**how)

    return played


def test_decisions_and_axes_are_given_by_the_recording(tmp_path, bundle, controlled):
    run = controlled()
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.control.decisions == len(run.decisions) >= 5
    assert found.control.axes == len(run.axes) == len(run.rows)
    assert f"{len(run.decisions)} decisions and {len(run.axes)} positions of the axes confirmed." in found.lines()


@pytest.mark.parametrize("how", [{"skip": range(40, 60)}, {"reconnects": (1100,), "jump": 1300}, {"restarts": (900,)}])
def test_decisions_of_skipped_windows_breaks_and_restarts_are_repeated(tmp_path, bundle, controlled, how):
    run = controlled(**how)
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.control.decisions == len(run.decisions) >= 5


def test_commands_to_the_controller_are_repeated(tmp_path, bundle, controlled, policy):
    other = policy.model_copy(update={"decide": policy.decide.model_copy(update={"refractory_s": 0.5})})
    control = {700: {"paused": True}, 900: {"paused": False}, 1100: {"policy": other}}
    run = controlled(control=control)
    assert len(run.decisions) < len(controlled().decisions)
    assert verified(run.write(tmp_path / "r.xdf"), bundle).agrees
    run.events = [event for event in run.events if event[1] != "control"]
    found = verified(run.write(tmp_path / "forgot.xdf"), bundle)
    assert not found.agrees
    assert found.control.decisions_differ


def test_a_policy_set_later_is_repeated_and_its_axes_may_be_missing(tmp_path, bundle, policy):
    run = LiveRun(bundle).play(control={700: {"policy": policy}})
    run.axes = []
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.control.decisions == len(run.decisions) >= 5
    assert found.control.axes_unrecorded > 50
    assert "positions of the axes not recorded" in " ".join(found.lines())


@pytest.mark.parametrize("change", ["label", "missing", "more", "axis"])
def test_a_changed_decision_or_axis_is_found(tmp_path, bundle, controlled, change):
    run = controlled()
    time, label = run.decisions[3]
    if change == "label":
        run.decisions[3] = (time, next(name for name in bundle.contract.classes if name != label))
    elif change == "missing":
        del run.decisions[3]
    elif change == "more":
        time = run.times[-1]
        run.decisions.append((time, label))
    else:
        time, (value,) = run.axes[20]
        run.axes[20] = (time, (value + 0.001,))
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert not found.agrees
    assert found.control.decisions_differ + found.control.axes_differ == 1
    assert f"differ (first at {time:.3f} s, seq {found.control.seq})" in " ".join(found.lines())


def test_a_replay_repeats_the_recorded_policy_and_its_commands(tmp_path, bundle, policy):
    other = policy.model_copy(update={"decide": policy.decide.model_copy(update={"refractory_s": 0.5})})
    control = {700: {"paused": True}, 1000: {"paused": False, "policy": other}}
    options = PipelineOptions(policy=policy)
    run = LiveRun(bundle, options, decoder=load_decoder(bundle, device="cpu")).play(control=control)
    path, out = run.write(tmp_path / "r.xdf"), tmp_path / "decisions.csv"
    recording = open_recording(path)
    found, commands = recorded_control(recording, recording.signal().info)
    assert found == policy
    assert [(one.seq, one.paused, one.policy) for one in commands] == [(None, True, None), (None, False, other)]
    assert [one.time - OFFSET for one in commands] == pytest.approx([TIMES[724], TIMES[1024]])
    words = ["replay", str(path), "--model", str(bundle.path), "--decisions", str(out)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "As recorded: control policy, 2 changes of it." in done.output
    times = [float(row["time"]) for row in csv.DictReader(out.read_text().splitlines())]
    assert times
    assert not [time for time in times if commands[0].time < time <= commands[1].time]
    done = CliRunner().invoke(app, [*words[:-2], "--control", "none"], catch_exceptions=False)
    assert "As recorded" not in done.output
    assert "decision" not in done.output
