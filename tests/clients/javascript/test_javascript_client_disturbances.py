"""The JavaScript client in Node and a real service that is disturbed; what was missed is compared with the numbers."""

from __future__ import annotations

import random
import time

import pytest

from benchmarks.client_disturbances import make_model, run
from mindwire_client import Connection, Prediction
from tests.support.javascript_client import JavascriptError, JavascriptMessages, node
from tests.support.standin import StandIn, served

pytestmark = pytest.mark.skipif(not node(), reason="Node 20 or newer is not installed")
KINDS = ["kill", "end", "stop", "remove", "cut", "slow"]


def test_no_disturbance_ends_the_iteration_and_what_was_missed_is_exact(tmp_path):
    pytest.importorskip("torch")
    [counts] = run(make_model(tmp_path), KINDS, random.Random(1), "javascript")
    assert counts["restarted"] == 3  # killed, ended, removed
    assert counts["lost"] == 4  # and cut
    assert counts["connections"] == 5
    assert counts["missed_but_observed"] > 0
    assert counts["dropped"] >= 40 - 32


def read_until(messages: JavascriptMessages, wanted) -> None:
    deadline = time.monotonic() + 30
    while not ((message := messages.poll()) is not None and wanted(message)):
        assert time.monotonic() < deadline


def test_a_wrong_token_is_an_error_at_once_and_ends_an_iteration():
    first, second = StandIn(), StandIn()
    with served(first, token="correct horse") as address:
        first.start()
        with (
            pytest.raises(JavascriptError, match=r"TokenError.*not accepted"),
            JavascriptMessages(address, token="wrong"),
        ):
            pass
        with pytest.raises(JavascriptError, match=r"TokenError.*needs a token"), JavascriptMessages(address):
            pass
        messages = JavascriptMessages(address, token="correct horse")
        messages.__enter__()
        read_until(messages, lambda one: isinstance(one, Prediction))
        first.stop()
    port = int(address.rpartition(":")[2])
    with served(second, port=port, token="another horse"):
        read_until(messages, lambda one: isinstance(one, Connection) and not one.connected)
        with pytest.raises(JavascriptError, match="TokenError"):
            read_until(messages, lambda _: False)
        messages.__exit__(None, None, None)
    second.stop()
