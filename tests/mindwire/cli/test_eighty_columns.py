"""What the commands print on a terminal of 80 columns is neither cut nor jumps."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from mindwire.cli.console import wrapped
from mindwire.cli.streams import _block
from mindwire.serve.terminal import Newest, _picture
from mindwire.status import Event
from mindwire.types import ControlOutput, Decision, Prediction, SignalInfo
from mindwire_models.zoo import zoo_bundle_path
from tests.support.inspection import inspect


def picture(width: int, state: str, reason: str, newest: Newest, classes: list[str]) -> list[str]:
    status = SimpleNamespace(
        classes=classes,
        state=state,
        state_reason=reason,
        counters=SimpleNamespace(predictions=7),
        model=SimpleNamespace(notice="simulated"),
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(_picture(SimpleNamespace(status=lambda: status), newest, width))
    return console.export_text().splitlines()


@pytest.mark.parametrize("classes", [["feet", "left_hand"], ["a", "both_hands_and_feet_together_at_once"]])
def test_the_demonstration_has_one_height_and_fits(classes: list[str]) -> None:
    newest, heights = Newest(), set()
    decided = ControlOutput(Decision(0, 0.0, classes[0], 0.9), (), (0.9, 0.1), "active", None)
    long = "Predictions cannot be believed yet: aligning, settling. " * 3
    for cue in ("", classes[1]):
        for reason in ("Predictions are fresh.", long):
            if cue:
                newest.event(Event("demo", "cue", "", 0.0, {"label": cue}))
                newest.publish(Prediction(0, 0.0, np.array([0.0, 1.0]), control=decided))
            lines = picture(80, "settling", reason, newest, classes)
            heights.add(len(lines))
            assert max(map(len, lines)) <= 80
            assert sum("imagined now" in line for line in lines) == bool(cue)
            assert sum("● decided" in line for line in lines) == bool(cue)
    assert len(heights) == 1


def test_a_stream_is_told_without_a_word_broken() -> None:
    labels = tuple(f"C{n}" for n in range(1, 65))
    info = SignalInfo(
        name="EEG-S1",
        type="EEG",
        source_id="mindwire-replay-s1-run04-64ch-160hz-1",
        sfreq=160.0,
        n_channels=64,
        dtype="float32",
        labels=labels,
        units=("microvolts",) * 64,
        hostname="lab-pc-with-a-long-name.example.org",
    )
    block = _block(info, 80)
    assert block.splitlines()[0] == "EEG-S1: EEG, 64 channels, 160 Hz"
    assert max(map(len, block.splitlines())) <= 80
    for word in (info.source_id, "microvolts", info.hostname, *labels):
        assert word in block.split()
    assert _block(SignalInfo(name="M", type="", n_channels=1, sfreq=0.0), 80) == "M: no type, 1 channel, irregular"


def test_a_bundle_is_printed_within_eighty_columns() -> None:
    output = inspect(zoo_bundle_path()).output
    assert max(map(len, output.splitlines())) <= 80
    assert "channel_attention_block.attention_block" in output


def test_a_finding_of_the_doctor_goes_on_below_its_words() -> None:
    lines = wrapped("ok      timers: " + "a sleep is late, " * 10, 80, 8).splitlines()
    assert len(lines) > 1
    assert all(line.startswith(" " * 8) and len(line) <= 80 for line in lines[1:])
