"""A connection is polled when its next window can be due, whatever the clocks and the network's delay."""

from __future__ import annotations

import pytest

from mindwire.live.poll_timer import PollTimer

PERIOD_S = 0.04


def polled(timer, *, delay_s, until_s, offset_s=0.0, first_s=0.0):
    """Poll a source whose chunks arrive every 40 ms, some time after their stamps; ages in seconds, and polls in vain."""
    taken, now, ages, vain = -1, first_s, [], 0
    while now < until_s:
        newest = int((now - delay_s) / PERIOD_S)
        if newest > taken:
            taken = newest
            ages.append(now - newest * PERIOD_S)
            timer.received(now, ages[-1] + offset_s, PERIOD_S)
        else:
            vain += 1
            timer.nothing_received(now)
        assert timer.next_poll >= now
        now = timer.next_poll
    return ages, vain


@pytest.mark.parametrize("offset_s", [0.0, -3600.0, 1e6])
@pytest.mark.parametrize("first_s", [1.0, 1.012, 1.03])
def test_samples_are_taken_soon_after_they_arrive_wherever_polling_began(offset_s, first_s):
    ages, vain = polled(PollTimer(), delay_s=0.002, until_s=20.0, offset_s=offset_s, first_s=first_s)
    assert len(ages) == pytest.approx(475, abs=2)  # none is missed
    assert sorted(ages[100:])[190] < 0.002 + 0.002
    assert vain < 0.3 * len(ages)


def test_a_late_chunk_is_polled_for_with_growing_pauses_up_to_a_limit():
    timer, pauses = PollTimer(), []
    timer.received(50.0, 0.0, PERIOD_S)
    timer.nothing_received(timer.next_poll)  # early
    for _ in range(20):
        now = timer.next_poll
        timer.nothing_received(now)
        pauses.append(timer.next_poll - now)
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.001
    assert 0.01 < pauses[-1] < 0.05
    assert pauses[-1] == pytest.approx(pauses[-2])


def test_a_clock_that_was_set_is_forgotten():
    timer = PollTimer()
    polled(timer, delay_s=0.002, until_s=4.0)
    ages, vain = polled(timer, delay_s=0.002, until_s=20.0, offset_s=10.0, first_s=4.0)
    assert max(ages[250:]) < 0.01
    assert vain < 3 * len(ages)
