"""Text of the network and of files reaches no message, log, event or terminal as it is."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading

import pylsl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import MindwireError, SourceError
from mindwire.logs import PrintableFormatter
from mindwire.offline.trials import shown
from mindwire.sources.lsl_discovery import Selector, describe
from mindwire.status import Event
from mindwire.types import SignalInfo
from mindwire_models.text import counted, printable
from tests.support.streaming import unique

HOSTILE = "a\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202eRTL\n2026-01-01 00:00:00 ERROR forged\r\x00\u2028\ud800z"


@given(st.text(st.characters()))
def test_what_is_shown_is_visible_and_stays_as_it_is(text):
    once = printable(text)
    assert all(c.isprintable() or c in "\xa0\u3000" or c.isspace() for c in once)
    assert not set(once) & set("\x1b\x9b\n\r\u2028\u2029\u202e\u2066\u200f\x85")
    assert printable(once) == once
    once.encode("utf-8")


@pytest.mark.parametrize("text", ["µV Käppchen – 左手 👍", "עברית", ""])
def test_letters_of_all_scripts_stay(text):
    assert printable(text) == text


def test_long_text_is_shortened():
    assert printable("x" * 1000, 10) == "xxxxxxxxx…"


def test_errors_and_events():
    for kind in (MindwireError, SourceError):
        assert str(kind(f"found {HOSTILE}")).isprintable()
    event = Event("cap", "marker", HOSTILE, 0.0, {"label": HOSTILE, "time": 1.0})
    assert event.message.isprintable()
    assert event.data["label"].isprintable()
    assert event.data["time"] == 1.0


def test_streams_in_messages_and_labels_of_markers():
    info = SignalInfo(HOSTILE, HOSTILE, 250.0, 2, source_id=HOSTILE, hostname=HOSTILE * 1000)
    assert describe(info).isprintable()
    assert len(describe(info)) < 600
    assert shown(HOSTILE).isprintable()


def test_log_records_are_a_line_each():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    error = ValueError(HOSTILE)
    for level, message, info in ((30, f"found {HOSTILE}", None), (40, "failed", (ValueError, error, None))):
        handler.handle(logging.LogRecord("hostile", level, "", 0, message, (), info))
    first, second, *traceback = stream.getvalue().rstrip("\n").split("\n")
    assert first.startswith("WARNING found a")
    assert second == "ERROR failed"
    assert traceback[0].startswith("ValueError: a")
    assert all(line.isprintable() for line in (first, *traceback))


@pytest.fixture
def hostile_outlet():
    name = unique("hostile")
    info = pylsl.StreamInfo(
        name, "EEG\x9b\u202e\n", 2, 250, pylsl.cf_float32, f"{name}\x9b31m\u202e\n2026 ERROR forged"
    )
    channels = info.desc().append_child("channels")
    for label in ("C3\x9b", "C4\n\u202e"):
        channels.append_child("channel").append_child_value("label", label)
    outlet, stop = pylsl.StreamOutlet(info), threading.Event()

    def send():
        while not stop.wait(0.04):
            outlet.push_chunk([[1.0, 2.0]] * 10)

    thread = threading.Thread(target=send)
    thread.start()
    yield name
    stop.set()
    thread.join()


@pytest.mark.parametrize(
    "command",
    [
        ("streams", "--timeout", "1.5"),
        ("streams", "--timeout", "1.5", "--json"),
        ("serve", "--model", "MODEL", "--no-wait", "--port", "0", "--stream"),
    ],
    ids=["table", "json", "serve"],
)
def test_hostile_outlets_on_the_terminal(hostile_outlet, command):
    from mindwire_models.zoo import zoo_bundle_path

    words = [str(zoo_bundle_path()) if word == "MODEL" else word for word in command]
    if words[-1] == "--stream":
        words.append(str(Selector(name=hostile_outlet)))
    done = subprocess.run([sys.executable, "-m", "mindwire", *words], capture_output=True, text=True, timeout=90)
    said = done.stdout + done.stderr
    assert hostile_outlet in said
    assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize(
    "words",
    [
        ("replay", f"{HOSTILE[:-2]}.xdf".replace("\x00", "")),
        ("inspect", HOSTILE[:-2].replace("\x00", "")),
        ("serve", "--stream", HOSTILE[:-2].replace("\x00", "")),
        ("replay", f"--{HOSTILE[1:-2]}".replace("\x00", "")),
        (HOSTILE[1:-2].replace("\x00", ""),),
    ],
    ids=["recording", "bundle", "stream", "option", "command"],
)
def test_hostile_names_on_the_command_line(words, monkeypatch, capsys):
    from mindwire.cli.main import run

    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # what run sets ends with the test
    monkeypatch.setattr(sys, "argv", ["mindwire", *words])
    assert run() in (1, 2)
    said = capsys.readouterr().err.removesuffix("\n")
    assert said.startswith("mindwire: ")
    assert said.isprintable()


def test_one_of_a_thing_is_told_in_the_singular():
    assert [counted(n, "channel") for n in (0, 1, 22)] == ["0 channels", "1 channel", "22 channels"]
    markers = SignalInfo("Markers", "Markers", 0.0, 1)
    assert "1 channel, irregular" in describe(markers)
