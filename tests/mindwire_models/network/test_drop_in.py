"""The network as PyTorch's and skorch's tools take it, as braindecode's is taken."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch

from mindwire_models import AttentionBaseNet
from mindwire_models.network.attention import ATTENTION_MODES

MODES = [None, *ATTENTION_MODES]


def network(mode: str | None = "se", **options) -> AttentionBaseNet:
    torch.manual_seed(3)
    return AttentionBaseNet(n_times=500, n_chans=5, n_outputs=3, attention_mode=mode, **options).eval()


@pytest.fixture
def windows() -> torch.Tensor:
    return torch.randn(2, 5, 500, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("mode", MODES)
def test_copies_and_pickles_decode_alike(mode, windows):
    original = network(mode)
    expected = original(windows)
    for other in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        torch.testing.assert_close(other(windows), expected, rtol=0, atol=0)
        assert other.get_config() == original.get_config()


@pytest.mark.parametrize("mode", MODES)
def test_torch_export_and_double_precision_decode_alike(mode, windows):
    original = network(mode)
    expected = original(windows)
    exported = torch.export.export(original, (windows,)).module()
    torch.testing.assert_close(exported(windows), expected)
    double = copy.deepcopy(original).to(torch.float64)(windows.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", [None, "se", "ge", "cbam"])
def test_half_precision_stays_close(mode, windows):
    original = network(mode)
    half = copy.deepcopy(original).to(torch.bfloat16)(windows.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), original(windows), rtol=0.1, atol=0.1)


def test_torch_script_decodes_alike_and_refuses_other_shapes(windows):
    original = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself is deprecated
        scripted, stored = torch.jit.script(plain(original)), io.BytesIO()
        torch.jit.save(scripted, stored)
        stored.seek(0)
        loaded = torch.jit.load(stored)
    torch.testing.assert_close(loaded(windows), original(windows))
    with pytest.raises(torch.jit.Error, match="Expected input of shape"):
        loaded(windows[:, :4])


def plain(model: AttentionBaseNet) -> torch.nn.Module:
    """Return the network as a bare module, without the methods of the Hub, which TorchScript cannot compile."""

    class Plain(torch.nn.Module):
        forward = AttentionBaseNet.forward

    bare = Plain().eval()
    for name, module in model.named_children():
        bare.add_module(name, module)
    bare.n_chans, bare.n_times = model.n_chans, model.n_times
    return bare


def test_skorch_trains_it():
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")
    rng = np.random.default_rng(1)
    labels = np.arange(48) % 2
    signal = rng.standard_normal((48, 2, 256)).astype(np.float32)
    signal[np.arange(48), labels] *= 4  # one of two channels is louder
    torch.manual_seed(1)
    classifier = skorch.NeuralNetClassifier(
        AttentionBaseNet,
        module__n_times=256,
        module__n_chans=2,
        module__n_outputs=2,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        max_epochs=60,
        train_split=None,
        verbose=0,
    ).fit(signal, labels)
    assert np.mean(classifier.predict(signal) == labels) >= 0.9
