"""The clock of the Python client, in virtual time."""

from __future__ import annotations

import math
import random

from mindwire_client import Clock


def measure(clock, chance, begin, n, offset, drift=0.0):
    """Round trips of a jittering network, one a second; return the errors, and the claimed uncertainties, in ms."""
    found = []
    for second in range(n):
        sent = begin + second
        received = sent + chance.uniform(0.0005, 0.02)
        answered = received + 0.0001
        returned = answered + chance.uniform(0.0005, 0.02)
        true = [at + offset + drift * (at - begin) for at in (received, answered)]
        clock.add(sent, *true, returned)
        error = clock.to_lsl(returned) - (returned + offset + drift * (returned - begin))
        found.append((1e3 * abs(error), clock.uncertainty_ms))
    return found


def test_nothing_is_known_before_the_first_round_trip():
    clock = Clock()
    assert math.isnan(clock.now())
    assert not clock.synchronised
    assert not clock.wait(0)
    clock.add(1.0, 2.0, 9.0, 3.0)  # contradicts itself
    assert not clock.synchronised


def test_the_uncertainty_covers_jitter_and_drift():
    found = measure(Clock(), random.Random(1), 100.0, 600, 1234.5, drift=50e-6)
    assert all(error <= claimed for error, claimed in found)
    assert max(claimed for _, claimed in found[30:]) < 5.0


def test_a_jump_is_noticed_and_what_was_before_is_forgotten():
    clock, chance = Clock(), random.Random(2)
    measure(clock, chance, 100.0, 60, 1234.5)
    found = measure(clock, chance, 160.0, 60, 1235.5)
    assert clock.jumps == 1
    assert all(error <= claimed for error, claimed in found)
