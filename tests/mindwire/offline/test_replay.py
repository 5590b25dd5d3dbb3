"""Replay: the table it writes, its pace, and recordings that are difficult."""

from __future__ import annotations

import csv
import io
import time
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ContractError, MindwireError, RecordingError, UsageError
from mindwire.offline.replay import PredictedRun, Replay, write_csv
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.recording import Selector, open_recording
from mindwire.types import Chunk, Prediction, Reason
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from tests.support.bundles import random_bundle
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import LABELS, noise, small_contract
from tests.support.xdf_writer import XdfWriter, eeg_file


def replayed(path, contract=None, *, selector=None, speed=None, **options):
    contract = contract or small_contract()
    signal = open_recording(path).signal(selector)
    replay = Replay(signal, contract, LinearDecoder(len(contract.classes)), PipelineOptions(**options), speed=speed)
    return list(replay.predictions()), replay.summary


def small_file(tmp_path, n=1000, name="r.xdf", **more):
    return eeg_file(tmp_path / name, noise(n).astype(np.float32), 100.0, LABELS, **more)


def assert_same(first: list[Prediction], second: list[Prediction]) -> None:
    assert [(p.seq, p.time, p.reasons) for p in first] == [(p.seq, p.time, p.reasons) for p in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_a_replay_is_the_pipeline_over_the_samples(tmp_path):
    predictions, summary = replayed(small_file(tmp_path))
    contract = small_contract()
    source = open_recording(tmp_path / "r.xdf").signal()
    pipeline = Pipeline(contract, source.info, LinearDecoder(2))
    whole = Chunk(noise(1000).astype(np.float32), 1000.0 + np.arange(1000) / 100)
    assert_same(predictions, pipeline.process(whole) + pipeline.finish())
    assert summary.windows == len(predictions) == 1 + (1000 - 120) // 7
    assert summary.valid == sum(p.valid for p in predictions) > 0
    assert summary.samples == 1000
    assert summary.reasons["aligning"] > 0


def test_speed_and_chunks_change_nothing(tmp_path):
    fast, _ = replayed(small_file(tmp_path))
    cut_otherwise, _ = replayed(small_file(tmp_path, name="other.xdf", chunk_samples=3))
    paced, summary = replayed(tmp_path / "r.xdf", speed=40.0)
    assert_same(fast, cut_otherwise)
    assert_same(fast, paced)
    assert summary.wall_seconds >= 10 / 40 * 0.95


def test_a_pause_in_the_recording_does_not_hold_a_paced_replay_for_ever(tmp_path):
    times = np.concatenate([np.arange(200) / 100, 1e7 + np.arange(200) / 100])
    path = small_file(tmp_path, 400, times=times)
    begin = time.monotonic()
    predictions, summary = replayed(path, speed=100.0)
    assert time.monotonic() - begin < 30
    assert summary.windows == len(predictions) == 2 * (1 + (200 - 120) // 7)
    assert summary.events["gap"] == 1


def test_the_table_reads_back_exactly(tmp_path):
    predictions, _ = replayed(small_file(tmp_path))
    file = io.StringIO(newline="")
    write_csv([PredictedRun.collect(predictions)], ["left_hand", "right, hand"], file)
    rows = list(csv.reader(io.StringIO(file.getvalue())))
    assert rows[0] == ["seq", "time", "valid", "left_hand", "right, hand", "reasons", "decided"]
    for row, prediction in zip(rows[1:], predictions, strict=True):
        assert int(row[0]) == prediction.seq
        assert float(row[1]) == prediction.time
        assert row[2] == ("true" if prediction.valid else "false")
        assert [float(v) for v in row[3:-2]] == prediction.probabilities.tolist()
        assert row[-2] == ";".join(prediction.reasons.labels)
        assert row[-1] == (rows[0][3:5][prediction.probabilities.argmax()] if prediction.valid else "")
    assert {row[-1] for row in rows[1:]} & {"left_hand", "right, hand"}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "' =1"),
        ("a\nb\r\x00\x1b[31m\u2028\u202e", "a b   [31m  "),
        ('the "left", hand', 'the "left", hand'),
    ],
)
def test_a_class_name_is_no_formula_and_stays_in_its_cell(name, cell):
    file = io.StringIO(newline="")
    run = PredictedRun(0, np.array([1.0]), np.zeros(1, np.uint32), np.array([[0.25, 0.75]]))
    write_csv([run], ["other", name], file)
    assert list(csv.reader(io.StringIO(file.getvalue()))) == [
        ["seq", "time", "valid", "other", cell, "reasons", "decided"],
        ["0", "1.0", "true", "0.25", "0.75", "", cell],
    ]


def test_reasons_of_a_row_are_separated_by_semicolons():
    file = io.StringIO(newline="")
    bits = np.array([int(Reason.GAP | Reason.FLAT), 0], np.uint32)
    write_csv([PredictedRun(3, np.array([1.0, 2.0]), bits, np.full((2, 2), 0.5))], ["a", "b"], file)
    assert file.getvalue().splitlines()[1:] == ["3,1.0,false,0.5,0.5,gap;flat,", "4,2.0,true,0.5,0.5,,a"]


