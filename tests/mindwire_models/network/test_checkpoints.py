"""Weights from the files of others: the published checkpoints, and everything that must be refused."""

import contextlib
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mindwire_models import AttentionBaseNet
from mindwire_models.errors import BundleError
from mindwire_models.network.checkpoints import read_state_dict, restore
from mindwire_models.network.lightning import read_lightning_checkpoint

PUBLISHED = ("bcic2a-loso-riemann-1", "bcic2a-loso-riemann-3", "bcic2a-loso-riemann-9")


def small_network(**changes):
    return AttentionBaseNet(**({"n_times": 200, "n_chans": 3, "n_outputs": 2, "n_temporal_filters": 4} | changes))


def lightning_document(network, **hyperparameters):
    weights = {f"model.{name.replace('final_layer', 'classifier')}": t for name, t in network.state_dict().items()}
    known = {"n_classes": 2, "n_channels": 3, "input_window_samples": 200, "n_temporal_filters": 4, "lr": 1e-3}
    return {"state_dict": weights, "hyper_parameters": known | hyperparameters, "epoch": 3}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "small.ckpt"
    torch.save(lightning_document(small_network()), path)
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_load_strictly(data_dir, name):
    config, weights = read_lightning_checkpoint(data_dir / "checkpoints" / f"{name}.ckpt")
    assert (config["n_chans"], config["n_times"], config["n_outputs"]) == (22, 1000, 4)
    assert (config["drop_prob_inp"], config["drop_prob_attn"]) == (0.5, 0.5)
    network = restore(lambda: AttentionBaseNet(**config), weights, name)
    with torch.inference_mode():
        assert network.eval()(torch.randn(2, 22, 1000)).isfinite().all()
    for own, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, weights[own], rtol=0, atol=0)


def test_reading_leaves_no_global_allowed(data_dir):
    before = set(torch.serialization.get_safe_globals())
    read_lightning_checkpoint(data_dir / "checkpoints" / f"{PUBLISHED[0]}.ckpt")
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_lightning_checkpoint_gives_the_same_network(checkpoint):
    document = torch.load(checkpoint)
    config, weights = read_lightning_checkpoint(checkpoint)
    assert config == {"n_outputs": 2, "n_chans": 3, "n_times": 200, "n_temporal_filters": 4}
    restore(lambda: AttentionBaseNet(**config), weights, checkpoint)
    torch.testing.assert_close(weights["final_layer.1.bias"], document["state_dict"]["model.classifier.1.bias"])


def test_hyperparameters_of_the_attention_are_kept(tmp_path):
    network = small_network(attention_mode="ge", use_mlp=True)
    torch.save(lightning_document(network, attention_mode="ge", use_mlp=True, seq_len=9), tmp_path / "a.ckpt")
    config, weights = read_lightning_checkpoint(tmp_path / "a.ckpt")
    restore(lambda: AttentionBaseNet(**config), weights, "a.ckpt")


def test_hyperparameters_without_meaning_are_named(tmp_path):
    torch.save(lightning_document(small_network(), gpu_id=0), tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match="were left out: gpu_id"):
        read_lightning_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["run-7.yaml", "run.yaml", "hparams.yaml"])
def test_hyperparameters_are_found_beside_the_checkpoint(tmp_path, name):
    document = lightning_document(small_network())
    del document["hyper_parameters"]
    torch.save(document, tmp_path / "run-7.ckpt")
    text = "model: BaseNet\nmodel_kwargs: {n_classes: 2, n_channels: 3, input_window_samples: 200, n_temporal_filters: 4}\n"
    (tmp_path / name).write_text(text)
    config, weights = read_lightning_checkpoint(tmp_path / "run-7.ckpt")
    restore(lambda: AttentionBaseNet(**config), weights, "run-7.ckpt")


def test_the_published_yaml_is_understood(data_dir, tmp_path):
    folder = data_dir / "checkpoints"
    source = folder / f"{PUBLISHED[0]}.ckpt"
    _, weights = read_lightning_checkpoint(source)
    torch.save({"state_dict": weights}, tmp_path / "bare.ckpt")
    config, _ = read_lightning_checkpoint(tmp_path / "bare.ckpt", folder / "bcic2a-loso-riemann.yaml")
    assert config == read_lightning_checkpoint(source)[0]


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        (None, "there is no a.yaml or hparams.yaml"),
        ("- just\n- a list\n", "expected hyperparameters under model_kwargs"),
        ("model_kwargs: 3\n", "expected hyperparameters under model_kwargs"),
        ("model_kwargs: {n_classes: 2}\n", "lack n_chans, n_times"),
        ("a: [unclosed\n", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
    ],
)
def test_unusable_hyperparameters_are_refused(tmp_path, yaml, sentence):
    document = lightning_document(small_network())
    del document["hyper_parameters"]
    torch.save(document, tmp_path / "a.ckpt")
    if yaml is not None:
        (tmp_path / "a.yaml").write_text(yaml)
    with pytest.raises(BundleError, match=sentence):
        read_lightning_checkpoint(tmp_path / "a.ckpt")


