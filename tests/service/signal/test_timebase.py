"""Stamps: honest, causal, and gaps told from delays."""

from __future__ import annotations

import numpy as np
import pytest

from service.signal.timebase import TimeBase
from service.types import Reason


def walk(stamps, sfreq=250.0, chunk=10, **kwargs):
    base = TimeBase(sfreq, **kwargs)
    blocks = []
    for start in range(0, len(stamps), chunk):
        part = stamps[start : start + chunk]
        blocks += base.push(np.arange(start, start + len(part), dtype=float)[:, None], part)
    return blocks + base.flush(), base


def joined(blocks):
    return np.concatenate([b.times for b in blocks]), np.concatenate([b.samples for b in blocks])[:, 0]


def test_no_sample_is_lost_or_moved_whatever_the_stamps():
    rng = np.random.default_rng(1)
    stamps = np.cumsum(
        rng.choice([0.0, 0.004, 0.05, 1.0, -0.3, 1e5, np.nan], 3000, p=[0.2, 0.7, 0.04, 0.02, 0.02, 0.01, 0.01])
    )
    blocks, _ = walk(stamps)
    _, samples = joined(blocks)
    np.testing.assert_array_equal(samples, np.arange(3000.0))


def test_jitter_of_five_milliseconds_is_smoothed_without_gaps():
    true = np.arange(15000) / 250.0
    stamps = true + np.random.default_rng(0).uniform(-0.005, 0.005, len(true))
    blocks, _ = walk(stamps)
    times, _ = joined(blocks)
    assert not any(b.missing or b.broken for b in blocks)
    assert np.abs(times - true)[2500:].max() < 0.001
    assert (np.diff(times) > 0).all()


def test_drift_is_followed_and_reported_in_ppm():
    true = np.arange(60000) / 250.0 * (1 + 200e-6)
    blocks, base = walk(true)
    times, _ = joined(blocks)
    assert base.drift_ppm == pytest.approx(200, abs=10)
    assert np.abs(times - true)[30000:].max() < 1e-4


@pytest.mark.parametrize("lost", [1, 5, 10])
def test_few_lost_samples_are_missing(lost):
    stamps = np.arange(5000) / 250.0
    stamps[3000:] += lost / 250.0
    blocks, _ = walk(stamps)
    assert [b.missing for b in blocks if b.missing] == [lost]
    assert not any(b.broken for b in blocks)
    times, _ = joined(blocks)
    np.testing.assert_allclose(times, stamps, atol=1e-3)


@pytest.mark.parametrize("lost", [11, 50, 500])
def test_many_lost_samples_break_the_signal(lost):
    stamps = np.arange(5000) / 250.0
    stamps[3000:] += lost / 250.0
    blocks, _ = walk(stamps)
    broken = [b for b in blocks if b.broken]
    assert [b.broken for b in broken] == [Reason.GAP]
    assert broken[0].gap_seconds == pytest.approx(lost / 250.0, abs=1e-3)
    assert broken[0].samples[0, 0] == 3000


@pytest.mark.parametrize("jump", [-10.0, -1.0])
def test_a_clock_that_jumps_back_breaks_the_signal(jump):
    stamps = np.arange(5000) / 250.0 + 1000.0
    stamps[3000:] += jump
    blocks, _ = walk(stamps)
    assert [b.broken for b in blocks if b.broken] == [Reason.CLOCK_JUMP]


def test_one_wild_stamp_changes_nothing():
    stamps = np.arange(5000) / 250.0
    wild = stamps.copy()
    wild[[1000, 2000, 3000]] = [np.nan, 3.6e304, -50.0]
    (times, _), (expected, _) = joined(walk(wild)[0]), joined(walk(stamps)[0])
    assert not any(b.broken or b.missing for b in walk(wild)[0])
    np.testing.assert_allclose(times, expected, atol=1e-3)


def test_bursts_that_are_stamped_on_arrival_are_no_gaps():
    rng = np.random.default_rng(3)
    true = np.arange(20000) / 125.0
    arrival = true.reshape(-1, 20)[:, -1] + rng.uniform(0.0, 0.04, 1000)
    blocks, _ = walk(np.repeat(arrival, 20), sfreq=125.0)
    assert not any(b.broken or b.missing for b in blocks)
    times, _ = joined(blocks)
    steps = np.diff(times)[4000:]
    assert (steps > 0.006).all()
    assert (steps < 0.010).all()


def test_what_is_held_back_is_bounded():
    base = TimeBase(100.0)
    taken = 0
    stamps = np.concatenate(
        [np.arange(300) / 100.0, 3.5 + np.cumsum(np.random.default_rng(0).choice([0.0, 0.03], 2000))]
    )
    for given, stamp in enumerate(stamps, 1):
        taken += sum(len(b.times) for b in base.push(np.zeros((1, 1)), np.array([stamp])))
        assert given - taken <= 200


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("at", [1000, 4000])
def test_a_loss_shorter_than_the_jitter_is_noticed_soon(lost, at):
    index = np.arange(6000)
    jitter = np.random.default_rng(0).uniform(-0.005, 0.005, 6000)
    whole = np.sort((index / 250.0 + jitter).reshape(-1, 10), axis=1).ravel()
    cut_short = np.sort(((index + (index >= at) * lost) / 250.0 + jitter).reshape(-1, 10), axis=1).ravel()

    def timing(stamps):
        blocks = TimeBase(250.0).push(np.zeros((6000, 1)), stamps)
        return np.flatnonzero(np.concatenate([block.flags for block in blocks]) & Reason.TIMING.bit)

    assert not len(timing(whole))
    noticed = timing(cut_short)
    assert at <= noticed[0] <= at + 60
    assert noticed[-1] <= at + 500


@pytest.mark.parametrize("seed", range(5))
def test_losses_shorter_than_the_jitter_hide_no_others(seed):
    index = np.arange(12000)
    jitter = np.random.default_rng(seed).uniform(-0.005, 0.005, 12000)
    lost = sum((index >= at) * 2 for at in (4000, 4600, 5600, 9000))
    true = (index + lost) / 250.0
    stamps = np.sort((true + jitter).reshape(-1, 5), axis=1).ravel()
    blocks = TimeBase(250.0).push(np.zeros((12000, 1)), stamps)
    timing = np.flatnonzero(np.concatenate([block.flags for block in blocks]) & Reason.TIMING.bit)
    for at in (4000, 4600, 5600, 9000):
        assert ((timing >= at) & (timing < at + 30)).any()
    assert len(timing) < 30
    times = np.concatenate([block.times for block in blocks])
    late = np.ones(12000, dtype=bool)
    for at in (4000, 4600, 5600, 9000):
        late[at : at + 60] = False
    assert np.abs(times - true)[late][2000:].max() < 0.006  # of the 8 ms that each loss is
