"""Signals with all that may happen to one, for tests of properties, and predictions as what must not differ."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.signals import noise


def as_bits(predictions):
    return [(p.seq, p.time, p.probabilities.tobytes(), int(p.reasons), p.control) for p in predictions]


@st.composite
def damaged_signals(draw, n=900):
    """A signal with jitter, lost samples, jumps, bursts, values that are not finite and dead channels."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    samples, times = noise(n, seed=seed), np.arange(n) / 100.0 + draw(st.sampled_from([0.0, 1e6]))
    times += rng.uniform(0, draw(st.sampled_from([0.0, 1e-4, 0.004])), n)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(1, n - 20))
        what = draw(
            st.sampled_from(["lost", "jump", "burst", "nan", "inf", "flat", "rail", "bad stamp", "rate", "small"])
        )
        size = draw(st.sampled_from([1, 3, 5, 60, 300]))
        if what == "lost":
            times[at:] += size / 100.0
        elif what == "jump":
            times[at:] -= size / 100.0
        elif what == "burst":
            late = slice(at, at + min(size, 60))
            times[late] = times[late][-1]
        elif what in {"nan", "inf"}:
            samples[at : at + min(size, 20), draw(st.integers(0, 2))] = np.nan if what == "nan" else np.inf
        elif what == "rate":
            times[at:] = times[at] + np.arange(n - at) / draw(st.sampled_from([50.0, 103.0, 200.0, -100.0]))
        elif what == "small":
            samples[at : at + size] *= 1e-6
        elif what == "bad stamp":
            times[at] = draw(st.sampled_from([np.nan, np.inf, 3.6e304, -1e9]))
        else:
            samples[at : at + size, draw(st.integers(0, 2))] = 0.0 if what == "flat" else 5e3
    return samples, times
