"""What a bundle remembers of its training, and who uses it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ArgumentError, ContractError, RecordingError, UsageError
from mindwire.evaluation.known_recordings import trained_on
from mindwire.evaluation.pseudo_online import file_sha256
from mindwire.offline.recorded_run import _options, run_details
from mindwire.options import PipelineOptions
from mindwire.types import SignalInfo
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.errors import BundleError
from mindwire_models.training_record import TrainedSource
from tests.support.calibration_recordings import CHANNELS, record
from tests.support.sealing import seal

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

BARE = SignalInfo(name="cap", type="EEG", sfreq=100.0, n_channels=4)
SOURCE = TrainedSource(n_channels=4, channels=CHANNELS, unit="uV")


def run(command: str, *arguments: object) -> str:
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings that name neither channels nor a unit."""
    folder = tmp_path_factory.mktemp("recordings")
    return [record(folder / f"run{seed}.xdf", seed, labels=None) for seed in range(3)]


@pytest.fixture(scope="module")
def bundle(recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("trained") / "model"
    told = ("--channels", ",".join(CHANNELS), "--unit", "uV", "--markers", "1=left_hand", "2=right_hand")
    run("train", *recordings[:2], *told, "--window", 2, "--decoder", "riemann", "--out", out)
    return load_bundle(out)


def test_evaluate_and_replay_need_not_be_told_again(bundle: Bundle, recordings: list[Path], tmp_path: Path) -> None:
    output = run("evaluate", recordings[2], "--model", bundle.path, "--out", tmp_path)
    assert (
        "As model was trained: markers 1=left_hand, 2=right_hand; channels by position C3,Cz,C4,Pz, unit uV; decided 2.5 s"
        in output
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["at_s"], report["overall"]["n_cued"]) == (2.5, 16)
    output = run("evaluate", recordings[2], "--model", bundle.path, "--at", 2, "--unit", "uV", "--out", tmp_path)
    assert "decided" not in output.split("; channels")[0]
    assert json.loads((tmp_path / "report.json").read_text())["at_s"] == 2
    assert "As model was trained: channels by position C3,Cz,C4,Pz" in run(
        "replay", recordings[2], "--model", bundle.path
    )


def test_markers_that_are_given_go_before_those_remembered(bundle: Bundle, tmp_path: Path) -> None:
    source = record(tmp_path / "named.xdf", 5, labels=CHANNELS).read_bytes()
    named = tmp_path / "renamed.xdf"
    named.write_bytes(source.replace(b"\x051.000", b"\x05left ").replace(b"\x052.000", b"\x05right"))
    output = run(
        "evaluate", named, "--model", bundle.path, "--markers", "left=left_hand", "right=right_hand", "--out", tmp_path
    )
    assert "markers" not in output.split("decided")[0]
    assert json.loads((tmp_path / "report.json").read_text())["overall"]["n_cued"] == 16


def test_what_was_trained_on_is_remembered_with_its_hash(bundle: Bundle, recordings: list[Path]) -> None:
    assert bundle.training is not None
    assert [(one.file, one.sha256) for one in bundle.training.recordings] == [
        (path.name, file_sha256(path)) for path in recordings[:2]
    ]
    assert (bundle.training.offset_s, bundle.training.length_s, bundle.training.decided_at_s) == (0, 2.5, 2.5)


def test_only_a_source_of_the_same_layout_is_taken_by_position() -> None:
    options = PipelineOptions(trained=SOURCE)
    assert options.for_source(BARE).channels == CHANNELS
    assert options.for_source(replace(BARE, n_channels=5)).channels is None
    assert options.for_source(replace(BARE, labels=("A", "B", "C", "D"))).channels is None
    assert replace(options, channels=("Cz",)).for_source(BARE).channels == ("Cz",)


def test_a_unit_that_the_source_states_goes_first() -> None:
    options = PipelineOptions(trained=SOURCE)
    assert options.for_source(BARE).unit == "uV"
    assert options.for_source(replace(BARE, units=("", "", "", ""))).unit == "uV"
    assert options.for_source(replace(BARE, units=("V",) * 4)).unit is None
    assert replace(options, unit="mV").for_source(BARE).unit == "mV"
    wrongly = PipelineOptions(trained=SOURCE.model_copy(update={"units": ("V",) * 4}))
    assert wrongly.for_source(replace(BARE, units=("V",) * 4)).unit == "uV"


def test_a_recorded_run_keeps_what_was_remembered(bundle: Bundle) -> None:
    for trained in (SOURCE, None):
        options = PipelineOptions(trained=trained)
        assert _options(json.loads(json.dumps(run_details(bundle, options)))["options"]) == options


@pytest.mark.parametrize(
    ("change", "told"),
    [({"version": 2}, "training.version"), ({"decided_at_s": -1}, "decided_at_s"), ({"recordings": 1}, "recordings")],
)
def test_a_damaged_or_newer_section_is_refused(
    change: dict[str, object], told: str, bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    document = json.loads((folder / "bundle.json").read_text())

    def load_changed(**changes: object) -> Bundle:
        (folder / "bundle.json").write_text(json.dumps(document | changes))
        seal(folder)
        return load_bundle(folder)

    assert load_changed(training=document["training"] | {"later": 1}).training == bundle.training
    assert load_changed(training=None).training is None
    with pytest.raises(BundleError, match=rf"{told}.*update Mindwire, or export or train the model again"):
        load_changed(training=document["training"] | change)


def test_what_was_trained_on_is_refused_unless_asked_for(
    bundle: Bundle, recordings: list[Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.xdf"
    copy.write_bytes(recordings[0].read_bytes())
    for file in (recordings[1], copy):
        with pytest.raises(
            UsageError, match=rf"{file.name}: model was trained on this recording.*--allow-training-data"
        ):
            run("evaluate", file, recordings[2], "--model", bundle.path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    output = run("evaluate", copy, "--model", bundle.path, "--allow-training-data", "--out", tmp_path / "out")
    marked = "TRAINING DATA: model was trained on 1 of 1 recording (copy.xdf)"
    assert output.startswith(marked)
    assert "no verdict" in output
    text = (tmp_path / "out" / "report.json").read_text()
    assert marked in text.splitlines()[1]
    assert "<title>TRAINING DATA: evaluation of model</title>" in (tmp_path / "out" / "report.html").read_text()


def test_a_bundle_without_the_section_knows_by_its_card(bundle: Bundle, recordings: list[Path]) -> None:
    assert trained_on(replace(bundle, training=None), recordings) == recordings[:2]


def test_training_on_a_recording_twice_is_refused(recordings: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.xdf"
    copy.write_bytes(recordings[0].read_bytes())
    with pytest.raises(UsageError, match=r"copy\.xdf is the same recording as .*run0\.xdf"):
        run("train", recordings[0], copy, "--markers", "1=left_hand", "2=right_hand", "--out", tmp_path / "model")


def test_classes_without_a_trial_and_classes_in_one_recording_alone_are_refused(
    recordings: list[Path], data_dir: Path, tmp_path: Path
) -> None:
    told = (
        "--channels",
        ",".join(CHANNELS),
        "--classes",
        "1,2,feet",
        "--decoder",
        "riemann",
        "--out",
        tmp_path / "model",
    )
    with pytest.raises(RecordingError, match="No recording has a trial of 'feet'; say which marker"):
        run("train", recordings[0], *told)
    runs = [data_dir / "s1" / f"s1-run{number}-22ch-250hz.xdf" for number in ("04", "06", "08")]
    options = ("--classes", "left_hand,right_hand,feet", "--decoder", "riemann", "--out", tmp_path / "model")
    with pytest.raises(
        ArgumentError, match=r"Confounded: feet \(in .*run06.*\) occurs in one recording alone.*--folds 0"
    ):
        run("train", *runs, *options)
    output = run("train", *runs, *options, "--folds", 0)
    assert "Confounded: feet (in s1-run06-22ch-250hz.xdf) occurs in one recording alone" in output
    assert "52 markers (rest 45, both_hands 7) belong to no class of the model and were left out." in output


def test_training_after_a_clock_jump_and_with_another_clock(data_dir: Path, tmp_path: Path) -> None:
    options = ("--classes", "left_hand,right_hand", "--decoder", "riemann", "--folds", 0, "--out", tmp_path / "model")
    output = run("train", data_dir / "faulty" / "stamps-jump-and-return.xdf", *options, "--window", 2)
    # The first trial, and the one after the clock's return.
    assert "2 of 4 trials (left_hand 1, right_hand 1) gave" in output
    assert "2 of 4 cues lie outside the EEG's time" in output
    with pytest.raises(RecordingError, match="none of the 4 cues lies within the EEG's time"):
        run("train", data_dir / "faulty" / "eeg-unix-markers-lsl.xdf", *options)


def test_brainvision_recordings_are_told_apart_by_their_data(tmp_path: Path) -> None:
    for folder, data in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.vhdr").write_text("[Common Infos]\nDataFile=$b.eeg\n")
        (tmp_path / folder / "run.eeg").write_bytes(data)
    a, b, c = (file_sha256(tmp_path / folder / "run.vhdr") for folder in "abc")
    assert a != b
    assert a == c


def test_serve_reads_an_unnamed_stream_as_in_training(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    from mindwire.config import load_settings
    from mindwire.serve.streams import StreamBuilder

    settings = load_settings({"model": str(bundle.path), "stream": ["name=cap"], "lsl_outlet": False})
    with caplog.at_level("INFO"):
        builder = StreamBuilder(settings)
        stream = builder.build(builder.prepare(settings.stream[0]))
        pipeline = stream.make_pipeline(BARE, None)
    assert pipeline.montage.indices.tolist() == [0, 1, 2, 3]
    assert pipeline.options.unit == "uV"
    assert "As model was trained: channels by position C3,Cz,C4,Pz, unit uV" in caplog.text
    with pytest.raises(ContractError, match="without labels"):
        stream.make_pipeline(replace(BARE, n_channels=5), None)


def test_labels_and_names_are_shown_and_not_obeyed(recordings: list[Path], tmp_path: Path) -> None:
    """Square brackets are markup to the library that prints, and escapes are orders to the terminal."""
    files = []
    for recording in recordings[:3]:
        data = recording.read_bytes().replace(b"\x051.000", b"\x05[/1] ").replace(b"\x052.000", b"\x05\x1b[2J ")
        files.append(tmp_path / f"[bold]{recording.name}")
        files[-1].write_bytes(data.replace(b"\x019", b"\x01\x07"))
    told = ("--channels", ",".join(CHANNELS), "--markers", "[/1]=left_hand", "\x1b[2J=right_hand", "--window", 2)
    output = run("train", *files[:2], *told, "--decoder", "riemann", "--out", tmp_path / "model")
    assert "32 markers ('\\x07' 32) belong to no class" in output
    assert "[bold]run0.xdf" in output
    output = run("evaluate", files[2], "--model", tmp_path / "model", "--out", tmp_path / "out")
    assert "markers [/1]=left_hand, \\x1b[2J=right_hand" in output
    assert "[bold]run2.xdf" in output
