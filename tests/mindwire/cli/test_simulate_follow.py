"""A simulated person on the network who follows the markers of a stream, through LSL."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import numpy as np
import pylsl
import pytest
from scipy.signal import butter, sosfilt

from mindwire.sources.board import Board
from mindwire_models.zoo import zoo_bundle_path
from tests.support.command_line import refused
from tests.support.service_process import ready, service
from tests.support.streaming import eventually

LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--follow", "a", "--closed-loop"), "With --follow the markers say what is done"),
        (("--follow", "a", "--rest", "3"), "With --follow the markers say what is done"),
        (("--follow", "a", "--classes", "nose"), "can imagine feet, left_hand"),
        (("--follow", "a", "--error", "2"), "between 0 and 1, found 2"),
        (("--classes", "feet"), "Without --follow"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, says, capsys):
    code, sentence = refused(capsys, "simulate", *options)
    assert code == 2
    assert says in sentence


def marker_outlet(stream, number):
    info = pylsl.StreamInfo(f"Mindwire-{stream}-Markers", "Markers", 1, 0, "string", f"{stream}-{number}")
    return pylsl.StreamOutlet(info)


class Listener:
    """Power of the mu rhythm over the right hemisphere, of the signal of a person, by time."""

    def __init__(self, name):
        [found] = pylsl.resolve_byprop("name", name, timeout=30)
        self.inlet = pylsl.StreamInlet(found, processing_flags=pylsl.proc_clocksync)
        self.times, self.rows = [], []
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stop.is_set():
            rows, times = self.inlet.pull_chunk(0.2)
            with self.lock:
                self.rows += rows
                self.times += times

    def power(self, begin, end):
        """Of C4 between two times; None while the signal does not reach that far."""
        with self.lock:
            times, rows = np.array(self.times), np.array(self.rows)
        if not len(times) or times[-1] < end:
            return None
        mu = sosfilt(butter(4, (8, 13), "bandpass", fs=250, output="sos"), rows[:, 0])
        return float(np.mean(mu[(times >= begin) & (times < end)] ** 2))


def test_the_rhythm_falls_after_a_cue_also_of_a_service_that_began_again():
    stream = f"follow-{uuid.uuid4().hex[:8]}"
    command = [
        sys.executable,
        "-m",
        "mindwire",
        "simulate",
        "--name",
        stream,
        "--follow",
        stream,
        "--channels",
        "C4,Cz",
    ]
    outlet = marker_outlet(stream, 1)
    person = subprocess.Popen([*command, "--artefacts", "none", "--depth", "0.95"], stdout=subprocess.PIPE, text=True)
    try:
        listener = Listener(stream)
        assert not pylsl.resolve_byprop("name", f"{stream}-Markers", timeout=1.0)  # the cues are another's
        for number in (1, 2):
            if number == 2:
                del outlet
                outlet = marker_outlet(stream, number)
            assert outlet.wait_for_consumers(30)
            cue = pylsl.local_clock()
            outlet.push_sample(["left_hand"], cue)
            outlet.push_sample(["imagery_end"], cue + 3.0)  # the time counts, not the arrival
            eventually(lambda until=cue + 7.0: listener.power(until - 1, until) is not None, 30)
            during, after = listener.power(cue + 1.0, cue + 3.2), listener.power(cue + 4.2, cue + 7.0)
            assert during < 0.25 * after, (during, after)
        listener.stop.set()
        listener.thread.join(5)
    finally:
        person.terminate()
        said, _ = person.communicate(timeout=20)
    assert "2 cues followed, 0 with an error; 0 of 0 targets reached." in said


def test_targets_are_reached_by_the_decisions_of_a_service():
    """The test is the task: it shows targets, moves the cursor by the decisions, and says what is reached."""
    name = f"steer-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "mindwire", "simulate", "--name", name, "--follow", name]
    outlet, board = marker_outlet(name, 1), Board()

    def send(label):
        board.show(label)
        outlet.push_sample([label])

    with service("--model", zoo_bundle_path(), "--stream", f"id={name},name={name}") as running:
        person = subprocess.Popen([*command, "--classes", "left_hand,right_hand"], stdout=subprocess.PIPE, text=True)
        try:
            address = running.address()
            eventually(lambda: ready(address), 60)
            decisions = pylsl.StreamInlet(pylsl.resolve_byprop("name", f"Mindwire-{name}-Decisions", timeout=30)[0])
            assert outlet.wait_for_consumers(30)
            decisions.open_stream(10)
            for target in ("target 1 0", "target -1 0"):
                send(target)
                deadline = pylsl.local_clock() + LIMIT_S
                while board.distance:
                    assert pylsl.local_clock() < deadline, target
                    label, _ = decisions.pull_sample(1.0)
                    board.move(label[0] if label else "")
                send("reached")
            send("task_end")
        finally:
            person.terminate()
            said, _ = person.communicate(timeout=20)
    assert "of 2 targets reached" in said
