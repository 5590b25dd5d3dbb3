"""What can be wrong with samples and stamps while the outlet lives, each on an outlet of its own, all at once."""

from __future__ import annotations

import math
import time

import psutil
import pytest

from tests.support.cases import Case, make_case, side_by_side
from tests.support.oracle import law

pytestmark = pytest.mark.timeout(300)

EIGHT = ("Fz", "C3", "C1", "Cz", "C2", "C4", "CPz", "Pz")


def lose(n: int):
    def fault(case: Case) -> None:
        since = len(case.diary.predictions)
        case.cap.tell("lose", n=n)
        begin = time.monotonic() + n / 100.0  # the first sample after those lost
        case.until(lambda: case.diary.of("gap"))
        case.recovers(since, begin)

    return fault


def jump(seconds: float):
    def fault(case: Case) -> None:
        since, begin = len(case.diary.predictions), time.monotonic()
        case.cap.tell("jump", seconds=seconds)
        case.new_era(seconds)
        case.recovers(since, begin)

    return fault


def spoil(n: int, **what):
    def fault(case: Case) -> None:
        since = len(case.diary.predictions)
        case.cap.tell("spoil", n=n, **what)
        begin = time.monotonic() + n / 100.0
        case.recovers(since, begin)

    return fault


def undisturbed(n: int):
    def fault(case: Case) -> None:
        case.more(n)

    return fault


def drift(case: Case) -> None:
    case.until(lambda: abs(case.stream.status().drift_ppm - 200) < 60, "the drift is known")


def burst(case: Case) -> None:
    since = len(case.diary.predictions)
    case.cap.tell("hold", seconds=1.0)
    begin = time.monotonic() + 1.0
    case.more(8)
    case.settles(since, begin)


def interpolated(case: Case) -> None:
    since = len(case.diary.predictions)
    begin = time.monotonic() + 0.5
    case.cap.tell("spoil", n=50, value=math.nan, channel=2)
    case.until(lambda: case.flagged("interpolated"))
    case.until(lambda: not case.diary.predictions[-1].reasons)
    case.recovery = case.diary.arrived[-1] - begin
    assert since < len(case.diary.predictions)


def garbage(stamp: float):
    """A driver that ends with a sample it never filled, and comes back."""

    def fault(case: Case) -> None:
        since = len(case.diary.predictions)
        case.cap.tell("garbage", stamp=stamp)
        time.sleep(0.3)  # so that it is on its way before the outlet dies
        case.cap.kill()
        case.until(lambda: "lost" in case.diary.states())
        case.replace_cap(seed=1)
        begin = time.monotonic()
        case.until(lambda: len(case.diary.predictions) > since and case.stream.counters.reconnects == 1)
        case.settles(since, begin)

    return fault


def garbage_within(case: Case) -> None:
    since, begin = len(case.diary.predictions), time.monotonic()
    case.cap.tell("garbage", stamp=3.6e304)
    case.recovers(since, begin)


FAULTS = {
    "lost 1": lose(1),
    "lost 5": lose(5),
    "lost 50": lose(50),
    "lost 500": lose(500),
    "burst": burst,
    "jitter": undisturbed(100),
    "drift": drift,
    "clock +10": jump(10.0),
    "clock -10": jump(-10.0),
    "clock 1000 off": undisturbed(20),
    "nan": spoil(50, value=math.nan),
    "inf": spoil(1, value=math.inf),
    "flat channel": spoil(100, value=3.0, channel=1),
    "saturated channel": spoil(100, value=4000.0, channel=0),
    "detached cap": spoil(200, value=0.0),
    "x1000": spoil(100, factor=1000.0),
    "one bad of eight": interpolated,
    "garbage at 0": garbage(0.0),
    "garbage at NaN": garbage(math.nan),
    "garbage within": garbage_within,
}
SPECS = {
    "jitter": {"jitter": 0.005},
    "drift": {"drift_ppm": 200.0},
    "clock 1000 off": {"clock_offset": 1000.0},
    "one bad of eight": {"labels": EIGHT, "n_channels": 8},
    # one sample per chunk, so that a spoilt one is one
    "inf": {"chunk": 1},
}


