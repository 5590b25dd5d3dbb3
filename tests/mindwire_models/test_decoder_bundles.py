"""Bundles of ensembles and of the tangent-space baseline: written, verified, loaded, and equal in every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindwire_models.errors import ArgumentError, BundleError, ExportError

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from mindwire_models.bundle import load_bundle, load_module, load_network  # noqa: E402
from mindwire_models.contract import Contract  # noqa: E402
from mindwire_models.export import export_bundle  # noqa: E402
from mindwire_models.network.attentionbasenet import AttentionBaseNet  # noqa: E402
from mindwire_models.network.ensemble import Ensemble  # noqa: E402
from mindwire_models.network.riemann import TangentSpaceNetwork  # noqa: E402

CONTRACT = Contract(
    channels=("C3", "Cz", "C4"),
    sfreq=100.0,
    window_samples=200,
    hop_samples=5,
    classes=("left_hand", "right_hand"),
    temperature=1.7,
)


def make_ensemble(n: int = 3) -> Ensemble:
    torch.manual_seed(1)
    nets = [AttentionBaseNet(n_chans=3, n_times=200, n_outputs=2, n_temporal_filters=4) for _ in range(n)]
    return Ensemble(nets).eval()


def make_tangent_space() -> TangentSpaceNetwork:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 3, 3)).astype(np.float32)
    network = TangentSpaceNetwork(3, 200, 2).eval()
    network.whitening.copy_(torch.diag(torch.tensor([1.0, 0.5, 2.0])))
    network.coefficients.copy_(torch.from_numpy(noise + noise.swapaxes(1, 2)))
    network.intercept.copy_(torch.tensor([0.5, -0.5]))
    return network


@pytest.mark.parametrize("make", [make_ensemble, make_tangent_space])
def test_a_bundle_reads_back_as_what_was_written(make, tmp_path: Path) -> None:
    network = make()
    bundle = export_bundle(network, CONTRACT, tmp_path / "bundle", name="test", provenance="made up")
    x = torch.randn(4, 3, 200)
    expected = network(x).detach().numpy()
    loaded = load_module(load_bundle(bundle.path))
    np.testing.assert_allclose(loaded(x).detach().numpy(), expected, atol=1e-6)
    session = ort.InferenceSession(bundle.read("model.onnx"), providers=["CPUExecutionProvider"])
    eye = np.broadcast_to(np.eye(3, dtype=np.float32), (4, 3, 3)).copy()
    logits, probabilities = session.run(["logits", "probabilities"], {"x": x.numpy(), "alignment": eye})
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    scaled = np.exp(logits / 1.7)
    np.testing.assert_allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"), [(make_ensemble, "mean of 3 networks"), (make_tangent_space, "Tangent space of covariances")]
)
def test_the_card_says_what_it_is(make, words: str, tmp_path: Path) -> None:
    bundle = export_bundle(make(), CONTRACT, tmp_path / "bundle", name="test", provenance="made up")
    assert words in (bundle.path / "README.md").read_text()


def test_an_ensemble_decides_by_the_mean_of_its_members() -> None:
    ensemble = make_ensemble()
    x = torch.randn(2, 3, 200)
    expected = sum(member(x) for member in ensemble.members) / 3
    torch.testing.assert_close(ensemble(x), expected)


def test_members_of_different_sizes_are_refused() -> None:
    nets = [AttentionBaseNet(n_chans=n, n_times=200, n_outputs=2) for n in (3, 4)]
    with pytest.raises(ArgumentError, match="networks of one size"):
        Ensemble(nets)


def test_an_ensemble_of_the_wrong_size_is_no_bundle(tmp_path: Path) -> None:
    contract = CONTRACT.model_copy(update={"channels": ("C3", "C4")})
    with pytest.raises(ExportError, match="2 channels"):
        export_bundle(make_ensemble(), contract, tmp_path / "bundle", name="test", provenance="made up")


def test_only_a_single_network_has_a_plain_graph(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="plain"):
        export_bundle(make_ensemble(), CONTRACT, tmp_path / "b", name="test", provenance="made up", graph="plain")


def test_who_needs_the_single_network_is_told(tmp_path: Path) -> None:
    bundle = export_bundle(make_ensemble(), CONTRACT, tmp_path / "bundle", name="test", provenance="made up")
    with pytest.raises(BundleError, match="found an ensemble"):
        load_network(bundle)
