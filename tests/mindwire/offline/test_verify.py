"""Verification: a recorded run against its replay, from files made for the purpose."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.errors import BundleError, MindwireError, RecordingError, UsageError
from mindwire.inference.decoder import probabilities
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_control, recorded_run, run_details
from mindwire.offline.verify import verify
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.own_input import InputComparison, InputMark
from mindwire.sources.recording import open_recording
from mindwire.types import Chunk, Reason
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import LABELS, noise, signal_info, small_contract
from tests.support.xdf_writer import XdfWriter

pytest.importorskip("torch")

N = 1500
START = 300  # samples that only the recorder saw
SAMPLES = noise(N).astype(np.float32)
TIMES = 2000.0 + np.arange(N) / 100
OFFSET = 0.7  # between the device's clock and ours; the recorder measured another


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("verify") / "bundle", small_contract(window_samples=200)))


INFO = signal_info(name="EEG-Test", source_id="cap-1", uid="u-cap-1")


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
        self.input: list[np.ndarray] = []
        self.input_times: list[float] = []
        self.decisions: list[tuple[float, str]] = []
        self.axes: list[tuple[float, tuple[float, ...]]] = []

    def begin(self, time, *, begins=True, state=None):
        details = run_details(self.bundle, self.options)
        data = {
            "state": state,
            "time": time,
            "source": asdict(INFO),
            **details,
            "begins": begins,
            "clock_offset": OFFSET,
            "policy": self.options.policy and self.options.policy.model_dump(mode="json"),
            "control": [command.event.data for command in self.options.control],
        }
        self.events.append((time, "recording", data))

    def play(self, commands=(), reconnects=(), restarts=(), skip=(), jump=None, keeps=False, control=()):
        """Run the pipeline as a live service does, chunk by chunk."""
        pipeline = None
        number = 0
        for at in range(START, N, 25):
            times = TIMES[at : at + 25] + OFFSET + (-3.0 if jump is not None and at >= jump else 0.0)
            chunk, mark = Chunk(SAMPLES[at : at + 25], times), InputMark.NONE
            if pipeline is None or at in restarts:
                state = pipeline.learnt.to_text() if pipeline is not None and keeps else None
                pipeline = Pipeline(self.bundle.contract, INFO, self.decoder, replace(self.options, state=state))
                self.begin(float(times[0]), state=state)
                mark = InputMark.BEGIN
                if state is not None:
                    pipeline.adapt(AdaptationCommand("freeze"))
            elif at in reconnects:
                self.begin(float(times[0]), begins=False)
                chunk, mark = Chunk(chunk.samples, chunk.times, Reason.RECONNECT), InputMark.RECONNECT
            rows = np.zeros((25, 4), np.float32)
            rows[:, :3], rows[0, 3] = chunk.samples, mark
            self.input += list(rows)
            self.input_times += times.tolist()
            windows = pipeline.advance(chunk)
            taken = [window for number, window in enumerate(windows, number) if number not in skip]
            number += len(windows)
            for window in taken:  # those skipped come to no controller
                logits = self.decoder.decode([pipeline.session], [window])
                p = pipeline.complete(window, probabilities(logits, pipeline.contract.temperature)[0])
                self.rows.append(p.probabilities if p.valid else np.full(2, np.nan))
                self.times.append(p.time)
                if p.control and p.control.decision:
                    self.decisions.append((p.time, p.control.decision.label))
                if p.control and p.control.axes:
                    self.axes.append((p.time, p.control.axes))
            if at in control:
                pipeline.control(**control[at])
            if at in commands:
                pipeline.adapt(AdaptationCommand(*commands[at]))
            self.events += [(TIMES[at], e.kind, dict(e.data)) for e in pipeline.drain_events()]
        return self

    def write(self, path, *others, device=SAMPLES, device_times=TIMES, lost=slice(0, 0)):
        """The file; the recorder missed the device's samples in ``lost``, or its whole stream when ``device`` is None."""
        writer = XdfWriter()
        if device is None:
            device = SAMPLES[:0]
        else:
            writer.stream(n_channels=3, labels=LABELS)
            lost = lost if lost is not None else slice(0, len(device))
        device_times = device_times[: len(device)]
        device, device_times = np.delete(device, lost, axis=0), np.delete(device_times, lost)
        for at in range(0, len(device), 100):
            writer.samples(device[at : at + 100], device_times[at : at + 100].tolist())
            writer.offset(float(device_times[at]), 0.2)
        for number, run in enumerate((self, *others)):
            a, b, c, d, e = (10 * k + number for k in range(1, 6))
            own = {"sfreq": 0.0, "source_id": f"mindwire-{number}"}
            writer.stream(a, name=f"Mindwire-{run.name}", type="Probabilities", n_channels=2, **own)
            writer.stream(b, name=f"Mindwire-{run.name}-events", type="Events", n_channels=1, dtype="string", **own)
            writer.stream(c, name=f"Mindwire-{run.name}-input", type="Input", n_channels=4, **own)
            if run.decisions:
                writer.stream(
                    d, name=f"Mindwire-{run.name}-Decisions", type="Markers", n_channels=1, dtype="string", **own
                )
                writer.samples([[label] for _, label in run.decisions], [time for time, _ in run.decisions], d)
            if run.axes:
                n = len(run.axes[0][1])
                writer.stream(e, name=f"Mindwire-{run.name}-Axes", type="Control", n_channels=n, **own)
                writer.samples([np.float32(row) for _, row in run.axes], [time for time, _ in run.axes], e)
            if run.rows:
                writer.samples(run.rows, run.times, a)
            for at in range(0, len(run.input), 70):
                writer.samples(run.input[at : at + 70], run.input_times[at : at + 70], c)
            texts = [
                [json.dumps({"kind": kind, "message": "", "unix_time": 0, "data": data})]
                for _, kind, data in run.events
            ]
            writer.samples([*texts, ["no JSON"], ["[1]"]], [*(t for t, _, _ in run.events), 9e3, 9e3], b)
        return writer.write(path)


