"""Decodes a recording's windows in a process of its own, beside the one that reads and conditions it.

Conditioning and alignment hold Python's lock most of the time, and a decoder in another thread waits for it between any
two calls of ONNX Runtime. In another process it waits for nobody, so that a recording takes as long as the longer half.

The process is started as ``python -m mindwire.inference.beside BUNDLE``, with its end of a socket as standard input.
When that closes, for whatever reason, it ends.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import BundleError, MindwireError, ServiceError
from mindwire.inference.decoder import StatelessSession
from mindwire.inference.load import load_decoder
from mindwire.inference.offline import OfflineDecoder, Run
from mindwire.types import Window
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.graphs.recording_plan import most_windows

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

# Messages, of some seconds of signal each, that may be under way: enough to go on with while the other process starts.
_MOST_UNDER_WAY = 32
_END_S = 10.0
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class _Message:
    """Runs of windows, without the samples that they share.

    Parameters
    ----------
    hop : int
    counts : list of int
        Windows of each run.
    continues : list of bool
        Whether a run's first window follows the last one of the run before it.
    samples : ndarray of float32, shape (n_samples, n_chans)
        One behind the other: of a run that continues only those that the one before has not.
    alignments : ndarray of float32, shape (n_runs, n_chans, n_chans)
    """

    hop: int
    counts: list[int]
    continues: list[bool]
    samples: Array
    alignments: Array

    @classmethod
    def of(cls, runs: Sequence[Run], hop: int, n_times: int) -> _Message:
        """The message that carries some runs."""
        parts = [run.samples[n_times - hop :] if run.continues else run.samples for run in runs]
        return cls(
            hop,
            [run.n_windows for run in runs],
            [run.continues for run in runs],
            np.concatenate(parts),
            np.stack([run.alignment for run in runs]),
        )

    def runs(self, n_times: int) -> Iterator[tuple[Array, Array, int]]:
        """Each run's samples, alignment and number of windows."""
        end = begin = 0
        for count, continues, alignment in zip(self.counts, self.continues, self.alignments, strict=True):
            begin = end - (n_times - self.hop) if continues else end
            end = begin + n_times + (count - 1) * self.hop
            yield self.samples[begin:end], alignment, count


class DecoderBeside:
    """The other process, as a decoder of runs; a context manager, which starts and ends it.

    Parameters
    ----------
    bundle : Bundle
        With a graph for recordings.

    Raises
    ------
    BundleError
        It has none.
    ServiceError
        No process can be started.
    """

    engine = "onnxruntime"
    device = "cpu"
    reason = "the default engine; streaming, each sample computed once, in a process of its own"

    def __init__(self, bundle: Bundle) -> None:
        if bundle.streaming is None or not bundle.records:
            msg = f"{bundle.path} has no graph for recordings; export the bundle again."
            raise BundleError(msg)
        self._geometry = bundle.streaming
        self._process, self._link = _start(bundle.path)
        self._going: SimpleQueue[_Message | None] = SimpleQueue()
        self._sender = threading.Thread(
            target=_send_all, args=(self._link, self._going), name="mindwire-send", daemon=True
        )
        self._sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()  # nobody wants what is still to be sent
        self._going.put(None)
        self._sender.join()
        self._link.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def session(self) -> StatelessSession:
        """A marker of one stream; nothing is remembered from one call to the next."""
        return StatelessSession()

    def most_windows(self, hop: int) -> int:
        """Windows, each so many samples behind the one before, that are best decoded in one run."""
        return most_windows(self._geometry, hop)

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """Refused: single windows are for the decoders of this process.

        Raises
        ------
        ServiceError
            Always.
        """
        msg = (
            f"A process beside this one decodes runs, found {len(windows)} single windows of {len(sessions)} streams; "
            "load a decoder for them."
        )
        raise ServiceError(msg)

    def decode_runs(self, batches: Iterable[Sequence[Run]], hop: int) -> Iterator[Array]:
        """Logits of runs of windows; see :meth:`mindwire.inference.offline.OfflineDecoder.decode_runs`.

        Raises
        ------
        MindwireError
            What the other process says of why it cannot decode.
        ServiceError
            It has died.
        """
        under_way = 0
        try:
            for runs in batches:
                self._going.put(_Message.of(runs, hop, self._geometry.n_times))
                under_way += 1
                while under_way and (under_way > _MOST_UNDER_WAY or self._link.poll()):
                    yield self._receive()
                    under_way -= 1
            for _ in range(under_way):
                yield self._receive()
        except (EOFError, OSError) as error:
            msg = "The process that decodes has ended unexpectedly; was it killed, or is memory short? Replay again."
            raise ServiceError(msg) from error

    def _receive(self) -> Array:
        answer: Array | str = self._link.recv()
        if isinstance(answer, str):
            raise MindwireError(answer)
        return answer