def test_a_checkpoint_without_weights_is_refused(tmp_path):
    torch.save({"epoch": 1}, tmp_path / "a.ckpt")
    with pytest.raises(BundleError, match="expected a Lightning checkpoint with a state_dict"):
        read_lightning_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".safetensors"])
@pytest.mark.parametrize("nested", [False, True])
def test_state_dicts_are_read_from_every_kind_of_file(tmp_path, suffix, nested):
    from safetensors.torch import save_file

    network = small_network()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        weights = {f"module.model.{name}": tensor for name, tensor in network.state_dict().items()}
        torch.save({"state_dict": weights} if nested else weights, path)
    restore(small_network, read_state_dict(path), path)


class Malicious:
    """Pickles as a call that leaves a file behind when anything unpickles it."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


READERS = (read_lightning_checkpoint, read_state_dict)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, read, legacy):
    trace, path = tmp_path / "executed", tmp_path / "evil.ckpt"
    document = lightning_document(small_network())
    document["state_dict"]["model.extra"] = Malicious(trace)
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BundleError, match="nothing was executed"):
        read(path)
    assert not trace.exists()


@pytest.mark.parametrize("read", READERS)
def test_a_bare_malicious_pickle_is_refused_and_not_executed(tmp_path, read):
    trace, path = tmp_path / "executed", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(BundleError):
        read(path)
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(small_network(), tmp_path / "whole.pt")
    with pytest.raises(BundleError, match="Save the weights as a state_dict or as safetensors"):
        read_state_dict(tmp_path / "whole.pt")


def test_numpy_scalars_are_allowed_in_lightning_checkpoints_alone(tmp_path):
    document = lightning_document(small_network())
    document["lr_schedulers"] = [{"_last_lr": [np.float64(0.1)]}]
    torch.save(document, tmp_path / "a.ckpt")
    with pytest.raises(BundleError, match="nothing was executed"):
        read_state_dict(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [3, [], {}, {"a": 1}, {1: torch.zeros(1)}, {"state_dict": {"a": "b"}}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BundleError, match="expected a state_dict of named tensors"):
        read_state_dict(tmp_path / "a.pt")


def test_two_heads_are_refused(tmp_path):
    weights = small_network().state_dict()
    torch.save(weights | {"classifier.1.bias": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(BundleError, match="both a classifier and a final_layer"):
        read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["missing.ckpt", "missing.bin", "missing.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(BundleError, match=rf"{name}: no such file"):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("name", ["folder.ckpt", "folder.safetensors"])
def test_a_folder_is_no_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(BundleError):
        read_state_dict(tmp_path / name)


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("valid")
    network = small_network(ch_dim=8)
    save_file(network.state_dict(), folder / "w.safetensors")
    torch.save(network.state_dict(), folder / "w.pt")
    torch.save(network.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(lightning_document(network), folder / "w.ckpt")
    return folder


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "legacy.pt", "w.ckpt"])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_reads_as_tensors(valid_files, tmp_path, name, data):
    content = bytearray((valid_files / name).read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(4000, len(content) - 1)))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / name
    damaged.write_bytes(bytes(content))
    read = read_lightning_checkpoint if name == "w.ckpt" else read_state_dict
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with contextlib.suppress(BundleError):
            read(damaged)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(BundleError):
        read_state_dict(tmp_path / "a.pt")


class TestRestore:
    def test_missing_and_superfluous_weights_are_named(self):
        weights = small_network().state_dict()
        weights["head.weight"] = weights.pop("final_layer.1.weight")
        with pytest.raises(BundleError, match=r"w: .* final_layer\.1\.weight missing and head\.weight superfluous"):
            restore(small_network, weights, "w")

    def test_long_lists_are_cut(self):
        with pytest.raises(BundleError, match=r"conv\.0\.weight, .* and \d+ more missing"):
            restore(small_network, {"final_layer.1.bias": torch.zeros(2)}, "w")

    def test_another_shape_says_expected_and_found(self):
        with pytest.raises(BundleError, match=r"expected final_layer\.1\.\w+ of shape \(2,.*found \(5,"):
            restore(small_network, small_network(n_outputs=5).state_dict(), "w")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_not_finite_are_refused(self, value):
        weights = small_network().state_dict()
        weights["final_layer.1.bias"] = torch.tensor([0.0, value])
        with pytest.raises(BundleError, match=r"final_layer\.1\.bias holds values that are not finite"):
            restore(small_network, weights, "w")
