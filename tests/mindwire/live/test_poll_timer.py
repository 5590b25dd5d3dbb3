"""A connection is polled when its next window can be due, whatever the clocks and the network's delay."""

from __future__ import annotations

import pytest

from mindwire.live.poll_timer import PollTimer


@pytest.mark.parametrize("offset", [0.0, -3600.0, 1e6])
def test_the_next_poll_is_when_the_samples_should_have_arrived(offset):
    timer = PollTimer()
    timer.received(100.0, offset + 0.005, 0.04)
    assert timer.next_poll == pytest.approx(100.04, abs=0.001)
    timer.received(100.05, offset + 0.015, 0.04)  # polled 10 ms later than was possible
    assert timer.next_poll == pytest.approx(100.08, abs=0.001)
    timer.received(100.2, offset + 0.2, 0.04)
    assert timer.next_poll == pytest.approx(100.2)  # overdue, not in the past


def test_a_late_chunk_is_polled_for_with_growing_pauses_up_to_a_limit():
    timer, pauses = PollTimer(), []
    for _ in range(8):
        timer.nothing_received(50.0)
        pauses.append(timer.next_poll - 50.0)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < 0.01 < pauses[-1] == pauses[-2] < 0.05
    timer.received(51.0, 0.0, 0.04)
    timer.nothing_received(52.0)
    assert timer.next_poll - 52.0 == pytest.approx(pauses[0])


def test_a_clock_that_was_set_is_forgotten():
    timer = PollTimer()
    timer.received(0.0, 0.0, 0.04)
    for poll in range(1, 250):
        timer.received(poll * 0.04, 10.0, 0.04)
    assert timer.next_poll == pytest.approx(249 * 0.04 + 0.04, abs=0.001)