def verified(path, bundle):
    return verify(recorded_run(open_recording(path)), bundle, LinearDecoder(2))


def test_a_run_is_given_by_its_recording(tmp_path, bundle):
    run = LiveRun(bundle).play()
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.compared == sum(not np.isnan(row).any() for row in run.rows) > 50
    assert found.largest_difference < 1e-6
    assert found.confirmed == len(run.rows)
    assert (found.validity_differs, found.skipped, found.unknown, found.unchecked) == (0, 0, 0, 0)
    assert found.input == InputComparison(same=N - START, missed=0, different=0)
    assert found.agrees


def test_commands_and_reconnections_are_repeated(tmp_path, bundle):
    commands = {600: ("freeze",), 800: ("resume",), 1000: ("rollback", 2)}
    plain = LiveRun(bundle, name="plain").play()
    run = LiveRun(bundle).play(commands, reconnects=(1100,), jump=1300)
    assert len(run.times) < len(plain.times)
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.compared > 50
    run.events = [event for event in run.events if event[1] != "adaptation"]
    assert not verified(run.write(tmp_path / "forgot.xdf"), bundle).agrees


def test_a_stream_that_died_and_began_anew_is_repeated(tmp_path, bundle):
    run = LiveRun(bundle).play({600: ("freeze",), 1200: ("freeze",)}, restarts=(900,))
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.confirmed == len(run.rows)


def test_a_stream_that_began_anew_with_what_it_had_learnt_and_frozen_is_repeated(tmp_path, bundle):
    run = LiveRun(bundle).play({600: ("freeze",), 1200: ("resume",)}, restarts=(900,), keeps=True)
    assert verified(run.write(tmp_path / "r.xdf"), bundle).agrees
    for _, kind, data in run.events:
        if kind == "recording":
            data["state"] = None
    assert not verified(run.write(tmp_path / "forgot.xdf"), bundle).agrees


def test_what_the_recorder_missed_of_the_device_is_told_and_no_contradiction(tmp_path, bundle):
    run = LiveRun(bundle).play(reconnects=(1100,))
    found = verified(run.write(tmp_path / "r.xdf", lost=slice(1100, 1130)), bundle)
    assert found.agrees
    assert found.confirmed == len(run.rows)
    assert found.input == InputComparison(same=N - START - 30, missed=30, different=0)


@pytest.mark.parametrize("where", [slice(700, 701), slice(1010, 1050)])
def test_a_changed_sample_of_the_device_is_found(tmp_path, bundle, where):
    device = SAMPLES.copy()
    device[where, 1] *= 1.001
    found = verified(LiveRun(bundle).play(reconnects=(1100,)).write(tmp_path / "r.xdf", device=device), bundle)
    assert found.input.different == len(device[where])
    assert not found.agrees