def make(key: str) -> Case:
    rules = law(channels=EIGHT) if key == "one bad of eight" else None
    return make_case(SPECS.get(key), rules=rules, stale_after_s=1.0)


@pytest.fixture(scope="module")
def outcomes():
    process = psutil.Process()
    before = process.memory_info().rss
    with side_by_side(FAULTS, make) as cases:
        yield cases, process.memory_info().rss - before


@pytest.fixture
def outcome(outcomes, recovery):
    def of(key: str) -> Case:
        case = outcomes[0][key]
        if case.failure is not None:
            raise case.failure
        if case.recovery is not None:
            recovery(case.recovery, key)
        return case

    return of


def test_memory_is_bounded(outcomes):
    assert outcomes[1] < 150 * 2**20  # twenty streams with their inlets, not what flowed through them


def test_one_lost_sample_is_bridged_and_flagged(outcome):
    case = outcome("lost 1")
    assert [event.data["bridged"] for event in case.diary.of("gap")] == [True]
    assert case.flagged("gap")
    assert all(not p.valid for p in case.flagged("gap"))
    case.assert_right()


@pytest.mark.parametrize("n", [5, 50, 500])
def test_more_lost_samples_start_a_new_segment(outcome, n):
    case = outcome(f"lost {n}")
    (gap,) = case.diary.of("gap")
    assert not gap.data["bridged"]
    assert gap.data["seconds"] == pytest.approx(n / 100, abs=0.011)
    assert case.stream.counters.gaps == 1
    assert all(not p.valid for p in case.flagged("settling"))
    case.assert_right()


def test_a_burst_of_a_second_is_decoded_in_full(outcome):
    case = outcome("burst")
    assert not case.diary.of("gap")
    assert case.stream.counters.skipped == 0
    case.assert_right()


def test_jitter_of_five_milliseconds_is_no_gap(outcome):
    case = outcome("jitter")
    assert not case.diary.of("gap")
    assert not case.disturbed(next(k for k, p in enumerate(case.diary.predictions) if p.valid))
    case.assert_right()


def test_a_drift_of_200_ppm_is_followed_and_reported(outcome):
    case = outcome("drift")
    assert not case.diary.of("gap")
    case.assert_right()


@pytest.mark.parametrize("seconds", [10, -10])
def test_a_clock_that_jumps_breaks_the_signal_and_is_reported(outcome, seconds):
    case = outcome(f"clock {seconds:+d}")
    kinds = [event.kind for event in case.diary.events if event.kind in ("gap", "clock_reset")]
    assert kinds == (["gap"] if seconds > 0 else ["clock_reset"])
    case.assert_right()


def test_a_clock_a_thousand_seconds_off_changes_nothing(outcome):
    case = outcome("clock 1000 off")
    assert not case.diary.of("gap")
    assert all("receive" not in p.latency_ms for p in case.diary.predictions)  # no latency is made up
    case.assert_right()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("nan", "non_finite"),
        ("inf", "non_finite"),
        ("flat channel", "flat"),
        ("saturated channel", "saturated"),
        ("detached cap", "flat"),
        ("x1000", "amplitude"),
    ],
)
def test_bad_samples_make_their_windows_invalid(outcome, key, reason):
    case = outcome(key)
    assert case.flagged(reason)
    assert all(not p.valid for p in case.flagged(reason))
    assert any(reason in event.data["reasons"] for event in case.diary.of("validity") if not event.data["valid"])
    assert not case.diary.of("gap")
    late = {"flat channel", "detached cap"}
    if key in late:  # the first 0.2 s of a constant could still be a signal
        errors = case.errors()
        assert sum(e > 0.05 for e in errors) <= 3
    else:
        case.assert_right()


def test_one_bad_channel_of_eight_is_interpolated_and_marked(outcome):
    case = outcome("one bad of eight")
    assert all(p.valid for p in case.flagged("interpolated"))
    case.assert_right()


@pytest.mark.parametrize("key", ["garbage at 0", "garbage at NaN"])
def test_an_uninitialised_last_sample_gives_no_prediction(outcome, key):
    case = outcome(key)
    assert case.stream.counters.reconnects == 1
    case.assert_right()


def test_an_uninitialised_sample_within_is_flagged(outcome):
    case = outcome("garbage within")
    case.assert_right()
