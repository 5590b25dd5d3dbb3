"""Outlets that die, freeze, fall silent, come back and come back changed, side by side; the rest is in test_connection."""

from __future__ import annotations

import time

import psutil
import pytest

from mindwire.status import StreamState
from mindwire_models.presets import BCIC2A, BCIC2A_CHANNELS
from tests.support.cases import Case, make_case, side_by_side
from tests.support.oracle import law

pytestmark = pytest.mark.timeout(300)

DEAD_S = 3.0
WINDOW_S = BCIC2A.window_samples / BCIC2A.sfreq
SETTLING_S = BCIC2A.settling_samples / BCIC2A.sfreq
PRESET = law(
    channels=BCIC2A.channels,
    sfreq=BCIC2A.sfreq,
    filters=BCIC2A.filters,
    window_samples=BCIC2A.window_samples,
    hop_samples=BCIC2A.hop_samples,
    temperature=1500.0,
)
PRESET_CAP = {"labels": BCIC2A_CHANNELS, "n_channels": 22, "sfreq": 250.0, "chunk": 10}


def restart(times: int):
    """Dead for three seconds, and back with its identity but other samples."""

    def fault(case: Case) -> None:
        for turn in range(times):
            case.cap.kill()
            case.until(lambda: case.stream.state in (StreamState.LOST, StreamState.SEARCHING))
            time.sleep(DEAD_S)  # so long it is gone
            since = len(case.diary.predictions)
            case.replace_cap(seed=turn + 1)
            begin = time.monotonic()
            case.until(lambda since=since: len(case.diary.predictions) > since)
            case.settles(since, begin)
            valid = next(p for p in case.diary.predictions[since:] if p.valid)
            # in the time of the signal, so that a busy machine's delay of decoding is not counted
            case.notes.append((since, case.cap, valid.time - case.cap.epoch))

    return fault


def changed(says: str, **change):
    """Killed; another comes with its identity, or nearly; then the right one."""

    def fault(case: Case) -> None:
        case.cap.kill()
        case.until(lambda: "lost" in case.diary.states())
        since = len(case.diary.predictions)
        case.cap = case.new_cap(**change).start()
        case.until(lambda: says in case.stream.status().state_reason, says)
        assert case.stream.state in (StreamState.SEARCHING, StreamState.CONNECTING)
        assert not case.stream.ready
        assert len(case.diary.predictions) == since
        case.cap.kill()
        case.replace_cap(seed=1)
        begin = time.monotonic()
        case.until(lambda: len(case.diary.predictions) > since)
        case.settles(since, begin)

    return fault


def silent(case: Case) -> None:
    since = len(case.diary.predictions)
    begin = time.monotonic() + 3.0
    case.cap.tell("silent", seconds=3.0)
    case.until(lambda: case.stream.state is StreamState.STALE)
    case.until(lambda: len(case.diary.predictions) > since + 1)
    case.settles(since, begin)


def freeze(case: Case) -> None:
    case.cap.freeze()
    case.until(lambda: case.stream.state is StreamState.STALE)
    time.sleep(4.0)  # stale after one second, five in all
    since = len(case.diary.predictions)
    case.cap.thaw()
    begin = time.monotonic()
    case.until(lambda: len(case.diary.predictions) > since)
    case.settles(since, begin)


def without_source_id(case: Case) -> None:
    case.cap.kill()
    case.until(lambda: "lost" in case.diary.states())
    since = len(case.diary.predictions)
    case.replace_cap(seed=1)
    begin = time.monotonic()
    case.until(lambda: len(case.diary.predictions) > since)
    case.settles(since, begin)


def twins(case: Case) -> None:
    """While the known one lives its twin changes nothing; when it dies, two that claim to be it are refused."""
    first, second = case.new_cap(seed=1), case.new_cap(seed=2)
    case.others = [first, second]
    first.start()
    second.start()
    case.more(10)
    since = len(case.diary.predictions)
    case.cap.kill()
    case.until(lambda: case.diary.of("refused"))
    assert "live streams have the identity" in case.diary.of("refused")[0].message
    second.kill()
    case.cap = first
    case.new_era()
    begin = time.monotonic()
    case.until(lambda: len(case.diary.predictions) > since + 1)
    case.settles(since, begin)


FAULTS = {
    "restart": restart(1),
    "restart preset": restart(3),
    "source_id": changed("source_id", source_id="another"),
    "rate": changed("nominal rate 100.0 became 200.0", sfreq=200.0),
    "channel count": changed("number of channels 3 became 4", n_channels=4, labels=("C3", "Cz", "C4", "Pz")),
    "order": changed("order of the labels", labels=("C4", "Cz", "C3")),
    "silent": silent,
    "frozen": freeze,
    "no source_id": without_source_id,
    "twins": twins,
}


def make(key: str) -> Case:
    if key == "restart preset":
        return make_case(PRESET_CAP, rules=PRESET, stale_after_s=1.0)
    return make_case({"source_id": ""} if key == "no source_id" else None, stale_after_s=1.0)


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
        recovery(case.recovery)
        case.assert_right()
        return case

    return of


def test_memory_is_bounded(outcomes):
    assert outcomes[1] < 150 * 2**20  # a dozen streams with their inlets, not what flowed through them


WAY = ["searching", "connecting", "settling", "live"]


def test_restarted_with_its_identity_after_three_seconds(outcome):
    case = outcome("restart")
    assert case.diary.states() == [*WAY, "lost", *WAY, "stopped"]
    assert case.stream.counters.reconnects == 1


def test_restarted_with_the_preset_within_window_and_settling_and_one_and_a_half_seconds(outcome):
    case = outcome("restart preset")
    assert case.stream.counters.reconnects == 3
    # a machine under load may be late once
    assert min(seconds for _, _, seconds in case.notes) <= WINDOW_S + SETTLING_S + 1.5
    for since, cap, _ in case.notes:
        following = [p for p in case.diary.predictions[since:] if p.time < cap.epoch + 60]
        # every window since then is wholly after the restart
        assert round(cap.index_at(following[0].time)) >= BCIC2A.window_samples - 1


@pytest.mark.parametrize("what", ["source_id", "rate", "channel count", "order"])
def test_what_comes_back_changed_is_refused_with_what_changed(outcome, what):
    case = outcome(what)
    states = case.diary.states()
    assert states.count("live") == 2
    assert states[4:6] == ["lost", "searching"]


def test_silent_but_alive_is_stale_and_then_goes_on(outcome):
    case = outcome("silent")
    assert case.diary.states()[:6] == [*WAY, "stale", "settling"]
    assert [event.data["bridged"] for event in case.diary.of("gap")] == [False]
    assert case.stream.counters.reconnects == 0


def test_stopped_for_five_seconds_and_continued_is_not_lost(outcome):
    case = outcome("frozen")
    assert "stale" in case.diary.states()
    assert case.stream.counters.reconnects == 0


def test_an_outlet_without_source_id_is_taken_up_again(outcome):
    assert outcome("no source_id").stream.counters.reconnects == 1


def test_twins_change_nothing_and_are_refused_until_one_is_left(outcome):
    case = outcome("twins")
    assert case.diary.states().count("lost") == 1
    assert case.stream.counters.reconnects == 1