def test_a_changed_sample_of_the_input_is_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.input[500][2] += 1.0
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.input.different == 1
    assert found.largest_difference > 1e-6
    assert not found.agrees


def test_a_recording_that_begins_amid_a_run_is_checked_from_where_a_pipeline_begins(tmp_path, bundle):
    run = LiveRun(bundle).play(restarts=(900,))
    first = next(k for k, time in enumerate(run.times) if time > TIMES[900] + OFFSET)
    run.input, run.input_times = run.input[200:], run.input_times[200:]
    run.events = run.events[1:]
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.unchecked == first
    assert found.confirmed == len(run.rows) - first
    assert f"{first} predictions cannot be checked" in " ".join(found.lines())


def test_samples_lost_from_the_file_leave_the_rest_unchecked(tmp_path, bundle):
    run = LiveRun(bundle).play()
    path = run.write(tmp_path / "r.xdf")
    data = bytearray(path.read_bytes())
    row = run.input[700].tobytes()
    at = data.rindex(row)
    data[at - 9] = 3  # the bytes of a stamp are 0 or 8
    path.write_bytes(data)
    found = verified(path, bundle)
    assert found.largest_difference < 1e-6
    assert found.unknown == 0
    assert found.confirmed > 20
    assert found.unchecked == len(run.rows) - found.confirmed > 20


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_without_the_devices_own_samples_nothing_is_verified(tmp_path, bundle, how):
    run = LiveRun(bundle, decoder=load_decoder(bundle, device="cpu")).play()
    path = run.write(tmp_path / "r.xdf", **({"device": None} if how == "missing" else {"lost": None}))
    found = CliRunner().invoke(app, ["verify", str(path), "--model", str(bundle.path)])
    assert found.exit_code == 1
    assert "NOT verified: replay reproduces the recorded predictions, but the device's own stream" in found.output


def test_a_damaged_file_is_not_verified_although_its_predictions_are_confirmed(tmp_path, bundle):
    run = LiveRun(bundle, decoder=load_decoder(bundle, device="cpu")).play()
    path = run.write(tmp_path / "r.xdf")
    path.write_bytes(path.read_bytes() + b"\x04\xff\x00\x00\x00cut")
    found = CliRunner().invoke(app, ["verify", str(path), "--model", str(bundle.path)])
    assert found.exit_code == 1
    assert "but the file is damaged" in found.output


def test_windows_skipped_live_are_no_contradiction(tmp_path, bundle):
    found = verified(LiveRun(bundle).play(skip=range(40, 60)).write(tmp_path / "r.xdf"), bundle)
    assert found.agrees
    assert found.skipped == 20


def test_a_changed_number_is_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    at = next(k for k, row in enumerate(run.rows) if k > 60 and not np.isnan(row).any())
    run.rows[at] = run.rows[at] + np.array([1e-3, -1e-3])
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.largest_difference == pytest.approx(1e-3, rel=1e-2)
    assert found.at_time == pytest.approx(run.times[at])
    assert not found.agrees


def test_a_false_validity_is_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.rows[-1] = np.full(2, np.nan)
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.validity_differs == 1
    assert not found.agrees


def test_predictions_that_nothing_gives_are_found(tmp_path, bundle):
    run = LiveRun(bundle).play()
    run.times.append(5000.0)
    run.rows.append(np.array([0.5, 0.5]))
    found = verified(run.write(tmp_path / "r.xdf"), bundle)
    assert found.unknown == 1
    assert not found.agrees


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
    assert "reproduces every recorded prediction" in good.output
    run.rows[-1] = np.array([0.9, 0.1])
    bad = CliRunner().invoke(app, ["verify", str(run.write(tmp_path / "b.xdf")), "--model", str(bundle.path)])
    assert bad.exit_code == 1
    assert "NOT" in bad.output
    missing = CliRunner().invoke(app, ["verify", str(tmp_path / "none.xdf"), "--model", str(bundle.path)])
    assert isinstance(missing.exception, MindwireError)


# --- decisions and axes ----------------------------------------------------------------------------------------------


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
    assert f"differ (first at {time:.3f} s)" in " ".join(found.lines())


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
