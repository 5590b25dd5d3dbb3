"""Folder of a session while this process records into it: ``{root}/{participant}/{date}``.

A lock says who writes: it belongs to the open file, so that it ends with its process however that ends.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from mindwire import __version__
from mindwire.errors import RecordingError
from mindwire.session_names import check_participant
from mindwire.sessions.document import (
    MODELS,
    SESSION,
    Run,
    SessionDocument,
    read_session,
    updating,
    write_session,
)
from mindwire_models.atomic import replace_folder
from mindwire_models.bundle import SUMS, Bundle, load_bundle
from mindwire_models.errors import BundleError

log = logging.getLogger(__name__)

_LOCK = ".lock"
_MARKING_S = 0.5  # for which a service that starts may hold it, to mark what was left unfinished
_RUN = re.compile(r"run-(\d{2,9})\.xdf")
_guard = threading.Lock()  # of the sessions that this process holds, by their folders
_held: dict[Path, Session] = {}


def open_session(root: Path, participant: str, date: str | None = None) -> Session:
    """Open the session of a person on a day, today by default, for recording.

    Raises
    ------
    RecordingError
        The name cannot be a folder, the folder cannot be written, or another process records into it.
    """
    try:
        check_participant(participant)
    except ValueError as error:
        msg = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise RecordingError(msg) from error
    date = date or time.strftime("%Y-%m-%d")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_spelling(root, participant)
        folder = root.resolve() / participant / date
        with _guard:
            session = _held.get(folder) or Session(folder, participant, date)
            session.enter()
            _held[folder] = session
    except OSError as error:
        msg = f"The session of {participant} cannot be written in {root} ({error.strerror}); choose another folder with --sessions."
        raise RecordingError(msg) from error
    return session


def is_recorded(folder: Path) -> bool:
    """Return true while a process, this one included, holds a session."""
    try:
        handle = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that it takes part in no contest with others who ask.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def is_recorded_elsewhere(folder: Path) -> bool:
    """Return true while another process holds a session."""
    with _guard:
        return folder.resolve() not in _held and is_recorded(folder)


class Session:
    """A session that this process holds; streams of one process share it, and the last one to close it lets it go.

    Attributes
    ----------
    folder : Path
    participant, date : str
    active : set of int
        Runs that this process records now.
    """

    def __init__(self, folder: Path, participant: str, date: str) -> None:
        self.folder = folder
        self.participant = participant
        self.date = date
        self.active: set[int] = set()
        self._users = 0
        self._lock = -1

    def enter(self) -> None:
        """Count one more user; the first takes the lock.

        Raises
        ------
        RecordingError
            Another process has it, or ``session.json`` is damaged.
        OSError
            The folder cannot be written.
        """
        if not self._users:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                self._begin_document()
            except BaseException:
                os.close(self._lock)
                raise
        self._users += 1

    def close(self) -> None:
        """Let the session go once every user has closed it."""
        with _guard:
            self._users -= 1
            if not self._users:
                del _held[self.folder]
                os.close(self._lock)

    def begin_run(self, number: int | None, make: Callable[[int, str], Run]) -> Run:
        """Create the file of a run, the next one or of a given number, and enter it in ``session.json``.

        ``make`` returns the run's description for its number and file name.

        Raises
        ------
        RecordingError
            There is such a run already, or nothing can be written.
        """
        path: Path | None = None
        try:
            with updating(self.folder):
                document = read_session(self.folder)
                path = self._create(document, number)
                run = make(int(path.stem.removeprefix("run-")), path.name)
                write_session(self.folder, document.with_run(run))
                self.active.add(run.run)
        except OSError as error:
            if path is not None:
                with suppress(OSError):
                    path.unlink()
            msg = f"No run can be begun in {self.folder} ({error.strerror})."
            raise RecordingError(msg) from error
        return run

    def keep_bundle(self, bundle: Bundle) -> str:
        """Copy a bundle into the session unless it is there; return its folder in the session.

        Raises
        ------
        RecordingError
            It cannot be written.
        """
        name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', bundle.name).strip('.-') or 'model'}-{bundle.sha256[:8]}"
        target = self.folder / MODELS / name
        try:
            with suppress(BundleError):
                if load_bundle(target).sha256 == bundle.sha256:
                    return f"{MODELS}/{name}"
            files = dict(bundle.files)
            files.setdefault(SUMS, (bundle.path / SUMS).read_bytes())
            replace_folder(target, files, load_bundle)
        except (OSError, BundleError) as error:
            msg = f"The bundle {bundle.name} cannot be copied to {target} ({error})."
            raise RecordingError(msg) from error
        return f"{MODELS}/{name}"

    def _create(self, document: SessionDocument, number: int | None) -> Path:
        """Create the empty file of a run, never over one that is there."""
        there = {run.run for run in document.runs}
        there |= {int(found[1]) for path in self.folder.iterdir() if (found := _RUN.fullmatch(path.name))}
        while True:
            chosen = number or max(there, default=0) + 1
            path = self.folder / f"run-{chosen:02d}.xdf"
            if chosen not in there:
                with suppress(FileExistsError):
                    path.touch(exist_ok=False)
                    return path
            if number is not None:
                msg = f"The session {self.participant} of {self.date} has a run {number} already; leave the number out for the next one."
                raise RecordingError(msg)
            there.add(chosen)

    def _take_lock(self) -> None:
        path = self.folder / _LOCK
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        deadline = time.monotonic() + _MARKING_S
        while not _locked(handle):
            if time.monotonic() < deadline:
                time.sleep(_MARKING_S / 10)
                continue
            os.close(handle)
            msg = f"The session of {self.participant} on {self.date} is being recorded by {_holder(path)}; end that recording first."
            raise RecordingError(msg)
        holder = {"program": f"mindwire {__version__}", "pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder | {"since": time.strftime("%H:%M:%S")}).encode(), 0)
        self._lock = handle

    def _begin_document(self) -> None:
        with updating(self.folder):
            if not (self.folder / SESSION).exists():
                write_session(self.folder, SessionDocument(self.participant, self.date))
            else:
                read_session(self.folder)


def _locked(handle: int) -> bool:
    """Lock a file unless another process has it; return false then."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """Return a lock's holder in words."""
    try:
        holder = msgspec.json.decode(path.read_bytes(), type=dict[str, str | int])
        return f"process {holder['pid']} on {holder['host']} ({holder['program']}, since {holder['since']})"
    except (OSError, msgspec.DecodeError, KeyError):
        return "another process"


def _check_spelling(root: Path, participant: str) -> None:
    """Refuse a name that only differs in capitals from one that is there: some systems take the two for one."""
    same = [path.name for path in root.iterdir() if path.name.casefold() == participant.casefold()]
    if same and participant not in same:
        msg = f"There is a participant {same[0]} in {root}; use that spelling, or another name than {participant}."
        raise RecordingError(msg)
