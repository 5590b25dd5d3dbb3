"""``mindwire demo`` as a person runs it: on a terminal, without one, and ended in every way."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.support.protocol import connect

COMMAND = [sys.executable, "-m", "mindwire", "demo", "--port", "0"]


class Terminal:
    """A demonstration on a terminal of its own, and all that it writes there."""

    def __init__(self) -> None:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
        self.process = subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.text = ""
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, descriptor) -> None:
        while True:
            try:
                piece = os.read(descriptor, 65536)
            except OSError:  # Linux: the other side has closed
                piece = b""
            if not piece:
                os.close(descriptor)
                return
            self.text += piece.decode(errors="replace")

    def wait_for(self, pattern, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return found


def ended(process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def terminal():
    one = Terminal()
    yield one
    if one.process.poll() is None:
        one.process.kill()
    one.process.wait()
    one._reader.join(5)


def test_on_a_terminal_and_on_the_websocket(terminal):
    address = terminal.wait_for(r"http://(127\.0\.0\.1:\d+)").group(1)
    seen = {}
    with connect(f"ws://{address}/ws", compression=None) as websocket:
        hello = json.loads(websocket.recv(timeout=10))
        deadline = time.monotonic() + 60
        while not {"valid", "cue", "decision"} <= set(seen):
            assert time.monotonic() < deadline, seen
            message = json.loads(websocket.recv(timeout=30))
            if message["type"] == "prediction":
                seen["valid" if message["valid"] else "invalid"] = message
            elif message["type"] != "event":
                seen[message["type"]] = message
            elif message["kind"] != "cue" or message["data"]["label"] in hello["classes"]:
                seen[message["kind"]] = message
    assert hello["stream"] == "demo"
    assert "simulated" in hello["model"]["notice"]
    assert "aligning" in seen["invalid"]["reasons"]
    assert sum(seen["valid"]["probabilities"]) == pytest.approx(1.0)
    assert seen["cue"]["data"]["label"] in hello["classes"]

    assert seen["decision"]["class"] in hello["classes"]
    assert set(seen["axes"]["values"]) == {"x", "y"}

    terminal.wait_for(r"right hand")
    terminal.wait_for(r"● decided")
    terminal.wait_for(r"◎ (?!target)")
    terminal.wait_for(r"● cursor  ◎ target")
    terminal.wait_for(r"live")
    terminal.wait_for(r"\d+ predictions")
    (person,) = (
        child for child in psutil.Process(terminal.process.pid).children() if "spawn_main" in str(child.cmdline())
    )
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(10) == 0
    assert "Traceback" not in terminal.text
    wait_until(lambda: ended(person))


def test_without_a_terminal_it_prints_lines_and_a_killed_one_leaves_nobody_behind():
    command = [*COMMAND, "--allow-origin", "https://game.example"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = [process.stdout.readline()]
        address = re.search(r"http://(\S+)", lines[0])[1]
        with connect(f"ws://{address}/ws", origin="https://game.example") as websocket:
            assert websocket.recv(timeout=10)
        while not any("not valid: aligning" in line for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        people = psutil.Process(process.pid).children()
        process.kill()
    assert re.fullmatch(r"Mindwire listens on http://127\.0\.0\.1:\d+ – Ctrl-C ends the demonstration\.\n", lines[0])
    assert any(line.startswith("connecting: ") for line in lines)
    assert re.search(r"feet [01]\.\d\d  left_hand [01]\.\d\d  right_hand [01]\.\d\d  tongue [01]\.\d\d", lines[-1])
    assert "\x1b" not in "".join(lines)
    assert people
    wait_until(lambda: all(map(ended, people)))


def imported_by_the_demonstration() -> list[str]:
    script = "import sys, mindwire.cli.demo, mindwire.serve.demo, mindwire.serve.terminal; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()


def test_nothing_reads_the_configuration_of_lsl_before_it_is_confined_to_this_machine():
    found = imported_by_the_demonstration()
    assert "mindwire.serve.demo" in found
    assert "mindwire.sources.liblsl" not in found


def test_the_simulator_and_what_it_takes_are_imported_by_the_participants_process_alone():
    assert not {"scipy.signal", "mindwire.sources.simulator"} & {*imported_by_the_demonstration()}
