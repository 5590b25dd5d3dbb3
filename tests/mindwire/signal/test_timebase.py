"""Stamps: honest, causal, and gaps told from delays."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.signal.judge import Judge
from mindwire.signal.timebase import TimeBase
from mindwire.types import Reason


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
    assert not any(b.missing or b.discontinuity for b in blocks)
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
    assert not any(b.discontinuity for b in blocks)
    times, _ = joined(blocks)
    np.testing.assert_allclose(times, stamps, atol=1e-3)


@pytest.mark.parametrize("lost", [11, 50, 500])
def test_many_lost_samples_break_the_signal(lost):
    stamps = np.arange(5000) / 250.0
    stamps[3000:] += lost / 250.0
    blocks, _ = walk(stamps)
    broken = [b for b in blocks if b.discontinuity]
    assert [b.discontinuity for b in broken] == [Reason.GAP]
    assert broken[0].gap_seconds == pytest.approx(lost / 250.0, abs=1e-3)
    assert broken[0].samples[0, 0] == 3000


@pytest.mark.parametrize("jump", [-10.0, -1.0])
def test_a_clock_that_jumps_back_breaks_the_signal(jump):
    stamps = np.arange(5000) / 250.0 + 1000.0
    stamps[3000:] += jump
    blocks, _ = walk(stamps)
    assert [b.discontinuity for b in blocks if b.discontinuity] == [Reason.CLOCK_JUMP]


def test_one_wild_stamp_changes_nothing():
    stamps = np.arange(5000) / 250.0
    wild = stamps.copy()
    wild[[1000, 2000, 3000]] = [np.nan, 3.6e304, -50.0]
    (times, _), (expected, _) = joined(walk(wild)[0]), joined(walk(stamps)[0])
    assert not any(b.discontinuity or b.missing for b in walk(wild)[0])
    np.testing.assert_allclose(times, expected, atol=1e-3)


def test_bursts_that_are_stamped_on_arrival_are_no_gaps():
    rng = np.random.default_rng(3)
    true = np.arange(20000) / 125.0
    arrival = true.reshape(-1, 20)[:, -1] + rng.uniform(0.0, 0.04, 1000)
    blocks, _ = walk(np.repeat(arrival, 20), sfreq=125.0)
    assert not any(b.discontinuity or b.missing for b in blocks)
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
    for n_given, stamp in enumerate(stamps, 1):
        taken += sum(len(b.times) for b in base.push(np.zeros((1, 1)), np.array([stamp])))
        assert n_given - taken <= 200


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


# ── it ends, whatever the stamps ─────────────────────────────────────────────────────────────────────────


@contextmanager
def ends_within(seconds):
    """Fail instead of hanging: the time base is one call, which nothing else could end."""

    def give_up(*_):
        pytest.fail(f"the time base takes no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def as_bytes(blocks):
    """What came out, sample by sample, however it is cut into blocks."""
    starts = [
        (int(block.samples[0, 0]), block.discontinuity, block.gap_seconds, block.missing)
        for block in blocks
        if block.discontinuity or block.gap_seconds or block.missing
    ]
    return (
        *(
            np.concatenate([getattr(block, part) for block in blocks]).tobytes()
            for part in ("samples", "times", "flags")
        ),
        starts,
    )


def check_it_ends(stamps, sfreq, sizes=(10,)):
    """Nothing is lost, moved or made up; and chunks change no bit."""
    with ends_within(10):
        blocks, base = walk(stamps, sfreq, chunk=len(stamps))
        cut, n = TimeBase(sfreq), 0
        pieces = []
        while n < len(stamps):
            size = sizes[n % len(sizes)]
            part = stamps[n : n + size]
            pieces += cut.push(np.arange(n, n + len(part), dtype=float)[:, None], part)
            n += len(part)
        pieces += cut.flush()
    np.testing.assert_array_equal(joined(blocks)[1], np.arange(float(len(stamps))))
    assert as_bytes(blocks) == as_bytes(pieces)
    assert all(np.isfinite(block.times).all() for block in blocks)
    assert (base.rate.state, base.rate.effective_rate) == (cut.rate.state, cut.rate.effective_rate)
    return blocks, base


RATES = [100.0, 125.0, 128.0, 250.0, 256.0, 300.0, 500.0, 512.0, 1000.0]
ULPS = [-1, 0, 1]


@st.composite
def stamps_at_thresholds(draw):
    """Exact stamps, some moved by what the time base compares with, an ulp more or less, and rounded as devices round."""
    sfreq = draw(st.sampled_from(RATES))
    period = 1.0 / sfreq
    n = draw(st.sampled_from([20, 60, 300, round(2.5 * sfreq)]))
    ratio = draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.95, 0.99, 1.005, 1.01, 1.04, 1.05, 1.1, 1.5, 2.0, 8.0]))
    stamps = draw(st.sampled_from([0.0, 100.0, 1000.0, 1.7e9])) + np.arange(n) * (period / ratio)
    if draw(st.booleans()):
        stamps += np.random.default_rng(draw(st.integers(0, 99))).uniform(
            0, draw(st.sampled_from([1e-9, 1e-4, 0.005])), n
        )
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, n - 1))
        periods = draw(st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 10.5, -0.5 / period, 1.9 / period, 1e6]))
        where = slice(at, n if draw(st.booleans()) else at + draw(st.sampled_from([1, 9, 30])))
        moved = stamps[where] + periods * period
        ulp = draw(st.sampled_from(ULPS))
        stamps[where] = moved if not ulp else np.nextafter(moved, np.inf * ulp)
    rounding = draw(st.sampled_from([None, 0.001, 0.5 * period, 0.005]))
    if rounding:
        stamps = draw(st.sampled_from([np.floor, np.round]))(stamps / rounding) * rounding
    for at in draw(st.lists(st.integers(0, n - 1), max_size=2)):
        stamps[at] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 3.6e304, -50.0]))
    return stamps, sfreq


@settings(max_examples=80, deadline=None)
@given(case=stamps_at_thresholds(), sizes=st.lists(st.sampled_from([1, 3, 7, 10, 32, 500]), min_size=1, max_size=5))
def test_it_ends_on_and_around_every_threshold(case, sizes):
    check_it_ends(*case, sizes)


@pytest.mark.parametrize("sfreq", RATES)
@pytest.mark.parametrize("ratio", [1.005, 1.01, 1.04, 1.05, 1.1, 2.0])
def test_exact_stamps_that_are_too_dense_end(sfreq, ratio):
    check_it_ends(100.0 + np.arange(round(3 * sfreq)) / sfreq / ratio, sfreq)


@pytest.mark.parametrize("sfreq", RATES)
def test_half_a_period_and_its_roundings_end(sfreq):
    exact = 1000.0 + np.arange(1200) / sfreq
    half = 0.5 / sfreq
    for at in (3, 50, 1100):
        for offset in (-half, half, -3 * half, 3 * half):
            one, later = exact.copy(), exact.copy()
            one[at] += offset
            later[at:] += offset
            check_it_ends(one, sfreq)
            check_it_ends(later, sfreq)
    check_it_ends(np.floor(exact / half) * half, sfreq)
    check_it_ends(np.round(exact / 0.005) * 0.005, sfreq)


def test_a_stamp_half_a_period_early_changes_nothing():
    exact = 100.0 + np.arange(500) / 250.0
    early = exact.copy()
    early[3] -= 0.002
    blocks, base = check_it_ends(early, 250.0)
    assert not any(block.discontinuity or block.missing or block.gap_seconds for block in blocks)
    np.testing.assert_allclose(joined(blocks)[0], exact, atol=1e-3)
    assert base.rate.state == "nominal"


def test_a_stall_that_is_caught_up_at_twice_the_rate_ends_and_is_no_gap():
    stamps = np.arange(3000) / 250.0
    stalled = slice(1000, 1475)
    stamps[stalled] = stamps[1475] - (1475 - np.arange(1000, 1475)) / 500.0
    blocks, base = check_it_ends(stamps, 250.0)
    assert not any(block.discontinuity or block.missing for block in blocks)
    assert base.rate.state == "nominal"


# ── stamps that contradict the rate ──────────────────────────────────────────────────────────────────────

INDEX = np.arange(5000)
ONE_STAMP_A_CHUNK = np.repeat(INDEX[9::10] / 500.0, 10) - np.tile(np.arange(9, -1, -1), 500) / 250.0
CONTRADICTIONS = {
    "backwards": 1000.0 - INDEX / 250.0,
    "still": np.full(5000, 5.0),
    "milliseconds": INDEX * 4.0,
    "milliseconds since 1970": 1.7e12 + INDEX * 4.0,
    "nanoseconds since 1970": 1.7e18 + INDEX * 4e6,
    "numbers of samples": INDEX * 1.0,
    "no numbers": np.full(5000, np.nan),
    "without end": np.full(5000, np.inf),
    "twice the rate, a stamp per chunk": ONE_STAMP_A_CHUNK,
    **{f"{ratio} times the rate": INDEX / 250.0 / ratio for ratio in (0.25, 0.5, 0.9, 1.1, 1.5, 2.0, 10.0)},
    "1.1 times the rate, with jitter": INDEX / 275.0 + np.random.default_rng(0).uniform(0, 0.02, 5000),
}


@pytest.mark.parametrize("stamps", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_stamps_that_contradict_the_rate_are_wrong_from_the_first_second_on_and_break_nothing(stamps):
    blocks, base = check_it_ends(stamps, 250.0)
    flags = np.concatenate([block.flags for block in blocks])
    assert (flags[250:] & Reason.WRONG_RATE.bit).all()
    assert base.rate.state == "wrong"
    assert not any(block.discontinuity or block.missing for block in blocks)


@pytest.mark.parametrize("sfreq", RATES)
@pytest.mark.parametrize("ratio", [0.9, 1.1])
def test_a_rate_that_is_a_tenth_off_is_wrong_at_any_rate(sfreq, ratio):
    blocks, _ = check_it_ends(np.arange(round(8 * sfreq)) / sfreq / ratio, sfreq)
    flags = np.concatenate([block.flags for block in blocks])
    assert (flags[round(sfreq) :] & Reason.WRONG_RATE.bit).all()


@pytest.mark.parametrize("ratio", [0.96, 0.98, 1.02, 1.04])
@pytest.mark.parametrize("jitter", [0.0, 0.005])
def test_a_rate_that_is_off_by_one_to_five_percent_is_marked_and_nothing_else(ratio, jitter):
    stamps = INDEX / 250.0 / ratio + np.random.default_rng(0).uniform(0, jitter, 5000)
    blocks, base = check_it_ends(stamps, 250.0)
    flags = np.concatenate([block.flags for block in blocks])
    assert (flags[4600:] & Reason.RATE.bit).all()
    assert not (flags & Reason.WRONG_RATE.bit).any()
    assert not any(block.discontinuity or block.missing for block in blocks if block.samples[0, 0] > 500)
    assert base.rate.effective_rate == pytest.approx(250 * ratio, rel=2e-3)


def test_a_rate_that_the_user_accepts_is_marked_only():
    base = TimeBase(250.0, rate_accepted=True)
    flags = np.concatenate([block.flags for block in base.push(np.zeros((5000, 1)), INDEX / 500.0)])
    assert set(flags[500:].tolist()) == {int(Reason.RATE)}
    back = TimeBase(250.0, rate_accepted=True)
    flags = np.concatenate([block.flags for block in back.push(np.zeros((5000, 1)), 9e3 - INDEX / 250.0)])
    assert (flags[500:] & Reason.WRONG_RATE.bit).all()


def test_a_rate_about_a_limit_does_not_flap():
    for limit, bit in ((0.01, Reason.RATE.bit), (0.05, Reason.WRONG_RATE.bit)):
        slow = np.cumsum(0.008 * (1 + limit + 0.002 * np.sin(np.arange(40000) / 4000)))
        stamps = slow + np.random.default_rng(0).uniform(0, 0.01, len(slow))
        flags = np.concatenate([block.flags for block in TimeBase(125.0).push(np.zeros((40000, 1)), stamps)])
        assert np.count_nonzero(np.diff((flags & bit) != 0)) <= 1


def test_when_the_stamps_agree_again_a_new_segment_begins_and_is_followed():
    stamps = np.concatenate([INDEX / 250.0, 20.0 + INDEX * 4.0, 50.0 + INDEX / 250.0])
    blocks, _ = check_it_ends(stamps, 250.0)
    broken = [block for block in blocks if block.discontinuity]
    assert [block.discontinuity for block in broken] == [Reason.CLOCK_JUMP]
    assert 10500 <= broken[0].samples[0, 0] <= 11000
    flags = np.concatenate([block.flags for block in blocks])
    assert not flags[:5000].any()
    assert not flags[11000:].any()
    times, _ = joined(blocks)
    np.testing.assert_allclose(times[11000:], stamps[11000:], atol=1e-3)


def test_the_worst_stamps_cost_less_than_they_last():
    for seed in range(2):
        stamps = np.random.default_rng(seed).uniform(0, 1e5, 20000)
        with ends_within(20):  # 20 s of signal
            walk(stamps, 1000.0)


def test_a_jump_is_no_drift_though_the_stamps_after_it_run_at_another_rate():
    expected = 10.0 + np.arange(11) / 100
    for jump, kind in ((0.5, "shifted"), (0.007, "drifts")):
        stamps = expected + jump + np.arange(11) * 3e-4
        verdict = Judge(100.0).verdict(stamps, expected, 0.005, np.empty(0), final=False)
        assert verdict is not None
        assert verdict.kind == kind


# ── one stamp a chunk: within a chunk, stamps advance by the nominal period whatever the rate ────────────


def stamped_by_chunk(n, per, ratio, sfreq=250.0, first=0, gap_at=None, gap=0.0):
    """Stamps of chunks of ``per`` samples; the stream is entered ``first`` samples after the beginning of one."""
    index = np.arange(n + first)
    true = 1000.0 + index / (sfreq * ratio)
    if gap_at is not None:
        true[gap_at + first :] += gap
    ends = np.minimum((index // per + 1) * per - 1, len(index) - 1)
    return (true[ends] - (ends - index) / sfreq)[first:]


def interruptions(blocks):
    return [int(block.samples[0, 0]) for block in blocks if block.discontinuity or block.missing or block.gap_seconds]


CHUNKS = st.sampled_from([1, 2, 5, 8, 10, 12, 16, 25, 32, 50, 64, 100, 128, 200, 256]) | st.integers(1, 256)


@settings(max_examples=40, deadline=None)
@given(per=CHUNKS, ratio=st.floats(0.955, 1.05), first=st.integers(0, 255))
def test_a_rate_that_is_off_invents_no_gap_where_only_chunks_are_stamped(per, ratio, first):
    blocks, base = check_it_ends(stamped_by_chunk(5000, per, ratio, first=first % per), 250.0)
    assert interruptions(blocks) == []
    flags = np.concatenate([block.flags for block in blocks])
    assert not (flags & Reason.WRONG_RATE.bit).any()
    assert base.rate.effective_rate == pytest.approx(250 * ratio, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(per=CHUNKS, ratio=st.floats(0.955, 1.05), first=st.integers(0, 255), gap=st.sampled_from([0.3, 1.0, 30.0]))
def test_a_real_gap_between_stamped_chunks_is_found_and_no_other(per, ratio, first, gap):
    stamps = stamped_by_chunk(4000, per, ratio, first=first % per, gap_at=2333, gap=gap)
    blocks, _ = check_it_ends(stamps, 250.0)
    (found,) = interruptions(blocks)
    assert abs(found - 2333) <= per


@pytest.mark.parametrize(("nominal", "true"), [(125.0, 123.7), (250.0, 240.0)])
def test_fifty_samples_a_stamp_at_a_rate_that_is_off_is_named(nominal, true):
    blocks, base = check_it_ends(stamped_by_chunk(6000, 50, true / nominal, nominal), nominal)
    assert interruptions(blocks) == []
    assert [state for state, _ in base.rate.drain_changes()] == ["off"]


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 256),
    ratio=st.floats(0.953, 1.0),
    lost=st.one_of(st.just(0), st.integers(60, 1000)),
    sizes=st.lists(st.sampled_from([1, 10, 32, 500]), min_size=1, max_size=3),
)
def test_chunks_that_are_stamped_at_their_end_soon_drift_and_lose_nothing(size, ratio, lost, sizes):
    n, at = 9_000, 6_000
    stamps = stamped_by_chunk(n + lost, size, ratio)
    stamps = np.concatenate([stamps[:at], stamps[at + lost :]])
    blocks, _ = walk(stamps, chunk=sizes[0])
    positions = np.cumsum([0, *[len(b.times) for b in blocks]])[:-1]
    late = [(p, b) for p, b in zip(positions, blocks, strict=True) if p > 4000 and (b.missing or b.discontinuity)]
    if lost:
        assert len(late) == 1
        assert at - size <= late[0][0] <= at + size
    else:
        assert not late


def test_few_samples_lost_at_random_are_no_rate():
    rng = np.random.default_rng(5)
    lost = np.zeros(6000, dtype=bool)
    for at in np.flatnonzero(rng.random(6000) < 0.5 / 250):
        lost[at : at + rng.integers(1, 4)] = True
    blocks, base = check_it_ends((1000.0 + np.arange(6000) / 250)[~lost], 250.0)
    assert len(interruptions(blocks)) >= 14  # of 17, two of them within ten samples of others
    assert base.rate.state == "nominal"