def keep_memory() -> None:
    """Let freed memory stay with this process, where the C library can, and what was imported be no garbage.

    With each piece of a recording arrays of some hundred kilobytes come and go; glibc gives every one back to the system,
    and the system clears it before it is used again, which takes a tenth of a long replay.
    """
    gc.freeze()
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if set_option is not None:
        for what in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            set_option(what, _KEPT_BYTES)


def _start(bundle: Path) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = socket.socketpair()
    words = [sys.executable, "-P", "-m", "mindwire.inference.beside", str(bundle)]  # -P: nothing of the current folder
    with theirs:
        try:
            # A group of its own: Ctrl-C is for this process, whose end of the socket then closes.
            process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=sys.stderr, process_group=0)
        except OSError as error:
            ours.close()
            msg = f"The process that decodes cannot be started ({error.strerror}); is memory short?"
            raise ServiceError(msg) from error
    return process, Connection(ours.detach())


def _serve(link: Connection, bundle: Path) -> None:
    """Answer messages until the other end closes."""
    loaded = load_bundle(bundle)
    decoder = load_decoder(loaded, "onnxruntime", "cpu", purpose="recording")
    if not isinstance(decoder, OfflineDecoder):
        msg = f"{bundle} has no graph for recordings; export the bundle again."
        raise BundleError(msg)
    coming: SimpleQueue[_Message | Exception] = SimpleQueue()
    threading.Thread(target=_receive_all, args=(link, coming), name="mindwire-receive", daemon=True).start()
    while True:
        message = coming.get()
        if isinstance(message, (EOFError, ConnectionError)):
            return
        if isinstance(message, Exception):
            raise message
        runs = message.runs(loaded.contract.window_samples)
        logits = np.concatenate([decoder.decode_run(x, alignment, message.hop, n) for x, alignment, n in runs])
        try:
            link.send(logits)
        except ConnectionError:
            return


def _send_all(link: Connection, going: SimpleQueue[_Message | None]) -> None:
    """Send messages while others are made: one does not fit into the socket, and the other process may be busy."""
    while (message := going.get()) is not None:
        try:
            link.send(message)
        except OSError as error:
            # whoever waits for the answer learns that the other end is gone
            log.debug("The process that decodes takes nothing any more: %s", error)
            return


def _receive_all(link: Connection, coming: SimpleQueue[_Message | Exception]) -> None:
    """Take messages while others are decoded; no more are under way than the other process allows."""
    try:
        while True:
            coming.put(link.recv())
    except Exception as error:  # noqa: BLE001 - handed to the thread that decodes
        coming.put(error)


def main() -> None:
    """Decode what the socket at standard input asks for."""
    keep_memory()
    link = Connection(sys.stdin.fileno())
    try:
        _serve(link, Path(sys.argv[1]))
    except MindwireError as error:
        link.send(str(error))
    # Whoever started this process waits for its end, and there is nothing to be torn down.
    os._exit(0)


if __name__ == "__main__":
    main()
