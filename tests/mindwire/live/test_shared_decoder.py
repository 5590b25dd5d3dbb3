"""A shared decoder decodes in one thread at a time, also while a thread hangs in it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mindwire.live.shared_decoder import SharedDecoder
from mindwire.types import Reason, Window
from tests.support.linear_decoder import LinearDecoder

WINDOW = Window(0, 0.0, np.ones((7, 3), np.float32), np.eye(3, dtype=np.float32), 0, 0, 7, Reason.NONE)


def test_while_a_thread_hangs_in_a_decoder_others_get_another():
    inside, leave = threading.Event(), threading.Event()
    made = []

    class Hanging(LinearDecoder):
        def decode(self, sessions, windows):
            if self is made[0]:
                inside.set()
                assert leave.wait(60)
            return super().decode(sessions, windows)

    def load():
        made.append(Hanging(2))
        return made[-1]

    shared = SharedDecoder(load)
    thread = threading.Thread(target=shared.decode, args=([None], [WINDOW]))
    thread.start()
    assert inside.wait(60)
    expected = LinearDecoder(2).decode([None], [WINDOW])
    for _ in range(3):
        np.testing.assert_array_equal(shared.decode([None], [WINDOW]), expected)
    assert len(made) == 2
    leave.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_decoder_that_fails_is_used_again():
    made = []

    class Failing(LinearDecoder):
        def decode(self, sessions, windows):
            raise RuntimeError

    def load():
        made.append(Failing(2))
        return made[-1]

    shared = SharedDecoder(load)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            shared.decode([None], [WINDOW])
    assert len(made) == 1
