from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.signal.alignment import AlignmentState, OnlineAlignment
from mindwire.signal.manifold import distance, geodesic, matrix_power
from mindwire_models.contract import Alignment


def spd(n, seed):
    a = np.random.default_rng(seed).standard_normal((n, 3 * n))
    return a @ a.T / (3 * n)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 22), st.integers(0, 1000))
def test_the_matrix_whitens_the_mean(n, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n, n))
    online = OnlineAlignment(
        Alignment(kind="euclidean", scale="sample_mean", update_samples=200, ready_samples=400), n, 500, 100.0
    )
    blocks = [(rng.standard_normal((200, n)) @ mixing).astype(np.float32) for _ in range(4)]
    for block in blocks:
        online.update(block)
    x = np.concatenate(blocks).astype(float)
    aligned = x @ online.matrix.astype(float)
    assert online.ready
    np.testing.assert_allclose(online.state.covariance, x.T @ x / len(x), rtol=1e-6, atol=1e-9)
    if np.linalg.cond(mixing) < 100:
        np.testing.assert_allclose(aligned.T @ aligned / len(x), np.eye(n), atol=0.02)


def test_geodesic_has_its_ends_and_its_middle():
    a, b = spd(5, 0), spd(5, 1)
    np.testing.assert_allclose(geodesic(a, b, 0.0), a, atol=1e-9)
    np.testing.assert_allclose(geodesic(a, b, 1.0), b, atol=1e-9)
    middle = geodesic(a, b, 0.5)
    np.testing.assert_allclose(middle @ np.linalg.inv(a) @ middle, b, atol=1e-8)


def test_the_inductive_mean_agrees_with_pyriemann_where_it_must():
    mean = pytest.importorskip("pyriemann.utils.mean")
    online = OnlineAlignment(
        Alignment(kind="riemannian", scale="sample_mean", update_samples=100, ready_samples=10_000), 3, 100, 100.0
    )
    rng = np.random.default_rng(0)
    one = rng.standard_normal((100, 3)).astype(np.float32)
    two = (rng.standard_normal((100, 3)) * [1, 5, 2]).astype(np.float32)
    online.update(one)
    online.update(two)
    covs = np.array([x.astype(float).T @ x.astype(float) / 100 for x in (one, two)])
    np.testing.assert_allclose(online.state.covariance, mean.mean_riemann(covs), rtol=1e-6)