def test_no_window_spans_a_gap_a_reset_or_damage(tmp_path):
    samples = noise(1200).astype(np.float32)
    times = 50.0 + np.arange(1200) / 100
    writer = XdfWriter().stream(n_channels=3, labels=LABELS)
    writer.samples(samples[:300], times[:300].tolist()).boundary()
    writer.samples(samples[310:600], times[310:600].tolist()).raw(b"\xff" * 99).boundary()  # lost, then damage
    writer.samples(samples[600:900], times[600:900].tolist())
    writer.samples(samples[900:], (times[900:] - 500.0).tolist())  # the clock goes back
    predictions, summary = replayed(writer.write(tmp_path / "f.xdf"))
    starts = [50.0, 53.1, 56.0, -441.0]
    stops = [53.0, 56.0, 59.0, -438.0]
    for prediction in predictions:
        begin = prediction.time - 119 / 100
        assert any(a - 0.01 <= begin and prediction.time <= b + 0.01 for a, b in zip(starts, stops, strict=True))
    assert summary.events == {"gap": 2, "clock_reset": 1}
    assert [p.seq for p in predictions] == list(range(len(predictions)))


# --- real recordings with contracts made for them -----------------------------------------------------------------


def contract_for(channels, sfreq, window_seconds=2.0, hop_seconds=0.2, **changes):
    return Contract(
        channels=tuple(channels),
        sfreq=sfreq,
        filters=Filters(highpass=Butterworth(order=2, freq=0.5), lowpass=Butterworth(order=4, freq=sfreq * 0.16)),
        normalisation=Alignment(
            kind="euclidean", scale="window_sum", update_samples=int(sfreq), ready_samples=int(5 * sfreq)
        ),
        window_samples=int(window_seconds * sfreq),
        hop_samples=max(1, int(hop_seconds * sfreq)),
        classes=("idle", "left_hand", "right_hand"),
        **changes,
    )


MISWITCH = ["F3", "Fz", "F4", "FC3", "FCz", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "CP5", "CP4", "Pz"]


@contextmanager
def refusals():
    """Lets pass what is refused in one sentence."""
    try:
        yield
    except MindwireError as error:
        sentence = str(error)
        assert sentence.endswith((".", "…")) and "\n" not in sentence  # noqa: PT018 - the message is the point


DAY1 = ["C3", "C4", "Cz", "FC1", "FC2", "FC5", "FC6", "CP1", "CP2", "CP5", "CP6"]


def test_a_recording_with_other_labels_and_rate(data_dir):
    path = data_dir / "essentials" / "p1-miswitch-run2.xdf"
    predictions, summary = replayed(path, contract_for(MISWITCH, 256.0))
    assert summary.samples == 30_992
    assert len(predictions) == 1 + (30_992 - 512) // 51
    assert summary.valid > 0
    assert all(np.isfinite(p.probabilities).all() and abs(p.probabilities.sum() - 1) < 1e-9 for p in predictions)


def test_a_recording_without_labels_needs_them_from_the_user(data_dir):
    path = data_dir / "a" / "a-day1-run2.xdf"
    contract = contract_for(DAY1, 125.0)
    with pytest.raises(ContractError, match=r"16 channels without labels.*--channels") as refused:
        replayed(path, contract, unit="uV")
    assert str(refused.value).count("\n") == 0
    labels = (*DAY1, *(f"unused{k}" for k in range(5)))
    predictions, summary = replayed(path, contract, channels=labels, unit="uV")
    assert summary.samples == 31_590
    assert len(predictions) > 500


@pytest.mark.parametrize(
    "name", ["chunk_length_lie", "clock_resets", "empty_streams", "minimal", "out_of_order_sample_chunk"]
)
def test_difficult_recordings_replay_or_are_refused_in_a_sentence(data_dir, name):
    path = data_dir / "robustness" / f"{name}.xdf"
    streams = ()
    with refusals():
        streams = open_recording(path).streams
    for stream in streams:
        labels = tuple(f"E{k}" for k in range(stream.info.n_channels))
        contract = contract_for(labels, max(stream.info.sfreq, 10.0), 0.5)
        with refusals():
            predictions, _ = replayed(
                path, contract, selector=Selector(id=stream.stream_id), channels=labels, unit="uV"
            )
            assert all(np.isfinite([p.time, *p.probabilities]).all() for p in predictions)


def test_a_clock_reset_in_a_real_recording_breaks_the_signal(data_dir):
    labels = tuple(f"E{k}" for k in range(8))
    predictions, summary = replayed(
        data_dir / "robustness" / "clock_resets.xdf", contract_for(labels, 100.0), channels=labels, unit="uV"
    )
    assert summary.events["clock_reset"] == 1
    spans = [(810.0, 948.5), (1221.5, 1384.0)]  # what lies on either side of it
    assert all(any(a <= p.time - 1.95 and p.time <= b for a, b in spans) for p in predictions)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("torch")
    return random_bundle(tmp_path_factory.mktemp("replay") / "bundle", small_contract(window_samples=200))


