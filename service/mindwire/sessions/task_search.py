"""The last task of a stream on disk, which another process may go on with."""

from __future__ import annotations

from pathlib import Path

from mindwire.sessions.folder import is_recorded_elsewhere
from mindwire.sessions.task import UNFINISHED, TaskState, last_task


class TaskSearch:
    """Search of the sessions for the last task of a stream."""

    def __init__(self, root: Path, stream: str) -> None:
        self._root = root
        self._stream = stream
        self._held: tuple[Path, int] | None = None  # session of a task elsewhere, and when its files changed

    @property
    def elsewhere(self) -> bool:
        """True if the task that was found last is not finished, and its session held by another process."""
        return self._held is not None

    def forget(self) -> None:
        """Leave a task elsewhere, because the stream has its own now."""
        self._held = None

    def has_changed(self) -> bool:
        """Return true if the session of a task elsewhere has changed or was let go."""
        if self._held is None:
            return False
        folder, changed = self._held
        return _changed_at(folder) != changed or not is_recorded_elsewhere(folder)

    def find(self) -> tuple[Path, TaskState] | None:
        """Return the last task with its session's folder; None where there is none, or it is elsewhere."""
        while True:
            found = last_task(self._root, self._stream)
            if found is None or found[1].state not in UNFINISHED or not is_recorded_elsewhere(found[0]):
                self._held = None
                return found
            held = found[0], _changed_at(found[0])
            if held == self._held:  # nothing changed while it was read
                return None
            self._held = held


def _changed_at(folder: Path) -> int:
    """Return when a file of a folder was last put in the place of another, as tasks are; 0 where it cannot be read."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
