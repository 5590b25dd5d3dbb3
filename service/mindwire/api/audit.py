"""The log of who changed what and of what was refused, and the count of refusals.

Strangers cannot fill a disk with it: refusals are logged a few at a time, for each client and for all, and the next line
says how many were left out. No token and no body is ever in it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from http import HTTPStatus
from typing import NamedTuple

from mindwire.api.limits import Allowance, ClientAllowances
from mindwire_models.text import printable

log = logging.getLogger("mindwire.audit")
log.setLevel(logging.INFO)  # whatever the level of the rest

_MAX_PATH = 200
_BY_CLIENT = ClientAllowances(rate=0.2, burst=10)
_BY_ALL = Allowance(time.monotonic(), rate=2.0, burst=60)

# Refused requests and connections of this process by reason, for `mindwire_refusals_total`.
refusals = Counter[str](dict.fromkeys(("content_type", "host", "origin", "rate", "scope", "token", "too_large"), 0))
# Requests that have changed something, by what: streams, models, control … for `mindwire_changes_total`.
changes = Counter[str](dict.fromkeys(("streams", "models", "model", "control", "adaptation", "recording"), 0))
_unlogged: Counter[str] = Counter()


class Asked(NamedTuple):
    """A request as the log names it."""

    client: str  # address
    who: str  # name of the token
    method: str = "connection"
    path: str = ""

    @property
    def _text(self) -> str:
        return f"{self.who} from {self.client or 'a local socket'}: {self.method} {printable(self.path, _MAX_PATH)}".rstrip()

    def log_change(self, status: int) -> None:
        """Count and log a request that changes something, with its result."""
        details = self._details(status)
        if status < HTTPStatus.BAD_REQUEST:  # /v1/models, /v1/streams/{stream}, /v1/streams/{stream}/control/pause
            parts = self.path.split("/")[2:5]
            changes[parts[2] if len(parts) > 2 else "".join(parts[:1])] += 1
            details |= {"stream": parts[1]} if parts[:1] == ["streams"] and len(parts) > 1 else {}
        log.info("%s: %d", self._text, status, extra=details)

    def refuse(self, reason: str, status: int) -> None:
        """Count and log a refusal."""
        refusals[reason] += 1
        now = time.monotonic()
        if not (_BY_CLIENT.take(self.client, now) and _BY_ALL.take(1, now)):
            _unlogged[reason] += 1
            return
        more = f"; {_unlogged.total()} more refusals were not logged" if _unlogged else ""
        _unlogged.clear()
        log.warning(
            "%s: refused with %d (%s)%s",
            self._text,
            status,
            reason,
            more,
            extra={**self._details(status), "reason": reason},
        )

    def _details(self, status: int) -> dict[str, object]:
        """Fields for structured logs."""
        return {
            "token": self.who, "client": self.client, "method": self.method, "path": printable(self.path, _MAX_PATH), "status": status,
        }  # fmt: skip
