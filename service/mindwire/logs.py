"""Formatting of log records: one line each, without control characters for the terminal."""

import logging
from typing import Any

from mindwire_models.text import printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_MAX_LENGTH = 8000


class PrintableFormatter(logging.Formatter):
    """Formatter that shows control characters, which may come from the network or a file, as escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        return printable(super().formatMessage(record), _MAX_LENGTH)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback with each line escaped."""
        return "\n".join(printable(line) for line in super().formatException(ei).split("\n"))


def log_handler(form: str = LOG_FORMAT) -> logging.Handler:
    """Return a handler for standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(form))
    return handler
