"""No command writes over what it reads, nor over what Mindwire did not write; what fails leaves the old file."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mindwire.config import load_settings
from mindwire.errors import RecordingError, UsageError
from mindwire.outputs import ADAPTATION, PREDICTIONS, check_output, check_report, writing
from mindwire.serve.named_sources import check_settings
from mindwire_models.atomic import open_replacement, replace_file

TABLE = b"seq,time,valid,left,right,reasons,decided\n"


def command(*words: object, check: bool = False) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mindwire", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=check)


@pytest.mark.parametrize("spelling", ["same", "dots", "symlink", "hardlink", "into folder link"])
def test_an_input_is_never_written_over_under_whatever_name(tmp_path: Path, spelling: str) -> None:
    source = tmp_path / "run.csv"
    source.write_bytes(TABLE)  # even where the file is of the kind that is written
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "folder").symlink_to(tmp_path)
    (tmp_path / "soft").symlink_to(source)
    os.link(source, tmp_path / "hard")
    out = {
        "same": source,
        "dots": tmp_path / "sub" / ".." / "run.csv",
        "symlink": tmp_path / "soft",
        "hardlink": tmp_path / "hard",
        "into folder link": tmp_path / "sub" / "folder" / "run.csv",
    }[spelling]
    for force in (False, True):
        with pytest.raises(UsageError, match="would write over"):
            check_output(out, PREDICTIONS, inputs=[None, source], force=force)


def test_the_other_files_of_a_recording_and_of_a_bundle_are_inputs_too(tmp_path: Path) -> None:
    for name in ("a.vhdr", "a.eeg", "b.set", "b.fdt"):
        (tmp_path / name).write_bytes(b"x")
    bundle, folder = tmp_path / "bundle", tmp_path / "c.ds"
    bundle.mkdir()
    folder.mkdir()
    (bundle / "SHA256SUMS").write_bytes(b"")
    inputs = [tmp_path / "a.vhdr", tmp_path / "b.set", bundle, folder]
    for name in ("a.eeg", "b.fdt", "bundle/model.onnx", "bundle/SHA256SUMS", "c.ds/c.meg4"):
        with pytest.raises(UsageError, match="would write over"):
            check_output(tmp_path / name, PREDICTIONS, inputs=inputs, force=True)
    check_output(bundle / "predictions.csv", PREDICTIONS, inputs=inputs)


def test_only_ones_own_kind_is_replaced_without_force(tmp_path: Path) -> None:
    mine, own, empty = tmp_path / "mine.csv", tmp_path / "own.csv", tmp_path / "empty.csv"
    mine.write_text("my,table\n")
    own.write_bytes(TABLE)
    empty.touch()
    for fine in (own, empty, tmp_path / "new.csv", Path(os.devnull)):
        check_output(fine, PREDICTIONS)
    with pytest.raises(UsageError, match=r"mine.csv exists and is not a table of predictions; .*--force"):
        check_output(mine, PREDICTIONS)
    check_output(mine, PREDICTIONS, force=True)
    with pytest.raises(UsageError, match=r"choose another name\.$"):  # serve has no --force
        check_output(mine, ADAPTATION, force=None, option="--adaptation-state")
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path, PREDICTIONS, force=True)


def test_reports_and_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    names = ("report.json", "report.html")
    check_report(tmp_path / "new" / "deep", names)
    (tmp_path / "report.json").write_text('{"mindwire": "1"}')
    check_report(tmp_path, names)
    (tmp_path / "report.html").write_text("<h1>My thesis</h1>")
    with pytest.raises(UsageError, match=r"report.html exists and is not a report of Mindwire"):
        check_report(tmp_path, names)
    check_report(tmp_path, names, force=True)
    with pytest.raises(UsageError, match="is a file, expected a folder"):
        check_report(tmp_path / "report.json", names)
    with pytest.raises(RecordingError, match="does not exist; make it"):
        check_output(tmp_path / "absent" / "x.csv", PREDICTIONS)
    with pytest.raises(RecordingError, match="is a file"):
        check_report(tmp_path / "report.json" / "x", names)
    if os.access("/proc", os.W_OK):
        return  # a system whose /proc takes files is not known; os.access speaks for read-only folders otherwise
    with pytest.raises(RecordingError, match="cannot be written to"):
        check_output(Path("/proc/x.csv"), PREDICTIONS)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target, link = tmp_path / "table.csv", tmp_path / "link.csv"
    replace_file(target, "old\n")
    link.symlink_to(target)
    target.chmod(0o640)

    def fail() -> None:
        with writing(target, "the table"), open_replacement(target, "w") as file:
            file.write("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(RecordingError, match="the table cannot be written \\(No space left on device\\); choose"):
        fail()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["link.csv", "table.csv"]
    assert target.read_text() == "old\n"
    replace_file(link, b"new")
    assert (link.is_symlink(), target.read_bytes(), target.stat().st_mode & 0o777) == (True, b"new", 0o640)
    replace_file(Path(os.devnull), b"nothing")
    assert Path(os.devnull).is_char_device()


def test_export_does_not_replace_the_bundle_it_reads_nor_a_folder_with_other_files(tmp_path: Path) -> None:
    zoo = Path(__file__).parents[2] / "models" / "mindwire_models" / "zoo" / "simulated-4class"
    bundle = tmp_path / "bundle"
    shutil.copytree(zoo, bundle)
    (tmp_path / "link").symlink_to(bundle)
    same = command("export", bundle, "--out", tmp_path / "link")
    assert (same.returncode, "would write over the model that is read" in same.stderr) == (2, True)
    (bundle / "notes.txt").write_text("my notes")
    foreign = command("export", zoo, "--out", bundle)
    assert (foreign.returncode, "holds notes.txt, which is no part of one" in foreign.stderr) == (1, True)
    assert (bundle / "notes.txt").read_text() == "my notes"


def _small_files() -> None:
    """As a full disk: no file may grow beyond 4 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_replay_keeps_the_recording_and_says_a_full_disk_in_one_sentence(tmp_path: Path, data_dir: Path) -> None:
    recording = tmp_path / "copy.xdf"
    recording.write_bytes((data_dir / "s1" / "s1-run04-22ch-250hz.xdf").read_bytes())
    other = tmp_path / "other.xdf"
    other.write_bytes(b"XDF:something")
    for place, words in ((recording, "would write over"), (other, "is not a table of predictions")):
        before = place.read_bytes()
        done = command("replay", recording, "--out", place)
        assert (done.returncode, place.read_bytes()) == (2, before)
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    old = tmp_path / "old.csv"
    old.write_bytes(TABLE)
    words = [sys.executable, "-m", "mindwire", "replay", str(recording), "--out", str(old)]
    full = subprocess.run(words, capture_output=True, text=True, timeout=120, preexec_fn=_small_files)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith(f"mindwire: {old}: the predictions cannot be written (")
    assert "Traceback" not in full.stderr
    assert old.read_bytes() == TABLE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.xdf", "old.csv", "other.xdf"]


def test_recordings_of_a_service_need_a_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match=f"--record {file} is a file, expected a folder; choose another name"):
        check_settings(load_settings({"stream": ["type=EEG"], "record": file}))
