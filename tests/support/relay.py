"""A TCP relay on loopback whose connections a test cuts or slows down, as a network does."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time

_PIECE = 64
_BUFFER = 4096  # bytes that wait unseen by the sender


class Relay:
    """Relay to ``HOST:PORT``; ``address`` is its own.

    Attributes
    ----------
    bytes_per_s : float
        Each connection passes on this many bytes a second in each direction.
    """

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self.bytes_per_s = math.inf
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, without a word of either side."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                far.connect(self._target)
            except OSError:
                far.close()
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(_BUFFER):
                while data:
                    n = len(data) if math.isinf(self.bytes_per_s) else _PIECE
                    time.sleep(min(n, len(data)) / self.bytes_per_s)
                    other.sendall(data[:n])
                    data = data[n:]
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(one)
        one.close()
