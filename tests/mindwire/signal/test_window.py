"""The window buffer: what it holds depends on what was appended, not on how large its memory is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.signal.window import WindowBuffer

KEEP = 16


@given(
    phase=st.floats(0, 1, exclude_max=True),
    sizes=st.lists(st.integers(1, KEEP), min_size=1, max_size=40),
)
def test_a_window_is_what_was_appended_and_nothing_overwrites_it(phase, sizes):
    buffer = WindowBuffer(KEEP, 2, phase)
    signal = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    windows = []
    for size in sizes:
        part = slice(buffer.count, buffer.count + size)
        flags = (np.arange(part.start, part.stop) % 7 == 0).astype(np.uint32)
        buffer.append(signal[part], np.arange(part.start, part.stop, dtype=float), flags)
        start = max(0, buffer.count - KEEP)
        windows.append((start, buffer.count, buffer.samples(start, buffer.count)))
        assert buffer.time(buffer.count - 1) == buffer.count - 1
        assert buffer.flagged(start, buffer.count) == any(i % 7 == 0 for i in range(start, buffer.count))
    for start, stop, window in windows:
        assert np.array_equal(window, signal[start:stop])


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.99])
def test_an_append_larger_than_the_memory_is_held(phase):
    buffer = WindowBuffer(KEEP, 1, phase)
    n = 10 * KEEP
    buffer.append(np.arange(n, dtype=np.float32)[:, None], np.arange(n, dtype=float), np.zeros(n, dtype=np.uint32))
    assert np.array_equal(buffer.samples(n - KEEP, n)[:, 0], np.arange(n - KEEP, n))
