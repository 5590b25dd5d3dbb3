"""Parts of the gateway by themselves: frames, metrics, shares of streams, addresses."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import ServiceError, UsageError
from mindwire.serve.gateway.address import Address, Answer, request
from mindwire.serve.gateway.gateway import Gateway
from mindwire.serve.gateway.metrics import merged
from mindwire.serve.gateway.shares import share_by_node, share_streams
from mindwire.serve.gateway.worker import Worker
from mindwire.status import StreamState
from tests.support.standin import StandIn, served


def worker_of(*streams: str, number: int = 1) -> Worker:
    """A worker that is not started."""
    return Worker(number, streams, print, on_refused=print, on_noted=print, on_learnt=print)


@given(st.lists(st.sampled_from([10, 1, 5, 50]), min_size=1, max_size=40), st.integers(1, 8))
def test_streams_are_shared_evenly(hops, workers):
    by_name = {f"s{i}": hop for i, hop in enumerate(hops)}
    shares = share_streams(by_name, workers)
    assert sorted(name for share in shares for name in share) == sorted(by_name)
    work = [sum(1 / by_name[name] for name in share) for share in shares]
    assert max(work) - min(work) <= max(1 / hop for hop in hops) + 1e-9


def test_equal_streams_go_round():
    assert share_streams(dict.fromkeys(["s0", "s1", "s2", "s3", "s4"], 10), 2) == [["s0", "s2", "s4"], ["s1", "s3"]]


def test_each_worker_has_streams_of_one_node_and_each_node_a_worker():
    hops = dict.fromkeys(["s0", "s1", "s2", "s3", "s4", "s5"], 10)
    nodes = {"s0": "lab-a", "s1": "lab-b", "s2": None, "s3": "lab-a", "s4": "lab-a", "s5": "lab-a"}
    assert share_by_node(hops, nodes, 2) == [("lab-a", ["s0", "s3", "s4", "s5"]), ("lab-b", ["s1"]), (None, ["s2"])]
    shares = share_by_node(hops, nodes, 4)
    assert shares[:2] == [("lab-a", ["s0", "s4"]), ("lab-a", ["s3", "s5"])]
    assert share_by_node({}, {}, 2) == [(None, []), (None, [])]


def test_metrics_of_workers_become_one_exposition():
    answers = [
        (
            b'# HELP x_total X.\n# TYPE x_total counter\nx_total{stream="a"} 1.0\n'
            b"# HELP process_open_fds Files.\n# TYPE process_open_fds gauge\nprocess_open_fds 7.0\n"
            b"# HELP python_info P.\n# TYPE python_info gauge\npython_info 1.0\n"
        ),
        b'# HELP x_total X.\n# TYPE x_total counter\nx_total{stream="b"} 2.0\n',
    ]
    text = merged([worker_of(number=1), worker_of(number=2)], answers).decode()
    assert '# HELP x_total X.\n# TYPE x_total counter\nx_total{stream="a"} 1.0\nx_total{stream="b"} 2.0\n' in text
    assert 'mindwire_worker_process_open_fds{worker="1"} 7.0\n' in text
    assert "\npython_info 1.0" not in text


def test_a_worker_is_reached_over_tcp_with_its_token():
    with served(StandIn(), token="correct horse") as where:
        host, port = where.split(":")

        async def ask(token, **details):
            return await request(Address(host=host, port=int(port), token=token), "/v1/streams/eeg", **details)

        assert asyncio.run(ask("correct horse")).status == 200
        assert asyncio.run(ask("wrong")).status == 401
        assert (
            asyncio.run(ask("correct horse", method="POST", body=b"{}", content_type="application/json")).status == 405
        )
    with pytest.raises(OSError, match=r"."):
        asyncio.run(ask("correct horse"))


def test_a_stream_whose_worker_does_not_answer_is_stale_and_then_what_it_says():
    worker = worker_of("eeg")
    live = StandIn("eeg")
    live.become(StreamState.LIVE, "Predictions are fresh.")
    described = live.status().model_dump(mode="json")
    stream = worker.streams["eeg"]
    stream.describe(described)
    assert stream.status() == live.status()
    for _ in range(2):
        stream.lose(StreamState.STALE, "It does not answer.")
    assert not stream.status().ready
    assert stream.status().state is StreamState.STALE
    for _ in range(2):
        stream.describe(described)
    assert stream.status().ready
    assert [event.data["state"] for event in stream.events] == ["stale", "live"]


def test_a_job_gives_a_stream_its_model_through_the_worker(monkeypatch):
    asked, noted = [], []

    class Remote:
        name, described = "cap", {"state_reason": "Worker process 1 ended."}
        answer = Answer(202, "application/json", b"{}")

        async def ask(self, rest, **details):
            asked.append((rest, details["method"], json.loads(details["body"]), details["content_type"]))
            assert details["patience"] > 2  # a first model is loaded before the answer
            return self.answer

    async def note(stream):
        noted.append(stream)

    gateway, stream = object.__new__(Gateway), Remote()
    monkeypatch.setattr(gateway, "_streams", {"cap": stream}, raising=False)
    monkeypatch.setattr(gateway, "note_from", note)
    asyncio.run(gateway.use_model("cap", "P01-1"))
    assert asked == [("/model", "POST", {"model": "P01-1", "when": "ready"}, "application/json")]
    assert noted == [stream]
    for answer, sentence in (
        (Answer(409, "application/json", b'{"detail": "Another change is under way."}'), "Another change is under way"),
        (None, "Worker process 1 ended"),
    ):
        stream.answer = answer
        with pytest.raises(ServiceError, match=sentence):
            asyncio.run(gateway.use_model("cap", "P01-1"))
    with pytest.raises(UsageError, match="'gone' is not there any more"):
        asyncio.run(gateway.use_model("gone", "P01-1"))
    assert noted == [stream]
