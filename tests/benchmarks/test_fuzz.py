"""The fuzzers of REST and websockets in their short form, behind the gateway; ten minutes of each are for the release."""

from __future__ import annotations

import asyncio
import threading

import pytest

from benchmarks import fuzz_rest, fuzz_service, fuzz_websocket

pytest.importorskip("schemathesis")
SECONDS = 6


def test_no_request_and_no_websocket_harms_the_service_or_its_other_clients(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_service, "MEMORY", 1.25)  # that of the first seconds grows
    with fuzz_service.fuzzed_service(tmp_path, workers=2) as service:
        bystander = fuzz_service.Bystander(service.address)
        fuzzer = fuzz_websocket.Fuzzer(service.address, seed=1)
        memory = [service.memory()]
        frames = threading.Thread(target=lambda: asyncio.run(fuzzer.run(SECONDS, clients=3)))
        frames.start()
        code, output = fuzz_rest.schemathesis(service, SECONDS, 1, tmp_path)
        frames.join()
        memory.append(service.memory())
        figures, problems = fuzz_service.verdict(service, bystander, memory)
        bystander.close()
    assert code == 0, output
    assert problems == [], figures
    assert fuzzer.answers["101"] > 2
    assert not any(status.startswith("5") for status in fuzzer.answers)
