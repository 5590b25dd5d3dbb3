"""A worker as on another machine: reached over TCP and TLS, reported by itself, ended when it is no longer asked."""

from __future__ import annotations

import asyncio
import ssl
import time

import msgspec
import pytest

from mindwire.config import load_settings
from mindwire.serve.gateway.address import Address, request
from mindwire.serve.gateway.process import WorkerReport, WorkerStart, start_process
from mindwire.serve.gateway.reports import KILL, REPORTS
from mindwire.sinks.messages import Encoding
from tests.support.bundles import random_bundle
from tests.support.certificates import make_certificate
from tests.support.lsl_cap import Cap
from tests.support.streaming import contract, unique

pytest.importorskip("torch")
_JSON = {"method": "POST", "body": b"{}", "content_type": "application/json"}


async def reports_until(address: Address, found) -> list[WorkerReport]:
    """All reports of a worker, once one of them is what is waited for."""
    reports: list[WorkerReport] = []
    deadline = time.monotonic() + 60
    while not any(map(found, reports)):
        assert time.monotonic() < deadline
        answer = await request(address, f"{REPORTS}?after={len(reports)}")
        assert answer.status == 200
        reports += msgspec.json.decode(answer.body, type=list[WorkerReport])
    return reports


def test_a_worker_elsewhere_speaks_tls_reports_what_is_learnt_and_ends_when_not_asked(tmp_path):
    bundle = random_bundle(tmp_path / "bundle", contract(window_samples=200))
    certificate, key = make_certificate(tmp_path)
    other, _ = make_certificate(tmp_path, "other")
    cap = unique("cap")
    flags = {"model": str(bundle), "stream": [f"id=cap,name={cap}"], "tls_cert": certificate, "tls_key": key}
    settings = load_settings(flags | {"lsl_outlet": False}).model_dump_json()
    start = WorkerStart(settings, Address(token="correct horse"), lease_s=3.0)

    async def first() -> dict[str, bytes]:
        worker = await start_process(start)
        report = await worker.next_report()
        address = report.address
        assert report.pid > 0
        assert (await request(address, "/v1/streams")).status == 200
        assert (await request(msgspec.structs.replace(address, token="wrong"), REPORTS)).status == 401
        with pytest.raises(ssl.SSLCertVerificationError):
            await request(msgspec.structs.replace(address, certificate=other.read_text()), "/v1/streams")
        websocket = await address.websocket("/v1/streams/cap/predictions", Encoding.JSON)
        assert '"hello"' in await websocket.recv()
        websocket.transport.abort()
        with Cap(cap, source_id=cap):
            reports = await reports_until(address, lambda one: one.learnt)
        assert {one.learnt for one in reports} == {"cap.adaptation"}
        # what the gateway has is not reported again, what it does not acknowledge is
        again = await request(address, f"{REPORTS}?after={len(reports) - 1}")
        assert msgspec.json.decode(again.body, type=list[WorkerReport])[0] == reports[-1]
        with pytest.raises(OSError, match=r"."):
            await request(address, KILL, **_JSON)
        assert await asyncio.wait_for(worker.wait(), 20) == "ended with code 1"
        return {reports[-1].learnt: reports[-1].content}

    async def second(learnt: dict[str, bytes]) -> None:
        worker = await start_process(msgspec.structs.replace(start, learnt=learnt))
        address = (await worker.next_report()).address
        with Cap(cap, source_id=cap):
            deadline = time.monotonic() + 60
            while True:
                await request(address, f"{REPORTS}?after=0")
                (stream,) = msgspec.json.decode((await request(address, "/v1/streams")).body)
                if stream["adaptation"] and stream["adaptation"]["good_seconds"] > 0:
                    break
                assert time.monotonic() < deadline
        assert stream["adaptation"]["good_seconds"] > 2.0  # more than it has had time to learn
        assert await asyncio.wait_for(worker.wait(), 30) == "ended with code 0"  # it is asked no longer

    asyncio.run(second(asyncio.run(first())))
