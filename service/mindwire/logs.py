"""Log records: one line each, as text or as JSON, without control characters for the terminal.

A record names the stream that it concerns, and the model that the stream runs, in its attributes ``stream`` and ``model``
(``extra=`` of a call of ``logging``). For records of a thread that works for one stream :data:`subject` gives both, and for
those that name a stream alone :data:`streams`.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from weakref import WeakValueDictionary

from mindwire_models.text import printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_MAX_LENGTH = 8000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Subject(Protocol):
    """Stream that log records concern."""

    def log_fields(self) -> Mapping[str, str]:
        """Return the fields of its records: stream and model."""


# Those of this process by name.
streams: WeakValueDictionary[str, Subject] = WeakValueDictionary()
# Returns the fields, stream and model, of records of this thread.
subject: ContextVar[Callable[[], Mapping[str, str]] | None] = ContextVar("mindwire_log_subject", default=None)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record that are neither logging's nor private to a library; called in the thread of the record."""
    own = {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
    about = subject.get()
    if "stream" in own:
        named = streams.get(own["stream"]) if "model" not in own else None
        about = named.log_fields if named is not None else None
    return {**(about() if about is not None else {}), **own}


class PrintableFormatter(logging.Formatter):
    """Formatter as text, which shows control characters, which may come from the network or a file, as escapes.

    Parameters
    ----------
    form : str
    worker : int or None
        Number of the worker process.
    """

    def __init__(self, form: str = LOG_FORMAT, worker: int | None = None) -> None:
        super().__init__(form)
        self._worker = "" if worker is None else f"worker {worker}: "

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record, in which the name of its stream stands before the message."""
        stream = _fields(record).get("stream")
        shown = f"{self._worker}{f'{stream}: ' if stream else ''}{record.message}"
        return printable(self._style.format(logging.makeLogRecord({**vars(record), "message": shown})), _MAX_LENGTH)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback with each line escaped."""
        return "\n".join(printable(line) for line in super().formatException(ei).split("\n"))


class JsonFormatter(logging.Formatter):
    """Formatter as one JSON object per line: ``time``, ``level``, ``logger``, ``message``, and what else is known.

    Parameters
    ----------
    worker : int or None
        Number of the worker process.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._worker,
            **_fields(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_handler(form: Literal["auto", "text", "json"] = "text", worker: int | None = None) -> logging.Handler:
    """Return a handler for standard error; ``auto`` is text on a terminal and JSON elsewhere."""
    handler = logging.StreamHandler()
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(PrintableFormatter(worker=worker) if text else JsonFormatter(worker))
    return handler
