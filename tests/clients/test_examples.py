"""The example programs of clients/, as they stand, against one real service with a simulated person."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Latest
from mindwire_client import connect
from mindwire_models.zoo import zoo_bundle_path
from tests.support.csharp import CLIENTS, compiled, until
from tests.support.processes import Processes
from tests.support.service_process import Service, ready, service
from tests.support.streaming import eventually, unique

EXAMPLES = CLIENTS / "python" / "examples"
CLASSES = ["feet", "left_hand", "right_hand", "tongue"]
CLASS = f"({'|'.join(CLASSES)})"
POLICY = ControlPolicy(
    evidence=Latest(),
    decide=Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0.2),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)
STREAM = "cap"
CONTROL, READ = "correct-horse", "battery-staple"


@pytest.fixture(scope="module")
def osc_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory, osc_port):
    """Address of a service that decides five times a second."""
    policy = tmp_path_factory.mktemp("examples") / "control.json"
    policy.write_text(POLICY.to_json())
    name = unique("cap")
    with ExitStack() as stack:
        person = ("--name", name, "--source-id", name, "--artefacts", "none")
        Processes(stack).start("-m", "mindwire", "simulate", *person)
        started: Service = stack.enter_context(
            service(
                *("--model", zoo_bundle_path(), "--stream", f"id={STREAM},source_id={name}", "--control", policy),
                *("--osc", osc_port, "--token", CONTROL, "--read-token", READ),
            )
        )
        started.discard_log()
        where = started.address()
        eventually(lambda: ready(where), 60)
        yield where


def lines_of(*command: object) -> list[str]:
    """Run an example to its end, and return what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(CLIENTS / "python")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def matches(patterns: list[str], lines: list[str]) -> None:
    assert len(patterns) == len(lines), lines
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.fullmatch(pattern, line), lines


def test_lsl_decisions_have_class_code_and_age(address):
    lines = lines_of(sys.executable, EXAMPLES / "lsl_decisions.py", STREAM, "--steps", 3)
    matches(["classes: " + " ".join(CLASSES), *[rf"{CLASS} [1-4] \d+ ms"] * 3], lines)
    assert all(CLASSES[int(code) - 1] == label for label, code in (line.split()[:2] for line in lines[1:]))


def test_osc_receiver_prints_each_decision_once_with_the_axes(address, osc_port):
    lines = lines_of(sys.executable, EXAMPLES / "osc_receiver.py", "--port", osc_port, "--steps", 3)
    matches([rf"{STREAM} \d+ \d+\.\d+ {CLASS} [01]\.\d+ axes:( -?[01]\.\d\d)?"] * 3, lines)
    assert len({line.split()[1] for line in lines}) == 3


def test_psychopy_script_runs_without_it_and_its_markers_arrive(address):
    with connect(address, token=READ) as stream:
        events = stream.events("marker", capacity=1000)
        lines = lines_of(
            *(sys.executable, EXAMPLES / "psychopy_markers.py", address, "--token", CONTROL),
            *("--trials", 2, "--seconds", 2, "--terminal"),
        )
        markers = list(itertools.islice(events, 4))
    trial = [r"\+", "[<>]", "", rf"(left_hand|right_hand): decided {CLASS} after \d\.\d\d s"]
    matches([*trial, *trial, "All markers are taken."], lines)
    cues = [line.partition(":")[0] for line in (lines[3], lines[7])]
    assert [one.data["label"] for one in markers] == [cues[0], "imagery_end", cues[1], "imagery_end"]
    times = [one.data["time"] for one in markers]
    assert times == sorted(times)
    assert times[1] - times[0] >= 2.0


@pytest.fixture(scope="module")
def csharp(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("csharp"), CLIENTS / "csharp" / "examples" / "Listen.cs")


def test_csharp_client_reads_every_kind_of_message(address, csharp):
    with csharp(f"ws://{address}/ws", READ) as process:
        lines = until(process, rf"decision \d+ {CLASS} [01]\.\d\d, \d+ ms old")
        lines += until(process, r"axes \d+ x=-?[01]\.\d\d")
        process.kill()
    assert re.fullmatch(rf"hello {STREAM}: {' '.join(CLASSES)} This model .*", lines[0])
    assert lines[1] == "connected"
    assert any(re.fullmatch(rf"prediction \d+ {CLASS} [01]\.\d\d, \d+ ms old", line) for line in lines)
    assert "event state: Predictions are fresh." in lines


def test_csharp_client_ends_with_a_wrong_token(address, csharp):
    with csharp(f"ws://{address}/v1/streams/{STREAM}/predictions", "wrong") as process:
        lines = process.stdout.read().splitlines()
        assert process.wait(30) == 1
    assert len(lines) == 1
    assert re.fullmatch(r"ended: .*token.*", lines[0])
