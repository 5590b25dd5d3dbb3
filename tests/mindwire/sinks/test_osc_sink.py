"""OSC messages, as a UDP socket on this machine receives them."""

from __future__ import annotations

import math
import socket
import time

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage

from mindwire.config import host_and_port, load_settings
from mindwire.control.policy import ControlPolicy
from mindwire.errors import ServiceError, UsageError
from mindwire.sinks.osc import OscSink
from mindwire.types import ControlOutput, Decision, Prediction, Reason

PROBABILITIES = np.array([0.25, 0.75])


def decided(seq, label=None, axes=()):
    decision = Decision(seq, 12.5, label, 0.5) if label else None
    control = ControlOutput(decision, axes, (0.5, 0.5), "active", ControlPolicy())
    return Prediction(seq, 12.5, PROBABILITIES, control=control)


@pytest.fixture(params=["127.0.0.1", "::1"])
def receiver(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((request.param, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        sock.settimeout(10)
        yield sock


@pytest.fixture
def sink(receiver):
    host, port = receiver.getsockname()[:2]
    sink = OscSink("cap", host, port, lambda *event: pytest.fail(str(event)))
    yield sink
    sink.close()


def received(receiver, count):
    messages = [OscMessage(receiver.recv(65536)) for _ in range(count)]
    return [(message.address, message.params) for message in messages]


def test_each_prediction_is_sent_with_its_decision_and_axes(sink, receiver):
    sink.publish(Prediction(6, 12.0, PROBABILITIES))
    sink.publish(decided(7))
    sink.publish(decided(8, "left_hand", axes=(-1.0, 0.5)))
    assert received(receiver, 5) == [
        ("/mindwire/cap/probabilities", [0.25, 0.75, 6]),
        ("/mindwire/cap/probabilities", [0.25, 0.75, 7]),
        ("/mindwire/cap/probabilities", [0.25, 0.75, 8]),
        ("/mindwire/cap/decision", ["left_hand", 0.5, 8, 12.5]),
        ("/mindwire/cap/axes", [-1.0, 0.5]),
    ]


def test_the_time_has_the_precision_of_a_double(sink, receiver):
    now = time.monotonic() + 1e6
    decision = Decision(0, now, "left_hand", 0.5)
    sink.publish(Prediction(0, now, PROBABILITIES, control=ControlOutput(decision, (), (), "active", None)))
    assert received(receiver, 2)[1][1][3] == now


def test_an_invalid_prediction_is_no_number_and_a_long_run_no_error(sink, receiver):
    sink.publish(Prediction(2**31 + 3, 12.5, PROBABILITIES, Reason.GAP))
    [(_, (first, second, seq))] = received(receiver, 1)
    assert math.isnan(first)
    assert math.isnan(second)
    assert seq == 3


def test_without_a_receiver_nothing_fails(receiver):
    host, port = receiver.getsockname()[:2]
    receiver.close()
    sink = OscSink("cap", host, port, lambda *event: pytest.fail(str(event)))
    for seq in range(100):
        sink.publish(decided(seq, "left_hand"))
    sink.close()
    assert sink.unsent == 0


def test_what_cannot_be_sent_is_counted_reported_once_and_stalls_nothing():
    events = []
    sink = OscSink("cap", "127.0.0.1", 9, lambda *event: events.append(event))
    label = "x" * 70_000  # longer than any datagram
    begin = time.monotonic()
    for seq in range(50):
        sink.publish(decided(seq, label))
    assert time.monotonic() - begin < 5
    sink.close()
    assert sink.unsent == 50
    [(kind, message, _)] = events
    assert kind == "error"
    assert message == (
        "An OSC message to 127.0.0.1 port 9 could not be sent (Message too long); others that cannot are counted."
    )


def test_of_a_name_with_both_versions_of_ip_the_older_is_used(monkeypatch):
    kind = (socket.SOCK_DGRAM, socket.IPPROTO_UDP, "")
    found = [(socket.AF_INET6, *kind, ("::1", 9, 0, 0)), (socket.AF_INET, *kind, ("127.0.0.1", 9))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sink = OscSink("cap", "localhost", 9, lambda *event: pytest.fail(str(event)))
    assert sink._socket.family is socket.AF_INET
    sink.publish(decided(1))
    sink.close()


def test_a_version_of_ip_that_the_machine_lacks_is_told(monkeypatch):
    def refuse(*_):
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ServiceError, match=r"sent to ::1 \(Address family not supported by protocol\)"):
        OscSink("cap", "::1", 9000, print)


def test_an_unknown_host_is_told():
    with pytest.raises(ServiceError, match=r"OSC messages cannot be sent to nowhere\.invalid"):
        OscSink("cap", "nowhere.invalid", 9000, print)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9000", ("127.0.0.1", 9000)),
        ("studio.local:9000", ("studio.local", 9000)),
        ("192.168.1.7:57120", ("192.168.1.7", 57120)),
        ("[::1]:9000", ("::1", 9000)),
        ("[fe80::1%eth0]:9000", ("fe80::1%eth0", 9000)),
    ],
)
def test_addresses(text, expected):
    assert host_and_port(text) == expected
    assert load_settings({"osc": text}).osc == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":9000", "host:0", "host:65536", "::1:9000", "[::1:9000", "h:²"])
def test_other_addresses_are_refused(text):
    with pytest.raises(UsageError, match=r"--osc: expected HOST:PORT, \[IPv6 address\]:PORT or a port of this machine"):
        load_settings({"osc": text})
