"""Verification: a recorded run against its replay, from files made for the purpose."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import BundleError, MindwireError, RecordingError, UsageError
from mindwire.inference.load import load_decoder
from mindwire.offline.recorded_run import recorded_run
from mindwire.sources.own_input import InputComparison
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.live_run import OFFSET, SAMPLES, START, TIMES, LiveRun, N, verified
from tests.support.signals import LABELS, small_contract
from tests.support.xdf_writer import XdfWriter

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("verify") / "bundle", small_contract(window_samples=200)))


def test_a_run_is_given_by_its_recording(tmp_path, bundle):
    run = LiveRun(bundle).play()
    path = run.write(tmp_path / "r.xdf")
    assert recorded_run(open_recording(path)).classes == bundle.contract.classes
    found = verified(path, bundle)
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
    assert found.input.at_time == pytest.approx(TIMES[where.start] + OFFSET)
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
    assert found.at_time == found.first_time == pytest.approx(run.times[at])
    assert (found.first_seq, found.equal) == (at, found.compared - 1)
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
    assert (found.first_time, found.first_seq) == (5000.0, None)
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
