"""A simulated person in closed loop with a running service, through LSL."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid

import pylsl
import pytest

from mindwire_models.zoo import zoo_bundle_path
from tests.support.command_line import refused
from tests.support.service_process import service

LIMIT_S = 150.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--decisions", "a"), "Without --closed-loop no decision is seen"),
        (("--closed-loop", "--error", "2"), "between 0 and 1, found 2"),
        (("--rest", "-1"), "found -1"),
        (("--depth", "1.5"), "found 1.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sentence = refused(capsys, "simulate", *options)
    assert code == 2
    assert says in sentence


def test_a_target_is_reached_by_the_decisions_of_a_service() -> None:
    name = f"closed-loop-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "mindwire", "simulate", "--closed-loop", "--decisions", name]
    with service("--model", zoo_bundle_path(), "--stream", f"id={name},source_id={name}"):
        person = subprocess.Popen([*command, "--name", name, "--source-id", name, "--error", "0"])
        try:
            found = pylsl.resolve_byprop("source_id", f"{name}-markers", timeout=30)
            inlet = pylsl.StreamInlet(found[0])
            labels: list[str] = []
            begin = time.monotonic()
            while "reached" not in labels:
                assert time.monotonic() < begin + LIMIT_S, labels
                row, _ = inlet.pull_sample(timeout=1.0)
                labels += row or []
        finally:
            person.kill()
            person.wait()
    assert any(label.startswith("target ") for label in labels)
