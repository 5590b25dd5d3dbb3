"""How log records become lines: one line each, and nothing in them that a terminal obeys."""

from __future__ import annotations

import logging
from typing import Any

from mindwire_models.text import printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_MAX_LENGTH = 8000


class PrintableFormatter(logging.Formatter):
    """Shows control characters and the like, which may come from the network or a file, as escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The record's line."""
        return printable(super().formatMessage(record), _MAX_LENGTH)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback, line by line."""
        return "\n".join(printable(line) for line in super().formatException(ei).split("\n"))


def log_handler(form: str = LOG_FORMAT) -> logging.Handler:
    """A handler for standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(form))
    return handler
