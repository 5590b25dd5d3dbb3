"""A service in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Service:
    """A running ``mindwire serve``, or another command that serves."""

    def __init__(self, *arguments: object, command: str = "serve") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mindwire", command, "--port", "0", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        for line in self.process.stdout:
            if match := re.search(r"http://(\S+:\d+)", line):
                return match[1]
        raise AssertionError(self.process.stderr.read())

    def discard_log(self) -> None:
        """Read what the service logs and forget it; a full pipe would stop the service."""
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def end(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; seconds until the process has ended."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - begin


@contextmanager
def service(*arguments: object):
    running = Service(*arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def refused(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mindwire", "serve", "--port", "0", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    sentences = [line for line in done.stderr.splitlines() if line.startswith("mindwire: ")]
    assert len(sentences) == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return done.returncode, sentences[0]


def get(address: str, path: str) -> dict:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
        return json.load(answer)


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health/ready", timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False


def request(address, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://{address}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=40) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def until(condition, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
