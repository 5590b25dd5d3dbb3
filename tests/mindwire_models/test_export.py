"""Weights from anywhere become a bundle, the same one every day."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from mindwire.cli.main import app
from mindwire_models.bundle import load_bundle, load_network, write_policy
from mindwire_models.contract import Alignment, Contract
from mindwire_models.errors import ArgumentError, BundleError, ContractError, ExportError, MindwireError
from mindwire_models.export import export_bundle
from mindwire_models.presets import BCIC2A
from mindwire_models.source import open_source
from tests.support.networks import make_contract, make_network


def mindwire(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def refused(result: Result, kind: type[MindwireError], message: str) -> None:
    assert isinstance(result.exception, kind), result.output
    assert message in str(result.exception)


@pytest.mark.parametrize("number", [1, 3, 9])
def test_published_checkpoints_export_with_one_command(data_dir: Path, tmp_path: Path, number: int) -> None:
    checkpoint = data_dir / "checkpoints" / f"bcic2a-loso-riemann-{number}.ckpt"
    result = mindwire(checkpoint, "--out", tmp_path / "bundle", "--preset", "bcic2a")
    assert result.exit_code == 0, result.output
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.contract == BCIC2A
    assert (bundle.name, bundle.graph) == (checkpoint.stem, "folded")


def test_reference_folders_export(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "reference" / "short-250"
    flags = ("--preset", "bcic2a", "--window", 250, "--classes", "a,b,c,d")
    assert mindwire(source, "--out", tmp_path / "bundle", *flags).exit_code == 0
    bundle = load_bundle(tmp_path / "bundle")
    stored = np.load(source / "io.npz")
    with torch.inference_mode():
        logits = load_network(bundle)(torch.from_numpy(stored["x"])).numpy()
    assert np.abs(logits - stored["logits"]).max() <= 1e-5
    refused(
        mindwire(source, "--out", tmp_path / "other", "--preset", "bcic2a"),
        ExportError,
        "The contract demands 1000 samples per window, but the network was built for 250",
    )
    assert not (tmp_path / "other").exists()


def test_every_kind_of_source_gives_the_same_bundle(tmp_path: Path) -> None:
    network = make_network(attention_mode="eca")
    contract = make_contract(network)
    (tmp_path / "contract.json").write_text(contract.to_json())
    network.save_pretrained(tmp_path / "folder")
    (tmp_path / "config.json").write_text(json.dumps(network.get_config()))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pt")
    common = ("--contract", tmp_path / "contract.json", "--name", "same")
    bundles = []
    for number, source in enumerate(
        [
            (tmp_path / "folder",),
            (tmp_path / "weights.safetensors", "--config", tmp_path / "config.json"),
            (tmp_path / "weights.pt", "--config", tmp_path / "config.json"),
            (tmp_path / "out0",),
        ]
    ):
        out = tmp_path / f"out{number}"
        assert mindwire(*source, "--out", out, *common).exit_code == 0
        bundles.append(load_bundle(out))
    assert len({bundle.sha256 for bundle in bundles}) == 1


def test_exports_of_different_days_differ_in_their_dates_only(tmp_path: Path) -> None:
    network = make_network(attention_mode="cat")
    contract = make_contract(network)
    first, second = (
        export_bundle(network, contract, tmp_path / name, name="same", provenance="For tests.")
        for name in ("monday", "tuesday")
    )
    assert first.sha256 == second.sha256
    for name in ("bundle.json", "config.json", "contract.json", "model.onnx", "model.safetensors"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    card = (first.path / "README.md").read_text()
    assert "Exported 20" in card
    assert "For tests." in card


def test_plain_is_written_when_asked_for(tmp_path: Path) -> None:
    network = make_network()
    network.save_pretrained(tmp_path / "folder")
    flags = ("--channels", "C3,Cz,C4", "--sfreq", 250, "--classes", "left_hand,right_hand", "--plain")
    assert mindwire(tmp_path / "folder", "--out", tmp_path / "bundle", *flags).exit_code == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.graph == "plain"
    assert bundle.contract.channels == ("C3", "Cz", "C4")


def test_flags_change_the_contract(tmp_path: Path) -> None:
    network = make_network()
    export_bundle(network, make_contract(network), tmp_path / "bundle", name="n", provenance="")
    flags = (
        *("--highpass", "1:4", "--lowpass", "30", "--notch", "50", "--notch", "100:20", "--unit", "mV"),
        *("--reference", "Cz", "--normalisation", "riemannian", "--scale", "sample_mean", "--forgetting", 60),
        *("--hop", 5, "--temperature", 2, "--sfreq", 500, "--channels", "a,b,c", "--classes", "x,y"),
    )
    assert mindwire(tmp_path / "bundle", "--out", tmp_path / "changed", *flags).exit_code == 0
    contract = load_bundle(tmp_path / "changed").contract
    assert contract.filters.highpass is not None
    assert contract.filters.lowpass is not None
    assert (contract.filters.highpass.order, contract.filters.highpass.freq) == (4, 1.0)
    assert (contract.filters.lowpass.order, contract.filters.lowpass.freq) == (2, 30.0)
    assert [(notch.freq, notch.q) for notch in contract.filters.notch] == [(50.0, 30.0), (100.0, 20.0)]
    assert contract.normalisation == Alignment(
        kind="riemannian", scale="sample_mean", forgetting_seconds=60.0, update_samples=500, ready_samples=2500
    )
    assert (contract.unit, contract.reference, contract.hop_samples, contract.temperature) == ("mV", "Cz", 5, 2.0)
    assert (
        mindwire(
            *(tmp_path / "changed", "--out", tmp_path / "back", "--highpass", "none", "--lowpass", "none"),
            *("--notch", "none", "--normalisation", "none"),
        ).exit_code
        == 0
    )
    back = load_bundle(tmp_path / "back").contract
    assert (back.sos, back.normalisation.kind) == ((), "none")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--highpass", "low"), "expected a number in hertz"),
        (("--highpass", "1:two"), "whole number"),
        (("--normalisation", "euclidean"), "needs its scale"),
        (("--normalisation", "zscore"), "zscore needs --contract"),
        (("--scale", "window_sum"), "belong to an alignment"),
        (("--lowpass", "200"), "needs a sampling rate above 400 Hz"),
        (("--channels", "C3,C3,C4"), "more than once"),
        (("--classes", "only"), "classes"),
    ],
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    network = make_network()
    export_bundle(network, make_contract(network), tmp_path / "bundle", name="n", provenance="")
    refused(mindwire(tmp_path / "bundle", "--out", tmp_path / "out", *flags), ContractError, message)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    network = make_network()
    network.save_pretrained(tmp_path / "folder")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    refused(mindwire(tmp_path / "folder", "--out", tmp_path / "o"), ContractError, "--preset NAME")
    refused(mindwire(tmp_path / "weights.safetensors", "--out", tmp_path / "o"), ArgumentError, "--config")
    both = ("--preset", "bcic2a", "--contract", tmp_path / "c.json")
    assert "choose one" in str(mindwire(tmp_path / "folder", "--out", tmp_path / "o", *both).exception)
    network = make_network(sfreq=128.0)
    contract = make_contract(network)
    with pytest.raises(ExportError, match="demands 250 Hz, but the network was built for 128"):
        export_bundle(network, contract, tmp_path / "o", name="n", provenance="")
    config = tmp_path / "config.json"
    for text in ("{", "[]"):
        config.write_text(text)
        with pytest.raises(BundleError):
            open_source(str(tmp_path / "weights.safetensors"), config)
    with pytest.raises(BundleError, match="no such file"):
        open_source(str(tmp_path / "weights.safetensors"), tmp_path / "nothing.json")
    (tmp_path / "run04.xdf").write_bytes(b"XDF:")
    with pytest.raises(BundleError, match=r"run04.xdf: expected a checkpoint .* found a file of another kind"):
        open_source(str(tmp_path / "run04.xdf"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"empty: expected a checkpoint .* found a folder without config.json"):
        open_source(str(tmp_path / "empty"))


class Harm:
    """What a malicious pickle would run on loading."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_malicious_file_is_executed(tmp_path: Path, name: str, zipped: bool) -> None:
    witness = tmp_path / "witness"
    document = {"state_dict": {"weight": Harm(witness)}, "hyper_parameters": {"n_outputs": Harm(witness)}}
    if zipped:
        torch.save(document, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(document))
    (tmp_path / "config.json").write_text(json.dumps(make_network().get_config()))
    result = mindwire(
        *(tmp_path / name, "--out", tmp_path / "bundle", "--preset", "bcic2a"),
        *(() if name.endswith("ckpt") else ("--config", tmp_path / "config.json")),
    )
    assert isinstance(result.exception, BundleError), result.output
    assert not witness.exists()
    assert not (tmp_path / "bundle").exists()


