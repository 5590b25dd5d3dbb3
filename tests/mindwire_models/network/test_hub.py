"""Folders and the Hub: what is written loads again, and what is damaged or foreign is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from torch import nn

from mindwire_models import AttentionBaseNet
from mindwire_models.errors import ArgumentError, BundleError
from mindwire_models.network.attention import ATTENTION_MODES
from mindwire_models.network.hub import resolve_activation


def small_network(**changes):
    network = AttentionBaseNet(**({"n_times": 200, "n_chans": 3, "n_outputs": 2, "n_temporal_filters": 4} | changes))
    return network.eval()


@pytest.fixture
def folder(tmp_path):
    small_network().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_a_saved_folder_loads_the_same_network(tmp_path, mode):
    network = small_network(attention_mode=mode, activation=nn.PReLU, use_mlp=True, extra_params=True)
    network.save_pretrained(tmp_path / "deep" / "folder")
    again = AttentionBaseNet.from_pretrained(tmp_path / "deep" / "folder")
    assert not again.training
    assert again.get_config() == network.get_config()
    x = torch.randn(2, 3, 200)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)


def test_a_folder_holds_the_published_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert list(config) == ["braindecode_version", *AttentionBaseNet.default_config()]
    assert config["activation"] == "torch.nn.modules.activation.ELU"
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    assert {"eeg", "motor-imagery", "AttentionBaseNet"} <= set(card.data.tags)
    assert "from mindwire_models import AttentionBaseNet" in card.text


def test_saving_again_keeps_the_users_card_and_replaces_the_weights(folder):
    (folder / "README.md").write_text("mine")
    other = small_network()
    other.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine"
    x = torch.randn(2, 3, 200)
    torch.testing.assert_close(AttentionBaseNet.from_pretrained(folder)(x), other(x), rtol=0, atol=0)
    assert len(list(folder.iterdir())) == 3


def test_saving_writes_the_same_bytes_each_time(tmp_path):
    network = small_network()
    for name in "ab":
        network.save_pretrained(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_folder_of_braindecode_saves_to_the_same_weights(data_dir, tmp_path):
    from safetensors.torch import load_file

    source = data_dir / "reference" / "default-encnet"
    AttentionBaseNet.from_pretrained(source).save_pretrained(tmp_path)
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(source / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
    config = json.loads((source / "config.json").read_text())
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved | {"braindecode_version": ""}) == (config | {"braindecode_version": ""})


def test_pickled_weights_are_read_where_there_are_no_others(folder):
    network = AttentionBaseNet.from_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    x = torch.randn(2, 3, 200)
    torch.testing.assert_close(AttentionBaseNet.from_pretrained(folder)(x), network(x), rtol=0, atol=0)


def test_another_number_of_outputs_rebuilds_the_head(folder):
    network = AttentionBaseNet.from_pretrained(folder)
    other = AttentionBaseNet.from_pretrained(folder, n_outputs=5)
    x = torch.randn(2, 3, 200)
    assert other(x).shape == (2, 5)
    assert other.get_config() == network.get_config() | {"n_outputs": 5}
    torch.testing.assert_close(
        other(x, return_features=True)["features"], network(x, return_features=True)["features"], rtol=0, atol=0
    )


def test_the_same_number_of_outputs_keeps_the_head(folder):
    x = torch.randn(2, 3, 200)
    same = AttentionBaseNet.from_pretrained(folder, n_outputs=2)
    torch.testing.assert_close(same(x), AttentionBaseNet.from_pretrained(folder)(x), rtol=0, atol=0)


def test_other_arguments_can_be_overridden(folder):
    network = AttentionBaseNet.from_pretrained(str(folder), drop_prob_attn=0.1, activation=nn.ReLU)
    assert network.channel_attention_block.dropout.p == 0.1
    assert isinstance(network.input_block.nonlinearity, nn.ReLU)


@pytest.mark.parametrize(
    ("overrides", "error", "sentence"),
    [
        ({"n_chans": 4}, BundleError, "expected input_block.spatial_conv.weight of shape"),
        ({"attention_mode": "se"}, BundleError, "missing; check the configuration"),
        ({"colour": "red"}, ArgumentError, "AttentionBaseNet has no argument colour"),
        ({"ch_dim": 0}, ArgumentError, "ch_dim must be an integer of at least 1"),
        ({"n_outputs": 0}, ArgumentError, "n_outputs must be an integer of at least 1"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(folder, overrides, error, sentence):
    with pytest.raises(error, match=sentence):
        AttentionBaseNet.from_pretrained(folder, **overrides)


def edited(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"activation": "os.system"}, "activation must name a class of torch.nn"),
        ({"activation": "builtins.eval"}, "activation must name a class of torch.nn"),
        ({"activation": "torch.nn.functional"}, "activation must name a class of torch.nn"),
        ({"activation": 3}, "activation must be a class"),
        ({"n_chans": "three"}, "n_chans must be an integer"),
        ({"n_chans": 4}, "expected input_block.spatial_conv.weight of shape"),
        ({"new_in_2030": True}, "AttentionBaseNet has no argument new_in_2030"),
        ({"chs_info": [1, 2, 3]}, "chs_info must be a list with one dictionary per channel"),
    ],
)
def test_a_wrong_configuration_is_refused(folder, changes, sentence):
    edited(folder, **changes)
    with pytest.raises(BundleError, match=sentence) as caught:
        AttentionBaseNet.from_pretrained(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("config.json", None, "no such file"),
        ("config.json", b"{", "expected a configuration as JSON"),
        ("config.json", b"\xff\xfe\xfa", "expected a configuration as JSON"),
        ("config.json", b"[1]", "expected a configuration as a JSON object, found list"),
        ("model.safetensors", None, "no such file"),
        ("model.safetensors", b"", "cannot be read as safetensors"),
        ("model.safetensors", b"garbage" * 100, "cannot be read as safetensors"),
    ],
)
def test_a_missing_or_damaged_file_is_refused(folder, file, content, sentence):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(BundleError, match=sentence):
        AttentionBaseNet.from_pretrained(folder)


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match="cannot be read as safetensors"):
        AttentionBaseNet.from_pretrained(folder)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_old_files(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor, *args, **kwargs):
        os.close(descriptor)
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(BundleError, match=r"cannot be saved there .*No space left"):
        small_network().save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="the network cannot be saved there"):
        small_network().save_pretrained(tmp_path / "file")


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def test_an_activation_of_ones_own_trains_but_is_not_saved(tmp_path):
    network = small_network(activation=Swish)
    assert network(torch.randn(2, 3, 200)).shape == (2, 2)
    with pytest.raises(ArgumentError, match=r"activation must name a class of torch\.nn"):
        network.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("path", ["torch.nn.ELU", "torch.nn.modules.activation.ELU"])
def test_activations_resolve_by_both_of_their_names(path):
    assert resolve_activation(path) is nn.ELU


@pytest.mark.parametrize(
    "path",
    [
        "ELU",
        "nn.ELU",
        "torch.nn.elu",
        "torch.nn.init.ELU",
        "torch.nn.modules.conv.ELU",
        "torch.nn.",
        "torch.nn.Module.ELU",
        "",
    ],
)
def test_other_names_of_activations_do_not_resolve(path):
    with pytest.raises(ArgumentError, match=r"such as torch\.nn\.ELU"):
        resolve_activation(path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The Hub's client with folders instead of repositories; the client itself is huggingface_hub's to test."""
    repositories = tmp_path / "hub"

    def create_repo(api, repo_id, **options):
        if api.token != "hf_right":
            raise huggingface_hub.errors.HFValidationError("Invalid token\nin several lines")
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(api, *, repo_id, folder_path, **options):
        shutil.copytree(folder_path, repositories / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id, **options):
        if not (repositories / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("Got: ConnectError.\nMore about it.")
        return str(repositories / repo_id)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr("mindwire_models.network.hub.snapshot_download", snapshot_download)
    return repositories


def test_a_network_goes_to_the_hub_and_comes_back(hub, tmp_path):
    network = small_network(attention_mode="eca", sfreq=100.0)
    assert network.push_to_hub("user/model", token="hf_right") == "https://hub/user/model/commit/1"
    assert network.save_pretrained(tmp_path / "named", push_to_hub=True, token="hf_right").endswith("named/commit/1")
    assert sorted(path.name for path in (hub / "named").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = AttentionBaseNet.from_pretrained("user/model", revision="main")
    assert again.get_config() == network.get_config()
    x = torch.randn(2, 3, 200)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    assert AttentionBaseNet.from_pretrained("user/model", n_outputs=7).n_outputs == 7


def test_what_fails_at_the_hub_is_one_sentence(hub):
    with pytest.raises(BundleError, match=r"^no/such: there is no such folder here.*\(Got: ConnectError\)\.$"):
        AttentionBaseNet.from_pretrained("no/such")
    (hub / "user/bare").mkdir(parents=True)
    with pytest.raises(BundleError, match="no such file"):
        AttentionBaseNet.from_pretrained("user/bare")
    with pytest.raises(BundleError, match=r"^user/new: the upload .* failed \(Invalid token\)\.$"):
        small_network().push_to_hub("user/new", token="hf_wrong")


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_the_hub_one_sentence_says_so(environment, tmp_path):
    script = """
from mindwire_models import AttentionBaseNet
from mindwire_models.errors import BundleError
for action in (lambda: AttentionBaseNet.from_pretrained("user/model"), lambda: AttentionBaseNet.from_pretrained("a/b/c"),
               lambda: AttentionBaseNet(200, 3, 2).push_to_hub("user/model", token="hf_x")):
    try:
        action()
    except BundleError as error:
        print(error)
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(  # where the Hub lies is read when huggingface_hub is imported
        [sys.executable, "-c", "import torch\n" + script],
        env=kept | environment | {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout
    assert "no such model could be had from the Hugging Face Hub" in lines[0]
    assert "no such model could be had from the Hugging Face Hub" in lines[1]
    assert "the upload to the Hugging Face Hub failed" in lines[2]
