"""Many recordings: named by folders, patterns and tables, run in processes and on a cluster, interrupted and begun again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import MindwireError, UsageError
from mindwire.sources.recording_lists import ListedRecording, listed_recordings
from tests.support.calibration_recordings import record
from tests.support.ray_cluster import RayCluster
from tests.support.service_process import until

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

N = 6
MARKERS = ("1=left_hand", "2=right_hand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and recordings in two folders of which one file is no recording."""
    root = tmp_path_factory.mktemp("many")
    for i in range(N):
        path = root / "recordings" / f"day{i % 2}" / f"run{i}.xdf"
        path.parent.mkdir(parents=True, exist_ok=True)
        record(path, i, n=6)
    (root / "recordings" / "day0" / "damaged.xdf").write_bytes(b"XDF:" + bytes(100))
    (root / "recordings" / "day1" / "notes.txt").write_text("no recording")
    trained = [record(root / f"trained{i}.xdf", 100 + i, n=10) for i in range(2)]
    options = ("--decoder", "riemann", "--window", "2", "--out", root / "model")
    run("train", *trained, "--markers", *MARKERS, *options)
    return root


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def evaluated(root: Path, out: Path, *options: object, files: object = "recordings") -> dict[str, Any]:
    """Evaluate as users do, in the folder; the report but for its date."""
    output = run("evaluate", root / str(files), "--model", root / "model", "--out", out, *options, code=1)
    assert "damaged.xdf" in output
    assert "1 recording not evaluated" in output
    report = json.loads((out / "report.json").read_text())
    del report["created"]
    return dict(report)


