"""Free space of folders, measured outside of the caller's thread: a disk on the network may take long to answer, or never do so."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

_KEPT_S = 1.0
_PATIENCE_S = 0.05


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that a folder's disk has left, at most a second old; None while it does not answer.

    However many ask, it is measured once a second at most. A disk that does not answer delays one caller by 50 ms.
    """
    with _guard:
        measured = _measured.get(folder)
        if measured is None or (measured.answered.is_set() and time.monotonic() - measured.began >= _KEPT_S):
            measured = _measured[folder] = _Measurement(folder)
    measured.answered.wait(max(0.0, measured.began + _PATIENCE_S - time.monotonic()))
    return measured.free


class _Measurement:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.free: int | None = None
        self.began = time.monotonic()
        self.answered = threading.Event()
        threading.Thread(target=self._run, name="mindwire-free-space", daemon=True).start()

    def _run(self) -> None:
        try:
            self.free = shutil.disk_usage(self.folder).free
        except OSError:
            pass
        finally:
            self.answered.set()


_guard = threading.Lock()
_measured: dict[Path, _Measurement] = {}
