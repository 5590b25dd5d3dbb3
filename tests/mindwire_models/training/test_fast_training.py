"""The fast forward pass against the plain module: values, gradients, running statistics."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mindwire_models import AttentionBaseNet
from mindwire_models.errors import ArgumentError
from mindwire_models.network.attention import ATTENTION_MODES
from mindwire_models.training.fast_training import fast_features, fast_forward, fast_stem

# Nothing of these reaches the loss but through the eps of a BatchNorm: their gradients are rounding in either pass.
NORMALISED_AWAY = {"input_block.intermediate_bn.weight", "input_block.intermediate_bn.bias"}


def plain_forward(network, x):
    return network(x)


def randomised(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return network


def eeg(batch, n_chans, n_times, seed=1):
    """Windows with slow drifts that their neighbours share, as EEG has them."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(batch, n_chans, n_times, generator=generator, dtype=torch.float64)
    return 0.9 * white.cumsum(dim=-1) / n_times**0.5 + 0.3 * white


def trained_step(network, forward, x):
    """Loss and gradients of one step with dropout drawn from a fixed seed."""
    y = torch.arange(len(x)) % network.n_outputs
    torch.manual_seed(7)
    loss = nn.functional.cross_entropy(forward(network, x), y)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in network.named_parameters() if p.requires_grad}


def assert_same_step(network, x, tolerance, reference_dtype=None):
    plain = copy.deepcopy(network)
    if reference_dtype is not None:
        plain = plain.to(reference_dtype)
    fast = network
    plain_loss, plain_gradients = trained_step(plain, plain_forward, x.to(reference_dtype or x.dtype))
    fast_loss, fast_gradients = trained_step(fast, fast_forward, x)
    torch.testing.assert_close(fast_loss.double(), plain_loss.double(), rtol=tolerance, atol=tolerance)
    # Gradients far below the largest are differences of larger terms in either pass.
    largest_of_all = max(gradient.double().abs().max() for gradient in plain_gradients.values())
    for name, expected in plain_gradients.items():
        found = fast_gradients[name].double()
        if name in NORMALISED_AWAY and tolerance > 1e-6:
            assert found.abs().max() <= tolerance * largest_of_all
            continue
        largest = expected.double().abs().max().clamp_min(1e-3 * largest_of_all)
        assert (found - expected.double()).abs().max() / largest <= tolerance, name
    for (name, expected), found in zip(plain.named_buffers(), fast.buffers(), strict=True):
        scale = expected.double().abs().max().clamp_min(1e-3)
        assert (found.double() - expected.double()).abs().max() / scale <= tolerance, name


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_a_step_is_the_plain_modules_in_every_mode(mode):
    network = randomised(AttentionBaseNet(1000, 22, 4, attention_mode=mode, use_mlp=True, extra_params=True))
    assert_same_step(network, eeg(8, 22, 1000).float(), 1e-4, reference_dtype=torch.float64)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_a_step_in_double_precision_is_the_same_to_rounding(mode):
    network = randomised(AttentionBaseNet(400, 6, 3, attention_mode=mode, pool_length_inp=25)).double()
    assert_same_step(network, eeg(6, 6, 400), 1e-8)


