"""The Python client and a real service that is disturbed; what was missed is compared with the numbers."""

from __future__ import annotations

import random
import signal

import pytest

from benchmarks.client_disturbances import STREAM, Disturbed, Observed, make_model, run
from mindwire_client import Connection, TokenError, connect

pytest.importorskip("torch")
QUICK = ("cut", "remove", "slow", "stop")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("disturbed"))


@pytest.mark.parametrize("kind", ["kill", "end"])
def test_a_service_that_is_killed_or_ends_comes_back_to_the_same_iteration(model, kind):
    [counts] = run(model, [kind], random.Random(1), "python")
    assert (counts["restarted"], counts["lost"], counts["connections"]) == (1, 1, 2)


def test_random_disturbances_end_no_iteration_and_what_was_missed_is_exact(model):
    chance = random.Random(2)
    kinds = [*QUICK, *(chance.choice(QUICK) for _ in range(6))]
    [counts] = run(model, kinds, chance, "python")
    assert counts["restarted"] == kinds.count("remove")
    assert counts["lost"] == kinds.count("remove") + kinds.count("cut")
    assert counts["missed_but_observed"] > 0
    assert counts["dropped"] >= 40 - 32


def test_a_token_that_another_service_does_not_take_ends_the_iteration_at_once(model, tmp_path):
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    token.chmod(0o600)
    with Disturbed(model, "--token-file", token) as disturbed:
        with pytest.raises(TokenError), connect(disturbed.address, token="wrong-horse"):
            pass
        with connect(disturbed.address, token="correct-horse", timeout_s=30) as stream:
            predictions, notices = stream.predictions(), stream.messages(Connection)
            assert stream.hello.stream == STREAM
            next(predictions)
            disturbed.end(signal.SIGKILL)
            assert not next(notices).connected
            token.write_text("another-horse\n")
            disturbed.start()
            with pytest.raises(TokenError):
                list(predictions)
            assert list(_until_error(notices)) == []


def _until_error(iterator):
    with pytest.raises(TokenError):
        yield from iterator


def test_the_observer_reads_what_the_client_is_compared_with(model):
    with (
        Disturbed(model) as disturbed,
        Observed(disturbed.address) as observed,
        connect(disturbed.address, timeout_s=30) as stream,
    ):
        iterator = stream.predictions()
        found = [next(iterator) for _ in range(20)]
        instance = stream.hello.instance
    known = {seq: time for (name, seq), time in observed.times.items() if name == instance}
    assert {one.seq: one.time for one in found if one.seq in known}.items() <= known.items()
    assert known
