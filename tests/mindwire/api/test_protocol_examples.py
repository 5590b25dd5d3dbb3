"""The examples of the protocol's documentation, run as they stand against a real service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.types import SUSPECT, Reason
from tests.support.standin import StandIn, served

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
NODE = shutil.which("node")


def example(language: str, address: str, shows: str = "probabilities") -> str:
    (code,) = [code for code in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if shows in code]
    assert len(code.strip().splitlines()) <= 20
    return code.replace("127.0.0.1:8000", address)


def first_line(command: list[str]) -> str:
    stream = StandIn()
    always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
    stream.control(ControlPolicy(evidence=Latest(), decide=always))
    with served(stream) as address:
        stream.start()
        command = [part.replace("ADDRESS", address) for part in command]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            line = process.stdout.readline()
            process.kill()
        stream.stop()
    return line


def test_python():
    line = first_line([sys.executable, "-u", "-c", example("python", "ADDRESS")])
    assert re.fullmatch(r"\d+\.\d{3} (feet|left_hand|right_hand|tongue) 0\.\d\d\n", line), line


def test_python_acts_on_decisions():
    line = first_line([sys.executable, "-u", "-c", example("python", "ADDRESS", "decision")])
    assert re.fullmatch(r"(feet|left_hand|right_hand|tongue) 0\.\d+\n", line), line


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_javascript():
    line = first_line([NODE, "--experimental-websocket", "-e", example("js", "ADDRESS")])
    assert re.fullmatch(r"[\d.]+ (feet|left_hand|right_hand|tongue) 0\.\d+\n", line), line


def test_every_reason_is_documented_with_its_validity():
    rows = re.findall(r"^\| (`.+?`) \| .*? \| (yes|no) \|$", DOCUMENT, re.MULTILINE)
    documented = {name: valid == "yes" for names, valid in rows for name in re.findall(r"`(\w+)`", names)}
    assert documented == {reason.labels[0]: bool(reason & SUSPECT) for reason in Reason if reason}
