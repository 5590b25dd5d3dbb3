"""Log records as text and as JSON lines, with the stream and model that they concern."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from mindwire.logs import JsonFormatter, PrintableFormatter, log_handler, streams, subject

ABOUT = {"stream": "eeg", "model": "imagery@0123"}


@pytest.fixture
def lines():
    """Log to a formatter; returns the lines."""
    log = logging.getLogger("mindwire.tests")
    log.propagate, log.level = False, logging.DEBUG

    def written(formatter, act):
        output = io.StringIO()
        handler = logging.StreamHandler(output)
        handler.setFormatter(formatter)
        log.handlers = [handler]
        act(log)
        return output.getvalue().splitlines()

    return written


def in_a_thread_of_a_stream(act):
    def run():
        subject.set(lambda: ABOUT)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_json_has_time_level_logger_message_and_what_is_known(lines):
    (line,) = lines(JsonFormatter(2), lambda log: log.warning("%d \n\x1b[31m", 3, extra={**ABOUT, "event": "gap"}))
    found = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "warning",
        "logger": "mindwire.tests",
        "message": "3 \n\x1b[31m",
        "worker": 2,
        "event": "gap",
        **ABOUT,
    }


def test_json_has_the_traceback(lines):
    def fail(log):
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            log.exception("It failed.")

    (line,) = lines(JsonFormatter(), fail)
    assert json.loads(line)["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("extra", [None, {**ABOUT, "stream": "other"}], ids=["thread", "record"])
def test_a_record_of_a_streams_thread_is_of_the_stream_unless_it_says_otherwise(lines, extra):
    name = "eeg" if extra is None else "other"
    act = lambda log: in_a_thread_of_a_stream(lambda: log.info("Unit taken as uV.", extra=extra))  # noqa: E731
    (line,) = lines(JsonFormatter(), act)
    assert json.loads(line).items() >= {**ABOUT, "stream": name}.items()
    (text,) = lines(PrintableFormatter("%(levelname)s %(message)s", 2), act)
    assert text == f"INFO worker 2: {name}: Unit taken as uV."


def test_a_record_that_names_a_stream_has_its_model(lines):
    class Stream:
        def log_fields(self):
            return ABOUT

    streams["eeg"] = stream = Stream()
    (line,) = lines(JsonFormatter(), lambda log: log.info("Paused.", extra={"stream": "eeg"}))
    assert json.loads(line)["model"] == ABOUT["model"]
    del stream  # and nothing keeps it
    (line,) = lines(JsonFormatter(), lambda log: log.info("Paused.", extra={"stream": "eeg"}))
    assert "model" not in json.loads(line)


def test_a_line_of_no_stream_has_none(lines):
    assert lines(PrintableFormatter("%(message)s"), lambda log: log.info("All streams.")) == ["All streams."]
    (line,) = lines(JsonFormatter(), lambda log: log.info("All streams."))
    assert not {"stream", "model", "worker"} & set(json.loads(line))


@pytest.mark.parametrize(("form", "terminal", "kind"), [
    ("auto", True, PrintableFormatter), ("auto", False, JsonFormatter),
    ("json", True, JsonFormatter), ("text", False, PrintableFormatter),
])  # fmt: skip
def test_the_form_follows_the_terminal_unless_it_is_given(monkeypatch, form, terminal, kind):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert type(log_handler(form).formatter) is kind
