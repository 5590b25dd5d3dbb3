"""The network against braindecode's reference outputs, its arguments, and its short inputs."""

import copy
import inspect
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mindwire_models import AttentionBaseNet
from mindwire_models.errors import ArgumentError, MindwireError
from mindwire_models.network.attention import ATTENTION_MODES

CASES = [
    "16ch-125hz-3class",
    "cbam-r2-k7",
    "default-cat",
    "default-catlite",
    "default-cbam",
    "default-eca",
    "default-encnet",
    "default-fca",
    "default-gct",
    "default-ge",
    "default-gsop",
    "default-none",
    "default-se",
    "default-srm",
    "eca-k5",
    "encnet-8",
    "fca-freq3",
    "ge-extra",
    "ge-extra-mlp",
    "ge-mlp",
    "kernels",
    "none-relu",
    "se-wide",
    "short-250",
    "srm-mlp",
]


@pytest.fixture(params=CASES)
def reference(request, data_dir):
    folder = data_dir / "reference" / request.param
    with np.load(folder / "io.npz") as arrays:
        return folder, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_every_reference_case_is_tested(data_dir):
    assert sorted(CASES) == sorted(folder.name for folder in (data_dir / "reference").iterdir())


def test_reference_loads_strictly_and_agrees(reference):
    folder, arrays = reference
    network = AttentionBaseNet.from_pretrained(folder)
    tolerance = (
        1e-4 if json.loads((folder / "config.json").read_text())["attention_mode"] in ("cat", "catlite") else 1e-5
    )
    with torch.inference_mode():
        logits = network(arrays["x"])
        out = network(arrays["x"], return_features=True)
        torch.testing.assert_close(network.final_layer(out["features"]), logits)
    assert out["cls_token"] is None
    assert (logits - arrays["logits"]).abs().max() <= tolerance
    assert (out["features"] - arrays["features"]).abs().max() <= tolerance


def test_names_of_weights_are_the_references(reference):
    from safetensors.torch import load_file

    folder, _ = reference
    network = AttentionBaseNet.from_pretrained(folder)
    published = load_file(folder / "model.safetensors")
    own = network.state_dict()
    assert {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in published.items()
    }


def test_constructor_is_the_published_one():
    parameters = inspect.signature(AttentionBaseNet).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "n_times": None,
        "n_chans": None,
        "n_outputs": None,
        "chs_info": None,
        "sfreq": None,
        "input_window_seconds": None,
        "n_temporal_filters": 40,
        "temp_filter_length_inp": 25,
        "spatial_expansion": 1,
        "pool_length_inp": 75,
        "pool_stride_inp": 15,
        "drop_prob_inp": 0.5,
        "ch_dim": 16,
        "temp_filter_length": 15,
        "pool_length": 8,
        "pool_stride": 8,
        "drop_prob_attn": 0.5,
        "attention_mode": None,
        "reduction_rate": 4,
        "use_mlp": False,
        "freq_idx": 0,
        "n_codewords": 4,
        "kernel_size": 9,
        "activation": nn.ELU,
        "extra_params": False,
    }
    assert list(parameters) == list(AttentionBaseNet(100, 4, 2, pool_length_inp=10, pool_stride_inp=5).get_config())


def test_the_stem_is_reachable_by_name():
    stem = AttentionBaseNet(1000, 22, 4, spatial_expansion=2).input_block
    assert stem.temporal_conv.weight.shape == (40, 1, 1, 25)
    assert stem.temporal_conv.padding == (0, 12)
    assert stem.spatial_conv.weight.shape == (80, 1, 22, 1)
    assert (stem.intermediate_bn.num_features, stem.bn.num_features) == (40, 80)
    assert stem.pool.kernel_size == (1, 75)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_a_trailing_1_changes_nothing(mode):
    network = AttentionBaseNet(250, 8, 3, attention_mode=mode, pool_length_inp=25, pool_stride_inp=10).eval()
    x = torch.randn(2, 8, 250)
    torch.testing.assert_close(network(x), network(x[..., None]), rtol=0, atol=0)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
@pytest.mark.parametrize("extra_params", [False, True])
@pytest.mark.parametrize("n_times", [1, 2, 17, 120, 179])
def test_short_inputs_work_in_every_mode_with_a_warning(mode, extra_params, n_times):
    with pytest.warns(UserWarning, match=f"n_times={n_times} is shorter than the 180 .* scaled by {n_times / 180:.2f}"):
        network = AttentionBaseNet(n_times, 8, 3, attention_mode=mode, extra_params=extra_params)
    x = torch.randn(4, 8, n_times)
    for training in (True, False):
        logits = network.train(training)(x)
        assert logits.shape == (4, 3)
        assert logits.isfinite().all()
    rebuilt = rebuild_quietly(network)
    rebuilt.load_state_dict(network.state_dict(), strict=True)
    assert rebuilt.lengths == network.lengths