def test_forgetting_follows_a_change():
    spec = Alignment(
        kind="euclidean", scale="sample_mean", forgetting_seconds=2.0, update_samples=100, ready_samples=100
    )
    online = OnlineAlignment(spec, 2, 100, 100.0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        online.update(rng.standard_normal((100, 2)).astype(np.float32))
    for _ in range(20):
        online.update((3 * rng.standard_normal((100, 2))).astype(np.float32))
    np.testing.assert_allclose(np.diag(online.state.covariance), 9.0, rtol=0.25)


def test_a_dead_direction_is_not_blown_up():
    rng = np.random.default_rng(0)
    block = rng.standard_normal((500, 3)).astype(np.float32)
    block[:, 2] = block[:, 0]
    online = OnlineAlignment(
        Alignment(kind="euclidean", scale="sample_mean", update_samples=500, ready_samples=1), 3, 500, 100.0
    )
    online.update(block)
    assert np.abs(block @ online.matrix).max() < 10


def test_frozen_means_frozen_and_a_warm_start_is_ready():
    spec = Alignment(
        kind="euclidean", scale="sample_mean", update_samples=10, ready_samples=100,
        warm_start=((4.0, 0.0), (0.0, 1.0)), warm_start_samples=100,
    )  # fmt: skip
    online = OnlineAlignment(spec, 2, 100, 100.0)
    assert online.ready
    np.testing.assert_allclose(online.matrix, [[0.5, 0], [0, 1]], atol=1e-6)
    online.frozen = True
    online.update(np.ones((50, 2), dtype=np.float32))
    np.testing.assert_allclose(online.matrix, [[0.5, 0], [0, 1]], atol=1e-6)


def test_powers_undo_each_other():
    a = spd(6, 4)
    np.testing.assert_allclose(matrix_power(matrix_power(a, 0.5), 2.0), a, atol=1e-9)


def test_rolling_back_and_restoring_give_the_same_matrix_again():
    spec = Alignment(kind="euclidean", scale="sample_mean", update_samples=50, ready_samples=100)
    rng = np.random.default_rng(0)
    online = OnlineAlignment(spec, 3, 100, 100.0)
    matrices = []
    for _ in range(6):
        online.update(rng.standard_normal((50, 3)).astype(np.float32))
        matrices.append(online.matrix)
    saved = online.state
    assert online.rollback(2) == 2
    np.testing.assert_array_equal(online.matrix, matrices[3])
    online.restore(saved)
    np.testing.assert_array_equal(online.matrix, matrices[5])
    assert online.rollback(100) < 100
    versions = online.version
    assert online.rollback(0) == 0
    assert online.version == versions


@pytest.mark.parametrize("n_channels", [3, 64])
def test_what_is_remembered_for_a_rollback_is_bounded_in_bytes(n_channels):
    spec = Alignment(kind="euclidean", scale="sample_mean", update_samples=50, ready_samples=100)
    online = OnlineAlignment(spec, n_channels, 100, 100.0)
    tracemalloc.start()
    for weight in range(1, 700):
        online.restore(AlignmentState(np.eye(n_channels), float(weight), weight))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 3e6
    taken = online.rollback(600)
    assert taken == min(600, 2**21 // (8 * n_channels**2))
    assert online.state.weight == 699 - taken


@pytest.mark.parametrize("kind", ["euclidean", "riemannian"])
def test_the_matrix_follows_the_mean_when_it_has_moved(kind):
    spec = Alignment(kind=kind, scale="window_sum", update_samples=100, ready_samples=100)
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((5, 5))
    mixing[:, 4] = mixing[:, :4].sum(axis=1)  # of deficient rank, as after a common average reference
    online, kept, far = OnlineAlignment(spec, 5, 300, 100.0), 0, []
    for _ in range(600):
        before = online.version, online.matrix
        online.update((rng.standard_normal((100, 5)) @ mixing).astype(np.float32))
        if online.version == before[0]:
            kept += 1
            assert online.matrix is before[1]
        exactly = OnlineAlignment(spec, 5, 300, 100.0)
        exactly.restore(online.state)
        whitened, eye = (a.matrix @ online.state.covariance @ a.matrix * 300 for a in (online, exactly))
        far.append(np.linalg.norm(whitened - eye) / np.sqrt(5))
    assert 200 < kept < 599
    assert max(far) <= 0.006
    # what is taken back or given is taken at its word
    version = online.version
    online.rollback(1)
    assert online.version == version + 1
    exactly.restore(online.state)
    np.testing.assert_array_equal(online.matrix, exactly.matrix)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_what_is_ready_whitens_by_the_block_that_made_it_so(blocks):
    spec = Alignment(kind="euclidean", scale="sample_mean", update_samples=100, ready_samples=100 * blocks)
    rng = np.random.default_rng(0)
    online = OnlineAlignment(spec, 3, 100, 100.0)
    for _ in range(blocks):
        assert not online.ready
        online.update((5 * rng.standard_normal((100, 3))).astype(np.float32))
    assert online.ready
    np.testing.assert_allclose(online.matrix @ online.state.covariance @ online.matrix, np.eye(3), atol=1e-5)


def test_one_block_cannot_move_a_ready_mean_far_and_drift_tells():
    spec = Alignment(kind="euclidean", scale="sample_mean", update_samples=50, ready_samples=100)
    rng = np.random.default_rng(0)
    online = OnlineAlignment(spec, 3, 100, 100.0)
    for _ in range(10):
        online.update(rng.standard_normal((50, 3)).astype(np.float32))
    before, drift = online.state.covariance, online.drift
    for _ in range(30):  # so many that they are no outliers any more
        before = online.state.covariance
        online.update((1000 * rng.standard_normal((50, 3))).astype(np.float32))
        moved = np.linalg.norm(online.state.covariance - before) / np.linalg.norm(before)
        assert moved <= 0.2501
    assert online.drift > drift


def test_distance_is_affine_invariant():
    a, b, w = spd(4, 0), spd(4, 1), np.random.default_rng(2).standard_normal((4, 4))
    assert distance(a, b) == pytest.approx(distance(w @ a @ w.T, w @ b @ w.T), rel=1e-9)
    assert distance(a, a) == pytest.approx(0, abs=1e-7)
