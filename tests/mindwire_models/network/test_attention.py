"""The attention modules alone: shapes, weights they apply, and inputs that are hard on them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mindwire_models.errors import ArgumentError
from mindwire_models.network.attention import ATTENTION_MODES, AttentionOptions, build_attention

EVERY_MODE = ("se", "gsop", "fca", "encnet", "eca", "ge", "gct", "srm", "cbam", "cat", "catlite")


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return module.eval()


def test_the_modes_are_the_eleven_of_the_paper():
    assert ATTENTION_MODES == EVERY_MODE


@pytest.mark.parametrize("mode", EVERY_MODE)
@given(
    channels=st.sampled_from([8, 16, 24]),
    seq_len=st.integers(1, 70),
    batch=st.integers(1, 4),
    reduction_rate=st.integers(1, 8),
    flags=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=15, deadline=None)
def test_shape_and_finiteness_hold_for_all_options(mode, channels, seq_len, batch, reduction_rate, flags):
    options = AttentionOptions(channels, seq_len, reduction_rate, use_mlp=flags[0], extra_params=flags[1])
    module = randomised(build_attention(mode, options))
    for scale in (0.0, 1.0, 1e3):
        x = scale * torch.randn(batch, channels, 1, seq_len)
        y = module(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_windows_of_a_batch_do_not_see_each_other(mode):
    module = randomised(build_attention(mode, AttentionOptions(16, 62)))
    x = torch.randn(5, 16, 1, 62)
    together = module(x)
    alone = torch.cat([module(window[None]) for window in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_gradients_are_finite_even_where_nothing_varies(mode):
    module = randomised(build_attention(mode, AttentionOptions(16, 1))).train()
    x = torch.ones(4, 16, 1, 1, requires_grad=True)
    module(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("mode", ["se", "eca", "fca", "ge", "encnet", "srm", "catlite"])
def test_channel_attention_scales_each_channel_by_one_weight_between_0_and_1(mode):
    module = randomised(build_attention(mode, AttentionOptions(16, 62)))
    x = torch.randn(3, 16, 1, 62)
    weights = module(x) / x
    torch.testing.assert_close(weights, weights[..., :1].expand_as(weights), rtol=1e-4, atol=1e-4)
    assert ((weights > 0) & (weights < 1)).all()


@pytest.mark.parametrize("mode", ["cbam", "cat"])
def test_temporal_attention_weighs_time_steps_differently(mode):
    module = randomised(build_attention(mode, AttentionOptions(16, 62)))
    x = torch.randn(3, 16, 1, 62)
    weights = module(x) / x
    assert (weights.std(dim=-1) > 1e-4).any()


def test_gct_starts_as_the_identity():
    x = torch.randn(2, 16, 1, 62)
    torch.testing.assert_close(build_attention("gct", AttentionOptions(16, 62))(x), x)


@pytest.mark.parametrize("freq_idx", [0, 1, 5, 61])
def test_the_cosines_of_fca_are_those_of_the_orthonormal_dct(freq_idx):
    weight = build_attention("fca", AttentionOptions(16, 62, freq_idx=freq_idx)).weight
    steps = torch.arange(62, dtype=torch.float64)
    cosine = torch.cos(math.pi * freq_idx * (steps + 0.5) / 62)
    torch.testing.assert_close(weight[7].double(), cosine / cosine.norm(), rtol=0, atol=1e-7)
    assert not weight.requires_grad


def test_the_smoothing_of_cat_is_a_gaussian_that_is_never_trained():
    weight = build_attention("cat", AttentionOptions(16, 62)).gauss_filter.weight
    expected = torch.exp(-0.5 * torch.tensor([-2.0, -1, 0, 1, 2]) ** 2)
    torch.testing.assert_close(weight.flatten(), expected / expected.sum())
    assert not weight.requires_grad


@pytest.mark.parametrize("mode", ["fca", "ge"])
def test_modules_with_a_weight_per_step_take_a_sequence_one_step_longer(mode):
    module = randomised(build_attention(mode, AttentionOptions(16, 8, extra_params=True)))
    x = torch.randn(2, 16, 1, 9)
    weights = module(x) / x
    torch.testing.assert_close(weights, weights[..., :1].expand_as(weights), rtol=1e-4, atol=1e-4)


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ArgumentError, match=r"None or one of se, gsop, .*catlite; found 'transformer'"):
        build_attention("transformer", AttentionOptions(16, 62))


@pytest.mark.parametrize("mode", ["se", "gsop", "fca", "cbam", "cat", "catlite"])
def test_a_reduction_to_no_channels_is_refused(mode):
    with pytest.raises(ArgumentError, match=r"reduction_rate=17 .* at most 16 with ch_dim=16"):
        build_attention(mode, AttentionOptions(16, 62, reduction_rate=17))


@pytest.mark.parametrize("mode", ["ge", "srm"])
def test_a_reduction_matters_to_ge_and_srm_only_with_a_bottleneck(mode):
    build_attention(mode, AttentionOptions(16, 62, reduction_rate=64))
    with pytest.raises(ArgumentError, match="reduction_rate=64"):
        build_attention(mode, AttentionOptions(16, 62, reduction_rate=64, use_mlp=True))


@pytest.mark.parametrize("mode", ["eca", "cbam", "cat"])
def test_an_even_kernel_is_refused_where_it_would_change_lengths(mode):
    with pytest.raises(ArgumentError, match=r"kernel_size must be odd.*found 8"):
        build_attention(mode, AttentionOptions(16, 62, kernel_size=8))


def test_a_cosine_beyond_the_sequence_is_refused():
    with pytest.raises(ArgumentError, match=r"freq_idx=62 .* choose 0 to 61"):
        build_attention("fca", AttentionOptions(16, 62, freq_idx=62))
