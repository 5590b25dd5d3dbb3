"""Recordings of one stream: begun and ended, one after another, while the stream runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire.errors import RecordingError
from mindwire.sinks.free_space import free_bytes
from mindwire.status import RecordingRequest, RecordingStatus

if TYPE_CHECKING:
    from mindwire.live.loaded_model import LoadedModel
    from mindwire.live.stream import Stream
    from mindwire.sinks.recorder import Recorder

# Time for a recording to be written, read through and hashed at its end.
_COMPLETE_S = 20.0


class Recordings:
    """Beginning and end of a stream's recordings; may be called from any thread.

    Parameters
    ----------
    stream : Stream
    make : callable or None
        Makes a recorder as a request says; raises RecordingError. None where nothing can be recorded on request.

    Attributes
    ----------
    recorder : Recorder or None
        The present one.
    make : callable or None
    folder : Path or None
        Where recordings are written, for :attr:`free_bytes`.
    """

    def __init__(self, stream: Stream, make: Callable[[Stream, RecordingRequest], Recorder] | None) -> None:
        self.recorder: Recorder | None = None
        self._stream = stream
        self.make = make
        self.folder: Path | None = None
        self._lock = threading.Lock()  # of beginnings and ends

    @property
    def file(self) -> str | None:
        """Name of the file that is being written; None while nothing is recorded."""
        return None if (path := self.path) is None else path.name

    @property
    def path(self) -> Path | None:
        """File that is being written; None while nothing is recorded."""
        return None if (recorder := self.recorder) is None else recorder.path

    @property
    def collecting(self) -> Path | None:
        """File that what happens now will be in; None while LabRecorder starts or has ended."""
        return recorder.path if (recorder := self.recorder) is not None and recorder.collects else None

    @property
    def free_bytes(self) -> int | None:
        """Bytes that the disk of recordings has left; None without a folder, or while its disk does not answer."""
        return None if self.folder is None else free_bytes(self.folder)

    def use_model(self, model: LoadedModel) -> None:
        """Note another model, for what begins in the present recording and for later ones."""
        self.make = model.make_recorder
        if (recorder := self.recorder) is not None and model.details:
            recorder.details = model.details
            if recorder.session is not None and model.path is not None:
                recorder.session.use_model(model.path)

    def status(self) -> RecordingStatus | None:
        """Return what is being recorded; None while nothing is."""
        recorder = self.recorder
        return None if recorder is None else recorder.describe()

    def begin(self, request: RecordingRequest) -> RecordingStatus:
        """Begin a recording between two chunks.

        A new pipeline begins with it, so that every prediction can be repeated from the recording. It has learnt of the
        person what the one before had; as after a connection, predictions are valid once filters and window have settled.
        Blocks until LabRecorder receives samples, for seconds at most. Without a source the recording begins with one.

        Raises
        ------
        RecordingError
            The stream is being recorded already, or cannot be.
        """
        stream = self._stream
        with self._lock:
            if self.recorder is not None:
                msg = f"Stream {stream.name!r} is being recorded already; end that recording first."
                raise RecordingError(msg)
            if self.make is None:
                msg = "Recordings take a folder for sessions and the outlets on LSL; start the service with --sessions DIR."
                raise RecordingError(msg)
            recorder = self.make(stream, request)
            recorder.attach(stream.reporter.emit)
            if (source := stream.source) is not None:
                recorder.start(source)
                if recorder.path is None:
                    recorder.close()
                    msg = f"The recording of stream {stream.name!r} cannot be begun; its events say why."
                    raise RecordingError(msg)

            def attach() -> None:
                self.attach(recorder)
                stream.renew_pipeline()

            stream.between_chunks(attach)
            return recorder.describe()

    def attach(self, recorder: Recorder) -> None:
        """Record with this recorder from now on; call it between two chunks."""
        self.recorder = recorder
        recorder.attach(self._stream.reporter.emit)
        self._stream.reporter.add_sink(recorder)

    def end(self, ending: str = "ended on request", only: Recorder | None = None) -> RecordingStatus:
        """End the recording between two chunks; return once its file is complete, or after seconds if it is not.

        Raises
        ------
        RecordingError
            The stream is not being recorded, or by another recorder than ``only``.
        """
        stream = self._stream
        with self._lock:
            if (recorder := self.recorder) is None or only not in (None, recorder):
                msg = f"Stream {stream.name!r} is not being recorded."
                raise RecordingError(msg)

            def detach() -> None:
                recorder.report_end()
                self.recorder = None
                stream.reporter.remove_sink(recorder)

            stream.between_chunks(detach)
            recorder.ending = ending
            recorder.close()
            recorder.wait(_COMPLETE_S)
            status = recorder.describe()
        stream.reporter.emit("recording", f"The recording to {status.file} has ended.", {"recording": False})
        return status