def rebuild_quietly(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AttentionBaseNet.from_config(network.get_config())


def test_short_inputs_keep_the_published_shapes():
    with pytest.warns(UserWarning, match="temp_filter_length_inp 25 to 16, .* pool_stride 8 to 5"):
        network = AttentionBaseNet(120, 8, 3, attention_mode="ge", extra_params=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["input_block.temporal_conv.weight"] == (40, 1, 1, 16)
    assert shapes["channel_attention_block.conv.0.weight"] == (16, 1, 1, 10)
    assert shapes["channel_attention_block.attention_block.gather.0.weight"] == (16, 1, 1, 8)
    assert shapes["final_layer.1.weight"] == (3, 16)


@given(
    n_times=st.integers(1, 400),
    lengths=st.tuples(*[st.integers(1, 40)] * 6),
    mode=st.sampled_from([None, *ATTENTION_MODES]),
)
@settings(max_examples=60, deadline=None)
def test_any_lengths_and_window_give_a_working_network(n_times, lengths, mode):
    names = [
        "temp_filter_length_inp",
        "pool_length_inp",
        "pool_stride_inp",
        "temp_filter_length",
        "pool_length",
        "pool_stride",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = AttentionBaseNet(
            n_times,
            3,
            2,
            n_temporal_filters=4,
            attention_mode=mode,
            extra_params=True,
            **dict(zip(names, lengths, strict=True)),
        )
    with torch.inference_mode():
        assert network.eval()(torch.randn(2, 3, n_times)).isfinite().all()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.PReLU, nn.GELU, nn.Tanh, nn.Identity])
def test_other_activations_replace_all_three(activation):
    network = AttentionBaseNet(1000, 22, 4, activation=activation)
    places = [network.input_block.nonlinearity, network.channel_expansion[2], network.channel_attention_block.conv[3]]
    assert [type(place) for place in places] == [activation] * 3
    assert network(torch.randn(2, 22, 1000)).shape == (2, 4)


def test_what_follows_need_not_be_given():
    network = AttentionBaseNet(
        n_outputs=2, chs_info=[{"ch_name": f"E{i}"} for i in range(5)], sfreq=128, input_window_seconds=4.0
    )
    assert (network.n_chans, network.n_times, network.n_outputs) == (5, 512, 2)
    assert AttentionBaseNet(500, 5, 2, sfreq=125).input_window_seconds == 4.0
    assert AttentionBaseNet(500, 5, 2, input_window_seconds=4.0).sfreq == 125
    undetermined = AttentionBaseNet(500, 5, 2)
    assert undetermined.sfreq is undetermined.input_window_seconds is undetermined.chs_info is None


def test_numpy_integers_are_integers():
    network = AttentionBaseNet(np.int64(500), np.int32(5), np.uint8(2), ch_dim=np.int64(8))
    assert json.loads(json.dumps(network.get_config()))["ch_dim"] == 8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_outputs": None}, "n_outputs, the number of classes, is needed"),
        ({"n_chans": None}, "give n_chans or chs_info"),
        ({"n_times": None}, "give n_times, or sfreq and input_window_seconds"),
        ({"n_times": None, "sfreq": 250}, "give n_times, or sfreq and input_window_seconds"),
        (
            {"sfreq": 250, "input_window_seconds": 3.0},
            "n_times=1000, sfreq=250 and input_window_seconds=3 contradict each other: 3 s at 250 Hz are 750",
        ),
        ({"n_times": None, "sfreq": 1, "input_window_seconds": 0.1}, "must be an integer of at least 1; found 0"),
        ({"sfreq": 0}, "sfreq must be a positive number; found 0"),
        ({"sfreq": "250"}, "sfreq must be a positive number; found '250'"),
        ({"input_window_seconds": float("nan")}, "input_window_seconds must be a positive number"),
        ({"chs_info": [{}] * 21}, "n_chans=22 contradicts chs_info, which describes 21 channels"),
        ({"chs_info": "C3"}, "chs_info must be a list with one dictionary per channel"),
        ({"n_chans": None, "chs_info": []}, "n_chans must be an integer of at least 1; found 0"),
        ({"attention_mode": "SE"}, "attention_mode must be None or one of se, .* found 'SE'"),
        ({"attention_mode": 3}, "attention_mode must be None or one of"),
        ({"attention_mode": ["se"]}, "attention_mode must be None or one of"),
        ({"use_mlp": 1}, "use_mlp must be True or False; found 1"),
        ({"extra_params": None}, "extra_params must be True or False"),
        ({"freq_idx": -1}, "freq_idx must be an integer of at least 0; found -1"),
        ({"drop_prob_inp": 1.5}, "drop_prob_inp must be a probability from 0 to 1; found 1.5"),
        ({"drop_prob_attn": "half"}, "drop_prob_attn must be a probability"),
        ({"drop_prob_attn": None}, "drop_prob_attn must be a probability"),
        ({"activation": nn.ELU()}, r"activation must be a class such as torch.nn.ELU, not an instance"),
        ({"activation": "torch.nn.ELU"}, "activation must be a class"),
        ({"activation": int}, "activation must be a class"),
        ({"activation": nn.Linear}, "a class that needs no arguments, such as torch.nn.ELU; found Linear"),
        ({"attention_mode": "se", "reduction_rate": 99}, "reduction_rate=99"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments, sentence):
    with pytest.raises(ArgumentError, match=sentence) as caught:
        AttentionBaseNet(**({"n_times": 1000, "n_chans": 22, "n_outputs": 4} | arguments))
    assert isinstance(caught.value, (MindwireError, ValueError))
    assert "\n" not in str(caught.value)


COUNTS = [
    "n_times",
    "n_chans",
    "n_outputs",
    "n_temporal_filters",
    "temp_filter_length_inp",
    "spatial_expansion",
    "pool_length_inp",
    "pool_stride_inp",
    "ch_dim",
    "temp_filter_length",
    "pool_length",
    "pool_stride",
    "reduction_rate",
    "n_codewords",
    "kernel_size",
]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True, [3]])
def test_counts_must_be_positive_integers(name, value):
    arguments = {"n_times": 1000, "n_chans": 22, "n_outputs": 4, name: value}
    with pytest.raises(ArgumentError, match=f"{name} must be an integer of at least 1; found"):
        AttentionBaseNet(**arguments)


