"""Bundles that were made to exhaust or confuse: each is refused in one sentence, in bounded time and memory."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Contract
from mindwire_models.errors import MindwireError
from tests.support.sealing import seal

MORE_MEMORY_KB = 200_000


def refused(folder: Path, message: str = "") -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MindwireError, match=message) as caught:
        load_bundle(folder)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE_MEMORY_KB
    return text


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def alignment(**changes: Any) -> dict[str, Any]:
    return {"kind": "euclidean", "scale": "window_sum", "update_samples": 50, "ready_samples": 100} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"window_samples": 10**9},
        {"window_samples": 2 * 10**18},
        {"window_samples": 10**400},
        {"hop_samples": 10**15},
        {"hop_samples": 0},
        {"sfreq": 1e7},
        {"sfreq": 1e300},
        {"sfreq": 1e-300},
        {"normalisation": alignment(update_samples=10**15)},
        {"normalisation": alignment(update_samples=10**8)},
        {"normalisation": alignment(ready_samples=10**15)},
        {"normalisation": alignment(warm_start_samples=10**15)},
        {"filters": {"highpass": {"order": 2, "freq": 1e-12}}, "sos": []},
        {"filters": {"highpass": {"order": 10, "freq": 0.001}}, "sos": []},
        {"filters": {"notch": [{"freq": 50.0, "q": 1e300}]}, "sos": []},
        {"filters": {"notch": [{"freq": 50.0}] * 10_000}, "sos": []},
        {"sos": [[1.0] * 6] * 100_000},
        {"channels": [f"E{number}" for number in range(50_000)]},
        {"channels": ["C3", "C4", "C\x1b[2J"]},
        {"channels": ["C3", "C4", "x" * 100_000]},
        {"classes": ["left\nright", "rest"]},
        {"classes": ["left\u202e", "rest"]},
        {"classes": ["left\ud800", "rest"]},
        {"classes": [f"class {number}" for number in range(100_000)]},
        {"temperature": 0.0},
        {"temperature": 1e300},
        {"reference": "x" * 1_000_000},
        {"reference": {"a": {"b": {}}}},
        {"version": [1] * 100_000},
        {"version": "x" * 100_000},
        {"x" * 100_000: 1},
        {"\x1b[2J": 1},
    ],
    ids=lambda changes: next(iter(changes))[:20] + "-" + ascii(next(iter(changes.values())))[:20],
)
def test_contracts_without_measure_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    seal(folder)
    refused(folder, "contract")


@pytest.mark.parametrize("name", ["contract.json", "config.json", "bundle.json"])
@pytest.mark.parametrize(
    "text", [nested(100_000), '{"version":' * 50_000 + "1" + "}" * 50_000, '{"version": 1e400', "null", "\x00" * 100]
)
def test_documents_that_are_none_are_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    seal(folder)
    refused(folder, name)


def test_numbers_beyond_floating_point_are_refused(folder: Path) -> None:
    path = folder / "contract.json"
    path.write_text(path.read_text().replace('"hop_samples": 10', '"hop_samples": 1e400'))
    seal(folder)
    refused(folder, "hop_samples")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"decoder": ["attentionbasenet"]}),
        ("config.json", {"decoder": "x" * 100_000}),
        ("config.json", {"sfreq": [250]}),
        ("config.json", {"n_chans": ["\x1b"] * 100_000}),
        ("bundle.json", {"graph": ["folded"]}),
        ("bundle.json", {"name": "evil\x1b[2J"}),
        ("bundle.json", {"name": "\ud800"}),
        ("bundle.json", {"name": "x" * 100_000}),
        ("bundle.json", {"name": ""}),
        ("bundle.json", {"version": {"a": [1] * 100_000}}),
    ],
)
def test_fields_of_the_wrong_kind_are_refused(folder: Path, file: str, changes: dict[str, Any]) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    seal(folder)
    refused(folder, file)


@pytest.mark.parametrize("name", ["model.onnx", "SHA256SUMS", "contract.json", "README.md"])
def test_pipes_and_folders_as_files_are_refused_at_once(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, "expected a regular file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, "folder")


def test_links_in_a_circle_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    refused(folder, "model.onnx")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    refused(circle, "circle")


def test_a_contract_is_read_from_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "contract.json")
    with pytest.raises(MindwireError, match="expected a regular file"):
        Contract.read(tmp_path / "contract.json")


def test_laboratory_contracts_are_within_the_bounds() -> None:
    labels = tuple(f"E{number}" for number in range(1, 257))
    Contract(channels=labels, sfreq=2048.0, window_samples=8192, hop_samples=82, classes=("left", "right"))
    Contract.parse(
        {
            "version": 1,
            "channels": ["C3", "C4"],
            "sfreq": 16384.0,
            "filters": {"highpass": {"order": 1, "freq": 0.01}, "notch": [{"freq": 50.0, "q": 60.0}]},
            "window_samples": 16384 * 8,
            "hop_samples": 1,
            "classes": ["linke Hand", "Füße"],
        }
    )
