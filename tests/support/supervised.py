"""A decoder that fails, and a supervisor that restarts streams at once."""

from __future__ import annotations

from contextlib import contextmanager

from mindwire.live.supervisor import RestartPolicy, Supervisor
from tests.support.linear_decoder import LinearDecoder

QUICK = RestartPolicy(delays_s=(0.01, 0.01, 0.01))


class Failing(LinearDecoder):
    """Fails so many times, then decodes."""

    def __init__(self, failures: int) -> None:
        super().__init__(2)
        self.failures = failures

    def decode(self, sessions, windows):
        if self.failures:
            self.failures -= 1
            msg = "the decoder is broken"
            raise ZeroDivisionError(msg)
        return super().decode(sessions, windows)


@contextmanager
def supervised(*streams, policy=QUICK):
    refused = []
    supervisor = Supervisor(streams, on_refused=lambda stream, error: refused.append((stream, error)), policy=policy)
    supervisor.start()
    try:
        yield refused
    finally:
        assert supervisor.stop(5.0)
