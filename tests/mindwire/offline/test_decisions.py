"""Decisions of a replay: the table of them, and commands to the controller."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.controller import ControlCommand
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.errors import UsageError
from mindwire.offline.replay import paced
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.recording import open_recording
from tests.support.bundles import random_bundle
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import LABELS, noise, small_contract
from tests.support.xdf_writer import eeg_file


def small_file(tmp_path):
    return eeg_file(tmp_path / "r.xdf", noise(1000).astype(np.float32), 100.0, LABELS)


POLICY = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.5, release=0.5, dwell_s=0.2, refractory_s=0.2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("torch")
    return random_bundle(tmp_path_factory.mktemp("decisions") / "bundle", small_contract(window_samples=200))


def decided(tmp_path, *words):
    out = tmp_path / "decisions.csv"
    done = CliRunner().invoke(app, ["replay", *map(str, words), "--decisions", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(csv.reader(out.read_text().splitlines())), done.output


def test_decisions_are_those_of_the_pipeline_whatever_the_speed(tmp_path, bundle):
    path, control = small_file(tmp_path), tmp_path / "control.json"
    control.write_text(POLICY.to_json())
    rows, said = decided(tmp_path, path, "--model", bundle, "--control", control)
    assert rows[0] == ["time", "seq", "class", "confidence"]
    assert len(rows) > 2
    assert f"{len(rows) - 1} decisions (" in said
    paced, _ = decided(tmp_path, path, "--model", bundle, "--control", control, "--speed", 20)
    assert [row[:3] for row in paced] == [row[:3] for row in rows]
    table = tmp_path / "predictions.csv"
    again, _ = decided(tmp_path, path, "--model", bundle, "--control", control, "--out", table)
    assert again == rows
    predictions = {row["seq"]: row for row in csv.DictReader(table.read_text().splitlines())}
    for at, seq, label, confidence in rows[1:]:
        assert predictions[seq]["time"] == at
        assert predictions[seq]["valid"] == "true"
        assert float(predictions[seq][label]) == pytest.approx(float(confidence))  # of the newest prediction alone


def test_decisions_on_standard_output_and_what_is_refused(tmp_path, bundle):
    path, control = small_file(tmp_path), tmp_path / "control.json"
    control.write_text(POLICY.to_json())
    words = ["replay", str(path), "--model", str(bundle)]
    done = CliRunner().invoke(app, [*words, "--control", str(control), "--decisions", "-"])
    assert done.stdout.splitlines()[0] == "time,seq,class,confidence"
    assert len(done.stdout.splitlines()) > 2
    mine = tmp_path / "mine.csv"
    mine.write_text("my,table\n")
    for more, message in (
        (["--decisions", "-"], "bundle has none, which `mindwire tune` writes into it; give one with --control FILE"),
        (["--control", "none", "--decisions", "-"], "--control none leaves it out; give one with --control FILE"),
        (["--control", str(control), "--decisions", str(mine)], "is not a table of decisions; .*--force"),
        (["--control", str(control), "--decisions", str(control)], "would write over"),
        (["--control", str(control), "--decisions", "-", "--out", "-"], "both name -"),
    ):
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(app, [*words, *more], catch_exceptions=False)


def test_commands_by_time_are_carried_out_whatever_the_chunks(tmp_path):
    path = small_file(tmp_path)
    paused = (ControlCommand(None, paused=True, time=1003.0), ControlCommand(None, paused=False, time=1006.0))
    predictions = [
        prediction
        for speed in (None, 50.0)
        for prediction in replayed_with_control(path, speed, policy=POLICY, control=paused)
    ]
    states = [(p.time, p.control.state == "paused") for p in predictions]
    assert all(is_paused is (1003.0 < time <= 1006.0) for time, is_paused in states)


def replayed_with_control(path, speed, **options):
    signal = open_recording(path).signal()
    pieces = paced(signal.chunks(), 100.0, speed) if speed else signal.chunks()
    pipeline = Pipeline(small_contract(), signal.info, LinearDecoder(2), PipelineOptions(**options))
    return [prediction for chunk in pieces for prediction in pipeline.process(chunk)]
