"""Free space of folders, measured outside of the caller's thread: a disk on the network may take long to answer, or never do so."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

_KEPT_S = 1.0
_PATIENCE_S = 0.05
_LATE_S = 2.0


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that a folder's disk has left; None if it has not answered for two seconds, or never.

    However many ask, it is measured once a second at most. Those that ask while it is measured wait until 50 ms after its
    beginning at most, and then get the value before.
    """
    with _guard:
        measured = _measured.get(folder)
        if measured is None or (measured.answered.is_set() and time.monotonic() - measured.began >= _KEPT_S):
            measured = _measured[folder] = _Measurement(folder, None if measured is None else measured.free)
    measured.answered.wait(max(0.0, measured.began + _PATIENCE_S - time.monotonic()))
    late = not measured.answered.is_set() and time.monotonic() - measured.began >= _LATE_S
    return None if late else measured.free


class _Measurement:
    def __init__(self, folder: Path, before: int | None) -> None:
        self.folder = folder
        self.free = before
        self.began = time.monotonic()
        self.answered = threading.Event()
        threading.Thread(target=self._run, name="mindwire-free-space", daemon=True).start()

    def _run(self) -> None:
        try:
            self.free = shutil.disk_usage(self.folder).free
        except OSError:
            self.free = None
        finally:
            self.answered.set()


_guard = threading.Lock()
_measured: dict[Path, _Measurement] = {}