@pytest.mark.parametrize(
    "shape", [(22, 1000), (1, 21, 1000), (1, 22, 999), (1, 1, 22, 1000), (1, 22, 1000, 2), (1000,), (1, 22, 1000, 1, 1)]
)
def test_a_wrong_input_shape_says_expected_and_found(shape):
    network = AttentionBaseNet(1000, 22, 4).eval()
    with pytest.raises(ArgumentError) as caught:
        network(torch.zeros(shape))
    assert "(batch, 22, 1000)" in str(caught.value)
    assert str(list(shape)) in str(caught.value)


def test_config_rebuilds_the_network():
    network = AttentionBaseNet(
        n_chans=3,
        n_outputs=2,
        sfreq=100.0,
        input_window_seconds=4,
        attention_mode="srm",
        use_mlp=True,
        activation=nn.SELU,
        chs_info=[{"ch_name": name, "loc": np.arange(12.0), "kind": 2} for name in ("C3", "Cz", "C4")],
    ).eval()
    config = json.loads(json.dumps(network.get_config()))
    assert config["activation"] == "torch.nn.modules.activation.SELU"
    assert config["n_times"] is None
    again = AttentionBaseNet.from_config(config | {"braindecode_version": "1.8.1"}).eval()
    assert again.get_config() == network.get_config()
    np.testing.assert_array_equal(again.chs_info[0]["loc"], np.arange(12.0))
    again.load_state_dict(network.state_dict(), strict=True)
    x = torch.randn(2, 3, 400)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)


def test_reset_head_keeps_the_features_and_the_device():
    network = AttentionBaseNet(500, 4, 3, sfreq=125).double().eval()
    x = torch.randn(2, 4, 500, dtype=torch.float64)
    before = network(x, return_features=True)["features"]
    network.reset_head(7)
    torch.testing.assert_close(network(x, return_features=True)["features"], before, rtol=0, atol=0)
    assert network(x).shape == (2, 7)
    assert network.n_outputs == network.get_config()["n_outputs"] == 7
    assert network.final_layer[1].weight.dtype == torch.float64


@pytest.mark.parametrize("n_outputs", [0, -2, 1.5, None])
def test_reset_head_refuses_what_is_no_number_of_classes(n_outputs):
    network = AttentionBaseNet(500, 4, 3)
    with pytest.raises(ArgumentError, match="n_outputs must be an integer of at least 1"):
        network.reset_head(n_outputs)
    assert network.n_outputs == network.get_config()["n_outputs"] == 3


def test_networks_can_be_copied_and_pickled():
    network = AttentionBaseNet(500, 4, 3, attention_mode="cat").eval()
    x = torch.randn(2, 4, 500)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(twin(x), network(x), rtol=0, atol=0)
        assert twin.get_config() == network.get_config()


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_every_trainable_parameter_gets_a_gradient(mode):
    network = AttentionBaseNet(1000, 6, 3, attention_mode=mode, use_mlp=True, extra_params=True)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad and (parameter == 0).all():
                parameter.fill_(0.1)
    network(torch.randn(8, 6, 1000)).square().sum().backward()
    untouched = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