@pytest.fixture(scope="module")
def serial(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluated(folder, tmp_path_factory.mktemp("serial"))


def test_one_unreadable_recording_is_reported_and_nothing_else(serial: dict[str, Any]) -> None:
    assert len(serial["runs"]) == N
    assert serial["overall"]["n_cued"] == 6 * N
    ((path, why),) = serial["failed"].items()
    assert path.endswith("damaged.xdf")
    assert path in why


def test_processes_give_what_one_gives(folder: Path, serial: dict[str, Any], tmp_path: Path) -> None:
    assert evaluated(folder, tmp_path, "--jobs", 2) == serial


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_a_cluster_gives_what_one_process_gives(
    folder: Path, serial: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # that nodes have relative paths begin from
    with RayCluster("one", "two", cpus=1) as cluster:
        found = evaluated(Path(), tmp_path, "--ray", cluster.address)
        assert [run["sha256"] for run in found["runs"]] == [run["sha256"] for run in serial["runs"]]
        assert found | {"failed": {}} == serial | {"failed": {}}
        files = [folder / f"trained{i}.xdf" for i in range(2)]
        short = ("--window", 2, "--epochs", 2, "--network", "n_temporal_filters=4", "--network", "ch_dim=4")
        reports = []
        for where in (("--jobs", 1), ("--ray", cluster.address)):
            run(
                "cross-validate",
                *files,
                "--markers",
                *MARKERS,
                *short,
                *where,
                "--out",
                tmp_path / "held-out",
                "--force",
            )
            reports.append(json.loads((tmp_path / "held-out" / "report.json").read_text()) | {"created": None})
        assert reports[0] == reports[1]


def test_a_run_that_was_killed_goes_on_where_it_was(folder: Path, serial: dict[str, Any], tmp_path: Path) -> None:
    kept = tmp_path / "results"
    words = ["evaluate", folder / "recordings", "--model", folder / "model", "--out", tmp_path / "out"]
    options = ("--results", kept, "--jobs", "2")
    command = [sys.executable, "-m", "mindwire", *map(str, (*words, *options))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0) as process:
        until(lambda: len(list(kept.glob("*.parquet"))) >= 2 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    assert len(before) >= 2
    assert evaluated(folder, tmp_path / "out", *options) == serial
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(kept.glob("*.parquet"))) == N
    # Another way of deciding is another result, and a damaged result is made again.
    damaged = min(before)
    damaged.write_bytes(b"PAR1")
    assert evaluated(folder, tmp_path / "out", "--results", kept) == serial
    assert damaged.stat().st_size > 100
    evaluated(folder, tmp_path / "out", "--results", kept, "--alignment", "off")
    assert len(list(kept.glob("*.parquet"))) == 2 * N


def test_a_kept_result_is_a_table_of_predictions(folder: Path, tmp_path: Path) -> None:
    file = folder / "recordings" / "day1" / "run1.xdf"
    kept = tmp_path / "results"
    run("evaluate", file, "--model", folder / "model", "--out", tmp_path / "out", "--results", kept)
    predictions = tmp_path / "predictions.csv"
    run("replay", file, "--model", folder / "model", "--out", predictions)
    (table,) = kept.glob("*.parquet")
    found = parquet.read_table(table)
    assert found.column_names == ["time", "left_hand", "right_hand", "reasons"]
    assert found.num_rows == len(predictions.read_text().splitlines()) - 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_replay_writes_a_table_for_each_recording(jobs: int, folder: Path, tmp_path: Path) -> None:
    model = ("--model", folder / "model")
    many = ("replay", folder / "recordings", *model, "--out", tmp_path / "tables", "--jobs", jobs)
    assert "damaged.xdf" in run(*many, code=1)
    assert len(list((tmp_path / "tables").iterdir())) == N
    one = folder / "recordings" / "day1" / "run3.xdf"
    run("replay", one, *model, "--out", tmp_path / "one.csv")
    assert (tmp_path / "tables" / "run3.xdf.csv").read_text() == (tmp_path / "one.csv").read_text()
    run(*many, code=1)  # what Mindwire has written may be replaced


def test_tables_of_several_recordings_need_a_folder_and_a_name_each(folder: Path, tmp_path: Path) -> None:
    model = ("--model", folder / "model")
    (tmp_path / "one.csv").write_text("")
    with pytest.raises(UsageError, match="expected a folder for the tables"):
        run("replay", folder / "recordings", *model, "--out", tmp_path / "one.csv")
    with pytest.raises(UsageError, match="expected a folder for the tables"):
        run("replay", folder / "recordings", *model, "--out", "-")
    files = [folder / "recordings" / "day1" / "run1.xdf", record(tmp_path / "run1.xdf", 50, n=6)]
    with pytest.raises(UsageError, match=r"Two recordings have the name run1\.xdf"):
        run("replay", *files, *model, "--out", tmp_path / "tables")
    with pytest.raises(UsageError, match="One recording is one job"):
        run("replay", files[0], *model, "--jobs", 2)


def test_tune_and_compare_give_the_same_in_processes(folder: Path, tmp_path: Path) -> None:
    files = folder / "recordings" / "day1"
    model = ("--model", folder / "model")
    for i, options in enumerate([(), ("--jobs", 2, "--results", tmp_path / "results")]):
        run("tune", files, *model, "--idle", "right_hand", "--out", tmp_path / f"{i}.json", *options)
        policies = ("--control", tmp_path / f"{i}.json", "--control", "none")
        run("compare", files, *model, *policies, "--out", tmp_path / str(i), *options)
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert (tmp_path / "0" / "decisions.csv").read_text() == (tmp_path / "1" / "decisions.csv").read_text()


def test_ray_takes_no_number_of_jobs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found --jobs; leave it out"):
        evaluated(folder, tmp_path, "--jobs", 2, "--ray", "auto")


def test_names_of_recordings(folder: Path, tmp_path: Path) -> None:
    recordings = folder / "recordings"
    everything = sorted(recordings.rglob("*.xdf"))
    assert sorted(one.path for one in listed_recordings([str(recordings)])) == everything
    assert [one.path for one in listed_recordings([f"{recordings}/**/run*.xdf"])] == sorted(
        recordings.rglob("run*.xdf")
    )
    file = tmp_path / "run.xdf"
    file.write_bytes((recordings / "day1" / "run1.xdf").read_bytes())
    table = tmp_path / "table.csv"
    table.write_text(
        "\ufefffile,participant,session,markers\nrun.xdf,P1,2,1=left_hand 2=right_hand\n", encoding="utf-8"
    )
    expected = [ListedRecording(file, "P1", "2", "1=left_hand 2=right_hand")]
    assert listed_recordings([str(table)]) == expected
    columns = {"file": ["run.xdf"], "participant": ["P1"], "session": [2], "markers": ["1=left_hand 2=right_hand"]}
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    assert listed_recordings([str(tmp_path / "table.parquet")]) == expected


def test_a_table_s_participants_and_markers_are_used(folder: Path, tmp_path: Path) -> None:
    rows = [f"{folder}/recordings/day{i % 2}/run{i}.xdf,P{i % 2},S{i // 2}" for i in range(4)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["file,participant,session", *rows]))
    output = run("evaluate", table, "--model", folder / "model", "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(one["participant"], one["session"]) for one in report["participants"]] == [
        (f"P{i % 2}", f"S{i // 2}") for i in (0, 2, 1, 3)
    ]
    assert sum(one["n_correct"] for one in report["participants"]) == report["overall"]["n_correct"]
    assert "P0" in output


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("table.csv", b"path\nrun.xdf\n", "expected a table of recordings with a column file, found path"),
        ("table.csv", b"", "found no row"),
        ("table.csv", b"file\nabsent.xdf\n", "row 1: there is no recording"),
        ("table.csv", b"\xff\xfe\x00", "a file that cannot be read"),
        ("table.parquet", b"PAR1", "a file that cannot be read"),
        ("*.absent", None, "no file matches this pattern"),
        ("absent.xdf", None, "there is no such recording"),
        (".", None, "a folder without any"),
    ],
)
def test_what_names_no_recording_is_refused_in_one_sentence(
    name: str, content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        listed_recordings([str(tmp_path / name)])