def test_a_refused_export_leaves_the_old_bundle(tmp_path: Path) -> None:
    network = make_network()
    contract = make_contract(network)
    old = export_bundle(network, contract, tmp_path / "bundle", name="old", provenance="")
    with torch.no_grad():
        network.final_layer[1].weight.fill_(float("nan"))
    with pytest.raises(ExportError, match="not finite"):
        export_bundle(network, contract, tmp_path / "bundle", name="new", provenance="")
    assert load_bundle(tmp_path / "bundle") == old


def test_export_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = make_network().train()
    export_bundle(network, make_contract(network), tmp_path / "bundle", name="n", provenance="")
    assert network.training


def test_a_contract_is_the_networks_when_it_came_from_a_bundle(tmp_path: Path) -> None:
    network = make_network()
    contract: Contract = make_contract(network, reference="linked mastoids")
    export_bundle(network, contract, tmp_path / "bundle", name="n", provenance="")
    assert open_source(str(tmp_path / "bundle")).contract == contract


def test_a_control_policy_is_exported_unless_the_classes_change(tmp_path: Path) -> None:
    network = make_network()
    bundle = export_bundle(network, make_contract(network), tmp_path / "bundle", name="n", provenance="")
    write_policy(bundle, "{}")
    kept = mindwire(bundle.path, "--out", tmp_path / "kept")
    assert kept.exit_code == 0, kept.output
    assert load_bundle(tmp_path / "kept").policy == b"{}"
    names = [f"class{i}" for i in range(len(bundle.contract.classes))]
    left_out = mindwire(bundle.path, "--out", tmp_path / "others", "--classes", ",".join(names))
    assert "control policy was left out" in left_out.output
    assert "`mindwire tune` writes one" in " ".join(left_out.output.split())
    assert "mindwire tune" not in kept.output
    assert load_bundle(tmp_path / "others").policy is None
