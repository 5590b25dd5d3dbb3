"""Both engines say the same, choose sensibly, and say why."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from mindwire.errors import BundleError, MissingExtraError, UsageError
from mindwire.inference.decoder import MAX_BATCH, batches
from mindwire.inference.load import load_decoder
from mindwire.inference.pytorch import TorchDecoder
from mindwire.types import Reason, Window
from mindwire_models.bundle import Bundle, load_bundle, write_bundle
from mindwire_models.export import export_bundle
from tests.support.networks import make_contract, make_network


@pytest.fixture(scope="module", params=["folded", "plain"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    network = make_network(attention_mode="eca", n_outputs=4)
    folder = tmp_path_factory.mktemp("bundles") / request.param
    return export_bundle(network, make_contract(network), folder, name="b", provenance="", graph=request.param)


def make_windows(bundle: Bundle, count: int, seed: int = 0) -> list[Window]:
    """Windows as the pipeline gives them: time-major views, each with its own alignment."""
    rng = np.random.default_rng(seed)
    n, length = bundle.contract.n_channels, bundle.contract.window_samples
    signal = rng.standard_normal((length + 10 * count, n)).astype(np.float32)
    windows = []
    for index in range(count):
        half = rng.standard_normal((n, n)) / n
        alignment = (np.eye(n) + half + half.T).astype(np.float32)
        samples = signal[10 * index : 10 * index + length]
        windows.append(Window(index, index / 25, samples, alignment, index, 0, length + 10 * index, Reason.NONE))
    return windows


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits.astype(np.float64))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_engines_agree(bundle: Bundle) -> None:
    windows = make_windows(bundle, 20)
    probabilities = []
    for engine in ("onnxruntime", "torch"):
        decoder = load_decoder(bundle, engine, "cpu")  # type: ignore[arg-type]
        sessions = [decoder.session() for _ in windows]
        logits = decoder.decode(sessions, windows)
        assert logits.shape == (20, 4)
        assert logits.dtype == np.float32
        assert (decoder.engine, decoder.device) == (engine, "cpu")
        probabilities.append(softmax(logits))
    assert np.abs(probabilities[0] - probabilities[1]).max() <= 1e-5


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_streams_logits_do_not_depend_on_how_many_windows_fell_due(bundle: Bundle, engine: str) -> None:
    decoder = load_decoder(bundle, engine)  # type: ignore[arg-type]
    windows = make_windows(bundle, 11)
    session = decoder.session()
    together = decoder.decode([session] * len(windows), windows)
    one_by_one = np.concatenate([decoder.decode([session], [window]) for window in windows])
    np.testing.assert_array_equal(together, one_by_one)
    np.testing.assert_array_equal(together, decoder.decode([session] * len(windows), windows))
    many = decoder.decode([decoder.session() for _ in windows], windows)
    np.testing.assert_allclose(many, together, atol=1e-5)


def test_no_windows_give_no_logits(bundle: Bundle) -> None:
    assert load_decoder(bundle).decode([], []).shape == (0, 4)


def test_batches_hold_each_stream_once() -> None:
    a, b = object(), object()
    assert list(batches([a, b, a, a, b])) == [[0, 1], [2], [3, 4]]
    assert [len(part) for part in batches([object() for _ in range(MAX_BATCH + 3)])] == [MAX_BATCH, 3]
    assert list(batches([])) == []


def test_the_choice_is_explained(bundle: Bundle) -> None:
    decoder = load_decoder(bundle)
    assert decoder.engine == "onnxruntime"
    assert "default" in decoder.reason
    assert "asked for" in load_decoder(bundle, "torch", "cpu").reason


def test_what_is_not_there_is_refused(bundle: Bundle) -> None:
    for engine in ("onnxruntime", "torch"):
        with pytest.raises(UsageError, match="CUDA"):
            load_decoder(bundle, engine, "cuda")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'jax' is unknown"):
        load_decoder(bundle, "jax")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'tpu' is unknown"):
        load_decoder(bundle, "auto", "tpu")  # type: ignore[arg-type]


def test_torch_takes_over_when_onnxruntime_is_absent(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it now fails as if it were not installed
    decoder = load_decoder(bundle)
    assert isinstance(decoder, TorchDecoder)
    assert "onnxruntime is not installed" in decoder.reason
    with pytest.raises(MissingExtraError, match="onnxruntime is not installed"):
        load_decoder(bundle, "onnxruntime")


def test_without_any_engine_both_are_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"PyTorch is not installed .*onnxruntime is not installed"):
        load_decoder(bundle)


def test_torch_takes_over_when_the_graph_is_unusable(bundle: Bundle, tmp_path: Path) -> None:
    def rewritten(graph: bytes) -> Bundle:
        return write_bundle(
            tmp_path / "unusable",
            name="unusable",
            contract=bundle.contract,
            config=bundle.config,
            weights=bundle.read("model.safetensors"),
            graph=bundle.graph,
            graphs={"model.onnx": graph},
            card="",
        )

    model = onnx.load_model_from_string(bundle.read("model.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    broken = rewritten(model.SerializeToString())
    decoder = load_decoder(broken)
    assert isinstance(decoder, TorchDecoder)
    assert "ONNX Runtime cannot be used" in decoder.reason
    with pytest.raises(BundleError, match="does not accept"):
        load_decoder(broken, "onnxruntime")


def test_a_bundle_from_disk_decodes_as_the_one_in_memory(bundle: Bundle) -> None:
    windows = make_windows(bundle, 3)
    first, second = load_decoder(bundle), load_decoder(load_bundle(bundle.path))
    sessions = [first.session() for _ in windows]
    np.testing.assert_array_equal(first.decode(sessions, windows), second.decode(sessions, windows))


@pytest.mark.parametrize("adapt", ["alignment", "bn"])
def test_decoding_never_changes_how_many_threads_other_threads_compute_with(
    bundle: Bundle, adapt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    decoder = load_decoder(bundle, "torch", "cpu", adapt=adapt)  # type: ignore[arg-type]
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(torch, "set_num_threads", lambda n: pytest.fail(f"set to {n} while decoding"))
    decoder.decode([decoder.session()], make_windows(bundle, 1))
