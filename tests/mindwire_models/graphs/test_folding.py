"""The folded graph computes what the network computes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mindwire_models.errors import ExportError
from mindwire_models.graphs.folding import folded_graph
from mindwire_models.graphs.graph_check import check_graph
from mindwire_models.graphs.plain_graph import plain_graph
from mindwire_models.network.attention import ATTENTION_MODES
from tests.support.networks import REFERENCES, make_network, reference


def run(graph: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def eager(network: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(x)).numpy()


def identity(batch: int, n: int) -> np.ndarray:
    return np.repeat(np.eye(n, dtype=np.float32)[None], batch, axis=0)


def difference(network: Any, batch: int = 3, seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    n = network.n_chans
    x = rng.standard_normal((batch, n, network.n_times)).astype(np.float32)
    half = rng.standard_normal((batch, n, n)) / n
    alignment = (np.eye(n) + half + half.swapaxes(1, 2)).astype(np.float32)
    logits, _ = run(folded_graph(network), x=x, alignment=alignment)
    return float(np.abs(logits - eager(network, alignment @ x)).max())


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("kind", ["folded", "plain"])
def test_reference_outputs_are_reproduced(data_dir: Path, name: str, kind: str) -> None:
    folder = data_dir / "reference" / name
    network, stored = reference(folder), np.load(folder / "io.npz")
    x = stored["x"]
    if kind == "folded":
        logits = run(folded_graph(network), x=x, alignment=identity(len(x), x.shape[1]))[0]
    else:
        (logits,) = run(plain_graph(network), x=x)
    tolerance = 1e-4 if network.attention_mode in {"cat", "catlite"} else 1e-5
    assert np.abs(logits - stored["logits"]).max() <= tolerance


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_alignment_is_applied_before_everything_else(mode: str | None) -> None:
    tolerance = 1e-4 if mode in {"cat", "catlite"} else 1e-5
    assert difference(make_network(attention_mode=mode)) <= tolerance


@given(
    arguments=st.fixed_dictionaries(
        {
            "n_times": st.sampled_from([40, 99, 120, 250]),
            "n_chans": st.sampled_from([1, 2, 5]),
            "n_temporal_filters": st.sampled_from([1, 3, 8]),
            "spatial_expansion": st.sampled_from([1, 2, 3]),
            "temp_filter_length_inp": st.sampled_from([1, 2, 9, 12]),
            "pool_length_inp": st.sampled_from([1, 10, 14, 15]),
            "pool_stride_inp": st.sampled_from([1, 3, 5]),
            "ch_dim": st.sampled_from([4, 8]),
            "temp_filter_length": st.sampled_from([1, 4, 5]),
            "pool_length": st.sampled_from([1, 3]),
            "pool_stride": st.sampled_from([1, 4]),
            "attention_mode": st.sampled_from([None, *(set(ATTENTION_MODES) - {"cat", "catlite"})]),
            "reduction_rate": st.sampled_from([1, 2, 4]),
            "use_mlp": st.booleans(),
            "extra_params": st.booleans(),
            "kernel_size": st.sampled_from([1, 5]),
            "activation": st.sampled_from([nn.ELU, nn.ReLU, nn.SiLU, nn.Sigmoid]),
        }
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_constructor_arguments_fold(arguments: dict[str, Any]) -> None:
    assert difference(make_network(**arguments)) <= 2e-5


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ELU, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.SELU, nn.CELU),
        *(nn.Softplus, nn.Mish, nn.Hardswish, nn.LogSigmoid, nn.Identity, nn.ReLU6),
    ],
)
def test_activations_other_than_elu_fold(activation: type[nn.Module]) -> None:
    network = make_network(activation=activation)
    check_graph(folded_graph(network), network, "folded")
    assert difference(network) <= 1e-5


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_edge_inputs_stay_finite_and_right(mode: str | None) -> None:
    network = make_network(attention_mode=mode)
    check_graph(folded_graph(network, 0.7), network, "folded", 0.7)


def test_a_single_step_has_no_spread() -> None:
    for mode in ("gsop", "srm"):
        network = make_network(attention_mode=mode, n_times=15, pool_length=1, pool_stride=1)
        assert difference(network) <= 1e-5


def test_probabilities_are_the_softmax_of_scaled_logits() -> None:
    network = make_network(n_outputs=4)
    x = np.random.default_rng(1).standard_normal((2, 3, 120)).astype(np.float32)
    logits, probabilities = run(folded_graph(network, 2.5), x=x, alignment=identity(2, 3))
    expected = torch.softmax(torch.from_numpy(logits) / 2.5, dim=1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_graphs_keep_to_the_standard_and_to_the_same_bytes(mode: str | None) -> None:
    network = make_network(attention_mode=mode)
    for build in (folded_graph, plain_graph):
        first = build(network)
        assert build(network) == first
        model = onnx.load_model_from_string(first)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version <= 18) for entry in model.opset_import] == [("", True)]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_graph_that_differs_is_refused() -> None:
    network, other = make_network(0), make_network(1)
    with pytest.raises(ExportError, match=r"differs from the network by .* in logits on random windows"):
        check_graph(folded_graph(other), network, "folded")
    with pytest.raises(ExportError, match="probabilities differ"):
        check_graph(folded_graph(network, 2.0), network, "folded", 1.0)
    with pytest.raises(ExportError, match="does not accept"):
        check_graph(b"no graph", network, "folded")


def test_folding_leaves_the_network_as_it_was() -> None:
    network = make_network(attention_mode="se")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_graph(folded_graph(network), network, "folded")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert next(network.parameters()).dtype == torch.float32