@given(
    n_times=st.integers(20, 300),
    n_chans=st.integers(1, 6),
    filters=st.integers(1, 5),
    taps=st.integers(1, 40),
    expansion=st.integers(1, 3),
    pool=st.tuples(st.integers(1, 12), st.integers(1, 5)),
    batch=st.integers(2, 5),
)
@settings(max_examples=60, deadline=None)
def test_any_arguments_of_the_stem_give_the_same_step(n_times, n_chans, filters, taps, expansion, pool, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = AttentionBaseNet(
            n_times,
            n_chans,
            2,
            n_temporal_filters=filters,
            temp_filter_length_inp=taps,
            spatial_expansion=expansion,
            pool_length_inp=pool[0],
            pool_stride_inp=pool[1],
            pool_length=2,
            pool_stride=2,
            ch_dim=4,
            activation=nn.Tanh,
        )
    assert_same_step(randomised(network.double()), eeg(batch, n_chans, n_times), 1e-7)


@pytest.mark.parametrize("n_times", [1, 2, 3, 30])
def test_windows_shorter_than_the_filter_give_the_same_stem(n_times):
    with pytest.warns(UserWarning, match="is shorter than"):
        network = AttentionBaseNet(n_times, 3, 2).double()
    stem = AttentionBaseNet(1000, 3, 2).input_block.double()
    stem.pool = nn.AvgPool2d((1, 1), stride=(1, 1))
    stem.dropout.p = 0.0
    assert network.n_times == n_times
    twin = copy.deepcopy(stem)
    x = eeg(4, 3, n_times)
    torch.testing.assert_close(fast_stem(stem, x), twin(x), rtol=1e-9, atol=1e-9)
    for found, expected in zip(stem.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", [nn.ELU, nn.ReLU, nn.PReLU, nn.GELU, nn.Softmax2d])
def test_any_activation_gives_the_same_step(activation):
    network = randomised(AttentionBaseNet(300, 4, 3, activation=activation, pool_length_inp=20)).double()
    assert_same_step(network, eeg(4, 4, 300), 1e-7)


def test_several_steps_of_training_stay_together():
    plain = AttentionBaseNet(500, 8, 3, attention_mode="se").double()
    fast = copy.deepcopy(plain)
    x = eeg(12, 8, 500)
    for network, forward in ((plain, plain_forward), (fast, fast_forward)):
        optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
        for _ in range(5):
            optimizer.zero_grad()
            trained_step(network, forward, x)
            optimizer.step()
    for (name, found), expected in zip(fast.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_evaluation_mode_gives_the_plain_logits_and_moves_nothing(mode):
    network = randomised(AttentionBaseNet(1000, 22, 4, attention_mode=mode)).eval()
    before = copy.deepcopy(network.state_dict())
    x = eeg(5, 22, 1000).float()
    with torch.inference_mode():
        torch.testing.assert_close(fast_forward(network, x), network(x), rtol=1e-4, atol=2e-5)
        features = network(x, return_features=True)["features"]
        torch.testing.assert_close(fast_features(network, x[..., None]), features, rtol=1e-4, atol=2e-5)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("frozen", [("intermediate_bn",), ("bn",), ("intermediate_bn", "bn")])
def test_frozen_batch_norms_give_the_same_step(frozen):
    network = randomised(AttentionBaseNet(300, 4, 3, pool_length_inp=20)).double()
    for name in frozen:
        getattr(network.input_block, name).eval()
    assert_same_step(network, eeg(4, 4, 300), 1e-7)


def test_cumulative_and_absent_running_statistics_are_respected():
    network = randomised(AttentionBaseNet(300, 4, 3, pool_length_inp=20)).double()
    network.input_block.intermediate_bn.momentum = None
    network.input_block.bn = nn.BatchNorm2d(40, track_running_stats=False).double()
    for seed in range(3):
        assert_same_step(network, eeg(4, 4, 300, seed), 1e-7)
        network.zero_grad()
    assert network.input_block.intermediate_bn.num_batches_tracked == 3
    network.eval()
    x = eeg(4, 4, 300)
    torch.testing.assert_close(fast_forward(network, x), network(x))


def test_a_large_offset_costs_no_more_precision_than_it_costs_the_plain_module():
    network = AttentionBaseNet(500, 4, 3)
    exact = copy.deepcopy(network).double().input_block
    plain = copy.deepcopy(network).input_block
    x = eeg(8, 4, 500) + 300
    errors = []
    for stem, run, window in (
        (plain, lambda stem, x: stem(x), x.float()),
        (network.input_block, fast_stem, x.float()),
        (exact, lambda stem, x: stem(x), x),
    ):
        run(stem, window)
        errors.append(stem.intermediate_bn.running_var.double())
    assert (errors[1] - errors[2]).abs().max() <= max(1e-5, 2 * (errors[0] - errors[2]).abs().max())


def test_gradients_reach_the_input():
    network = randomised(AttentionBaseNet(300, 4, 3, pool_length_inp=20)).double()
    gradients = []
    for forward in (plain_forward, fast_forward):
        x = eeg(4, 4, 300).requires_grad_()
        torch.manual_seed(3)
        forward(copy.deepcopy(network), x).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-10)


def test_long_windows_pool_as_the_module_does():
    network = AttentionBaseNet(2000, 2, 2, pool_length_inp=12, pool_stride_inp=4).double()
    assert_same_step(network, eeg(3, 2, 2000), 1e-7)


def test_a_wrong_input_shape_is_refused_as_by_the_module():
    with pytest.raises(ArgumentError, match=r"Expected input of shape \(batch, 4, 300\)"):
        fast_forward(AttentionBaseNet(300, 4, 3, pool_length_inp=20), torch.zeros(2, 5, 300))
