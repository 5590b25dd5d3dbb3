"""A stream with a signal whose recordings are names, for tests of tasks."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from mindwire.errors import RecordingError
from mindwire.status import RecordingStatus, StreamState


def today() -> str:
    return time.strftime("%Y-%m-%d")


class TaskStream:
    """What tasks need of a stream."""

    def __init__(self, name: str = "eeg") -> None:
        self.name, self.state, self.reason = name, StreamState.LIVE, "Predictions are fresh."
        self.source = object()
        self.events: list[dict] = []
        self.reporter = SimpleNamespace(emit=lambda kind, message, data: self.events.append({"kind": kind, **data}))
        self.recordings = self
        self.model = SimpleNamespace(exists=False)
        self.contract = SimpleNamespace(classes=())
        self.control_setting = SimpleNamespace(policy=None)
        self.listeners: set = set()
        self.markers = SimpleNamespace(add=self.listeners.add, remove=self.listeners.discard)
        self.file: str | None = None
        self.participant: str | None = None
        self.recorder: object | None = None
        self.collects = True
        self.runs = 0
        self.refuses: Exception | None = None

    @property
    def collecting(self):
        return self.path if self.collects else None

    @property
    def path(self):
        return None if self.file is None else Path("sessions", self.participant, today(), self.file)

    def status(self):
        if self.participant is None:
            return None
        file = f"{self.participant}/{today()}/{self.file}"
        return RecordingStatus(recording=True, participant=self.participant, date=today(), file=file)

    def begin(self, request):
        if self.refuses is not None:
            raise self.refuses
        self.runs += 1
        self.participant, self.file, self.recorder = request.participant, f"run-{self.runs:02d}.xdf", object()
        return self.status()

    def end(self, only=None):
        if self.participant is None or only not in (None, self.recorder):
            msg = "not recorded"
            raise RecordingError(msg)
        self.participant = self.file = self.recorder = None
