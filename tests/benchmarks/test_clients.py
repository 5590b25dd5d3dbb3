"""The benchmark of websocket clients measures, and parses what the service sends."""

from __future__ import annotations

from benchmarks.clients import frame, many_clients, parse_frames
from mindwire_models.zoo import zoo_bundle_path


def test_frames_are_parsed_wherever_they_are_cut():
    text = '{"type":"prediction","seq":%d,"time":0.5,' + '"fill":"%s"}' % ("x" * 200)
    data = frame('{"type":"hello"}') + b"".join(frame(text % seq) for seq in (0, 1, 4))
    found, rest = [], b""
    for at in range(0, len(data), 7):
        predictions, rest = parse_frames(rest + data[at : at + 7])
        found += predictions
    assert found == [(0, 0.5), (1, 0.5), (4, 0.5)]
    assert rest == b""


def test_clients_and_bare_sockets_are_measured():
    one, some = many_clients(zoo_bundle_path(), [1, 4], seconds=1.0, chunk=10, hop=10)
    assert "others" not in one
    assert some["others"]["n"] > 3 * 10
    assert some["others"]["lost"] == some["single"]["lost"] == 0
    assert some["outlet"]["age_ms"]["n"] > 10
    assert some["sockets"]["n"] > 4 * 10
    assert set(some["cpu_percent"]) == {"service", "others"}