def run(*arguments):
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_the_command_writes_the_table_and_a_summary(tmp_path, bundle):
    path = small_file(tmp_path)
    result = run(path, "--model", bundle, "--out", tmp_path / "p.csv", "--hop", "10")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert list(rows[0]) == ["seq", "time", "valid", "left_hand", "right_hand", "reasons", "decided"]
    assert len(rows) == 1 + (1000 - 200) // 10
    assert [int(r["seq"]) for r in rows] == list(range(len(rows)))
    np.testing.assert_allclose([float(r["time"]) for r in rows], 1000.0 + 1.99 + np.arange(len(rows)) * 0.1, atol=1e-6)
    assert f"{len(rows)} windows" in result.stdout
    assert "x real time" in result.stdout
    streamed = run(path, "-m", bundle, "-o", "-", "--hop", "10", "--speed", "max", "--stream", "name=EEG-Test")
    assert streamed.stdout == (tmp_path / "p.csv").read_text()


def test_both_engines_agree(tmp_path, bundle):
    path = small_file(tmp_path)
    tables = []
    for engine in ("onnxruntime", "torch"):
        out = tmp_path / f"{engine}.csv"
        run(path, "--model", bundle, "--out", out, "--engine", engine, "--device", "cpu")
        tables.append(np.loadtxt(out, delimiter=",", skiprows=1, usecols=(0, 1, 3, 4)))
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5)


def test_a_recording_too_short_for_a_window_says_so(tmp_path, bundle):
    result = run(small_file(tmp_path, 100), "--model", bundle)
    assert "0 windows" in result.stdout
    assert "2 s that a window takes" in result.stderr


def test_damage_is_told(tmp_path, bundle):
    writer = XdfWriter().stream(n_channels=3, labels=LABELS).samples(noise(300), (np.arange(300) / 100).tolist())
    result = run(writer.raw(b"\xff" * 30).write(tmp_path / "f.xdf"), "--model", bundle)
    assert "The file ends in an incomplete chunk (30 bytes at" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--speed", "fast"], UsageError, "max or a number above 0"),
        (["--speed", "-1"], UsageError, "above 0"),
        (["--speed", "inf"], UsageError, "above 0"),
        (["--force"], UsageError, "--force replaces the file at --out, found --force; leave it out"),
        (["--adaptation-state", "x", "--warm-start", "y"], UsageError, "found --warm-start; leave it out"),
        (["--rate", "inf"], UsageError, "--rate: expected a finite number, found inf"),
        (["--unit", "furlong"], UsageError, "--unit: 'furlong' is no unit of voltage"),
        (["--stream", "colour=red"], UsageError, "colour"),
        (["--stream", "name=Nobody"], MindwireError, "EEG-Test"),
        (["--out", "/nowhere/at/all.csv"], RecordingError, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, bundle, arguments, error, message):
    with pytest.raises(error, match=message):
        run(small_file(tmp_path), *arguments, "--model", bundle)


def test_reasons_are_those_of_the_windows(tmp_path):
    samples = noise(800).astype(np.float32)
    samples[500, 1] = np.nan
    predictions, _ = replayed(eeg_file(tmp_path / "f.xdf", samples, 100.0, LABELS), bad_channels="invalidate")
    at = 1000.0 + 500 / 100
    for prediction in predictions:
        touched = prediction.time - 1.19 <= at <= prediction.time
        assert not (touched and prediction.valid)
    assert any(p.reasons & Reason.NON_FINITE for p in predictions)


def test_a_recording_without_a_nominal_rate_takes_the_rate_that_is_given(tmp_path):
    values, times = noise(1000), 50.0 + np.arange(1000) / 100
    regular = eeg_file(tmp_path / "regular.xdf", values.astype("f4"), 100.0, LABELS, times=times)
    irregular = eeg_file(tmp_path / "irregular.xdf", values.astype("f4"), 0.0, LABELS, times=times)
    with pytest.raises(ContractError, match="--rate"):
        Replay(open_recording(irregular).signal(), small_contract(), LinearDecoder(2))
    found = []
    for path, rate in ((regular, None), (irregular, 100.0)):
        replay = Replay(open_recording(path).signal(), small_contract(), LinearDecoder(2), PipelineOptions(sfreq=rate))
        found.append([(one.time, one.valid, *one.probabilities) for one in replay.predictions()])
        assert replay.summary.signal_seconds == 10.0
    assert found[0] == found[1]
    assert len(found[0]) > 100


@pytest.mark.parametrize("rate", [1e7, 1e-3])
def test_a_rate_that_no_amplifier_has_is_refused(tmp_path, rate):
    path = eeg_file(tmp_path / "odd.xdf", noise(50).astype("f4"), rate, LABELS)
    with pytest.raises(ContractError, match="1 to 100000 Hz"):
        Replay(open_recording(path).signal(), small_contract(), LinearDecoder(2))
