"""Streaming remembers the right things for any lengths and any hop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mindwire_models.errors import BundleError, ExportError
from mindwire_models.export import export_bundle
from mindwire_models.graphs.folded_weights import fold
from mindwire_models.graphs.graph_check import check_streaming
from mindwire_models.graphs.streaming_graph import stem_graph, step_graph
from mindwire_models.graphs.streaming_memory import StepRows, StreamMemory, step_arrays
from mindwire_models.graphs.streaming_plan import StemGeometry, plan_streaming
from tests.support.networks import make_contract, make_network

DEFAULT = StemGeometry(n_times=1000, taps=25, pool=75, stride=15, n_tokens=62)


def tokens_of(geometry: StemGeometry, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter with zeros around the window, pool: what streaming must reproduce."""
    right = max(0, geometry.used + geometry.taps - 1 - geometry.left - geometry.n_times)
    padded = np.concatenate([np.zeros(geometry.left), window, np.zeros(right)])
    filtered = np.correlate(padded, taps, "valid") ** 2
    starts = range(0, geometry.n_tokens * geometry.stride, geometry.stride)
    return np.array([filtered[start : start + geometry.pool].mean() for start in starts])


@given(
    taps=st.integers(1, 12),
    pool=st.integers(1, 24),
    stride=st.integers(1, 12),
    n_tokens=st.integers(2, 12),
    spare=st.integers(0, 11),
    hop=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_tokens_are_those_of_the_whole_window(
    taps: int, pool: int, stride: int, n_tokens: int, spare: int, hop: int
) -> None:
    n_times = (n_tokens - 1) * stride + pool + min(spare, stride - 1) - (1 - taps % 2)
    assume(n_times >= taps)
    geometry = StemGeometry(n_times, taps, pool, stride, n_tokens)
    plan = plan_streaming(geometry, hop)
    assume(plan is not None)
    assert plan is not None
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(taps)
    signal = rng.standard_normal((n_times + 280 * hop, 1)).astype(np.float32)
    memory = StreamMemory.empty(plan, 1)
    span = plan.stem_span()
    filtered = np.correlate(signal[span, 0], kernel, "valid") ** 2
    filled = filtered.reshape(-1, plan.block).mean(axis=1, dtype=np.float64)[None].astype(np.float32)
    memory.fill(filled, filled @ plan.spread())
    inputs, outputs = step_arrays(plan, 1, 1, 1)
    edges, old, cached = (inputs[name] for name in ("edges", "old_blocks", "cached"))
    row = StepRows.of(plan, inputs, outputs).row(0)
    for number in range(280):
        window = signal[number * hop : number * hop + n_times]
        memory.gather(row, window)
        filtered = [np.correlate(edge, kernel, "valid") ** 2 for edge in np.split(edges[0, :, 0], 2)]
        blocks, tokens = outputs["blocks"][0, 0], outputs["tokens"][0, 0]
        blocks[:] = np.concatenate([edge @ plan.pool for edge in filtered])
        tokens[:] = np.concatenate([blocks, old[0, 0]]) @ plan.combine
        if number < 20 or number > 250:  # the memory moves to its front after 256 steps
            expected = tokens_of(geometry, window[:, 0], kernel)
            np.testing.assert_allclose(cached[0, 0] + tokens @ plan.place, expected, rtol=1e-4, atol=1e-5)
        memory.append(row)

    n_hops = 9
    filtered = np.correlate(signal[plan.stem_span(n_hops), 0], kernel, "valid") ** 2
    filled = filtered.reshape(-1, plan.block).mean(axis=1, dtype=np.float64)[None].astype(np.float32)
    memory = StreamMemory(plan, filled.T, (filled @ plan.spread(n_hops)).T)
    inputs, outputs = step_arrays(plan, 3, 1, 1)
    edges, old, cached = (inputs[name] for name in ("edges", "old_blocks", "cached"))
    batch = StepRows.of(plan, inputs, outputs)
    for first in (0, 3, 6):
        memory.gather_hops(batch, signal[: n_times + (n_hops - 1) * hop], slice(first, first + 3))
        for row_, number in enumerate(range(first, first + 3)):
            filtered = [np.correlate(edge, kernel, "valid") ** 2 for edge in np.split(edges[row_, :, 0], 2)]
            fresh = np.concatenate([*(edge @ plan.pool for edge in filtered), old[row_, 0]]) @ plan.combine
            expected = tokens_of(geometry, signal[number * hop : number * hop + n_times, 0], kernel)
            np.testing.assert_allclose(cached[row_, 0] + fresh @ plan.place, expected, rtol=1e-4, atol=1e-5)


def test_the_default_step_needs_little() -> None:
    plan = plan_streaming(DEFAULT, 10)
    assert plan is not None
    assert (plan.block, plan.edge_samples, len(plan.old_left) + len(plan.old_right)) == (5, 39, 26)


@pytest.mark.parametrize("hop", [1, 2, 3, 4, 5, 7, 8, 10, 12, 15, 16, 20, 25, 50, 100, 250])
def test_every_sensible_hop_streams(hop: int) -> None:
    assert plan_streaming(DEFAULT, hop) is not None


@pytest.mark.parametrize("hop", [990, 1000, 5000])
def test_hops_that_leave_nothing_do_not_stream(hop: int) -> None:
    assert plan_streaming(DEFAULT, hop) is None


def test_lengths_travel_in_the_graph() -> None:
    assert StemGeometry.from_metadata(DEFAULT.to_metadata(), "g") == DEFAULT
    for wrong in ({}, {"taps": "many"}, {"pool": "0"}, {"n_tokens": "1000"}, {"taps": "99999"}):
        metadata = DEFAULT.to_metadata() | wrong if wrong else {}
        with pytest.raises(BundleError, match="g: "):
            StemGeometry.from_metadata(metadata, "g")


def test_export_writes_streaming_graphs_where_they_serve(tmp_path) -> None:
    network = make_network()
    assert export_bundle(network, make_contract(network), tmp_path / "a", name="a", provenance="").streaming is not None
    short = make_network(n_times=30, pool_length_inp=25, pool_length=1)
    assert export_bundle(short, make_contract(short), tmp_path / "b", name="b", provenance="").streaming is None
    plain = export_bundle(network, make_contract(network), tmp_path / "c", name="c", provenance="", graph="plain")
    assert plain.streaming is None


def test_streaming_graphs_of_another_network_are_refused() -> None:
    network, other = make_network(0), fold(make_network(1))
    plan = plan_streaming(other.geometry, 10)
    assert plan is not None
    with pytest.raises(ExportError, match="streaming graph differs"):
        check_streaming(stem_graph(other), step_graph(other), network, plan)
