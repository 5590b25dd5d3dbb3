"""A bundle is told to a person, in words and pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import BundleError, MissingExtraError
from mindwire_models.bundle import load_bundle
from mindwire_models.export import export_bundle
from mindwire_models.views.layers import folded_layers, network_layers
from tests.support.inspection import inspect
from tests.support.networks import make_contract, make_network

PNG = b"\x89PNG\r\n\x1a\n"


def make_bundle(folder: Path, channels: tuple[str, ...], **arguments: object) -> Path:
    network = make_network(n_chans=len(channels), **arguments)
    contract = make_contract(network, channels=channels, reference="linked mastoids")
    export_bundle(network, contract, folder, name="seen", provenance="Trained on the simulator.")
    return folder


def test_the_bundle_is_printed(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", ("C3", "Cz", "C4", "T3", "FP1"), attention_mode="se")
    output = inspect(folder).output
    bundle = load_bundle(folder)
    for part in (bundle.sha256, "seen", "linked mastoids", "C3 Cz C4", "250 Hz", "Trained on the simulator.", "se"):
        assert part in output
    assert all(digest in output for digest in bundle.digests.values())
    assert "input_block.temporal_conv" in output
    assert "channel_attention_block.attention_block.fc1" in output


def test_pictures_are_written(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", ("C3", "Cz", "C4", "T3", "FP1"), spatial_expansion=2)
    result = inspect(folder, "--out", tmp_path / "pictures")
    assert result.exit_code == 0, result.output
    for name in ("temporal-filters.png", "spatial-filters.png"):
        assert (tmp_path / "pictures" / name).read_bytes().startswith(PNG)
    assert "multiply-adds" in (tmp_path / "pictures" / "layers.md").read_text()


def test_labels_without_a_place_leave_out_the_maps(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", ("left", "right", "Cz"))
    result = inspect(folder, "--out", tmp_path / "pictures")
    assert result.exit_code == 0, result.output
    assert "no scalp maps" in result.output
    assert (tmp_path / "pictures" / "temporal-filters.png").exists()


def test_layers_are_counted_as_they_are() -> None:
    network = make_network(
        n_times=1000, n_chans=22, n_outputs=4, n_temporal_filters=40, temp_filter_length_inp=25, pool_length_inp=75,
        pool_stride_inp=15, ch_dim=16, temp_filter_length=15, pool_length=8, pool_stride=8,
    )  # fmt: skip
    before, after = network_layers(network), folded_layers(network)
    assert sum(row.multiply_adds for row in before) == 22_950_880
    assert sum(row.parameters for row in before) == sum(parameter.numel() for parameter in network.parameters())
    assert sum(row.multiply_adds for row in after) < 2_200_000
    assert before[0].shape == (40, 22, 1000)


def test_without_torch_the_rest_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_bundle(tmp_path / "bundle", ("C3", "Cz", "C4"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)  # as it is where there is no torch
    result = inspect(folder)
    assert result.exit_code == 0, result.output
    assert "'.[torch]'" in result.output
    assert isinstance(inspect(folder, "--out", tmp_path / "p").exception, MissingExtraError)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert isinstance(inspect(tmp_path).exception, BundleError)


def test_nothing_is_wider_than_a_terminal(tmp_path: Path) -> None:
    network = make_network(n_chans=3)
    contract = make_contract(network, channels=("C3", "Cz", "C4"))
    table = f"| recording | SHA-256 |\n| --- | --- |\n| a-long-name-of-a-recording.xdf | `{'ab' * 32}` |"
    export_bundle(
        network, contract, tmp_path / "b", name="wide", provenance=f"{'A sentence. ' * 20}\n\n{table}\n\n- {'x ' * 90}"
    )
    lines = inspect(tmp_path / "b").output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "a-long-name-of-a-recording.xdf  abababababab…" in lines
    assert not any("| ---" in line or line.startswith("|") for line in lines)


def test_help_is_wrapped_once() -> None:
    output = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "80"}).output
    lines = [
        line.strip()
        for line in output.split("Each trial is decided")[1].split("With a control policy")[0].splitlines()[:-2]
    ]
    assert all(len(line) > 50 for line in lines[1:-2])
