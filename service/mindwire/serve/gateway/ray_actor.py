"""Worker on a node of a Ray cluster: the actor that starts its process there, and ends with it.

Ray places the actor and notices its end; everything else goes from gateway to worker directly.
"""

from __future__ import annotations

import subprocess

import msgspec

from mindwire import __version__
from mindwire.serve.gateway.process import PROGRAM, WorkerReport, WorkerStart


class MindwireWorker:
    """Actor of one worker; its methods run in threads, so that one may wait while another kills."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def node(self) -> str:
        """Return the identifier of the node that Ray has chosen."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def start(self, line: bytes, version: str) -> bytes:
        """Start the worker, which listens on the node's address; returns its first report, empty if it has ended."""
        import ray

        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if version != __version__:
            refused = (
                f"The node {host} has Mindwire {__version__}, the gateway {version}; install the same on all nodes."
            )
            return msgspec.json.encode(WorkerReport(refused=refused))
        start = msgspec.json.decode(line, type=WorkerStart)
        start = msgspec.structs.replace(start, listen=msgspec.structs.replace(start.listen, host=host))
        self._process = process = subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        process.stdin.write(msgspec.json.encode(start) + b"\n")
        process.stdin.flush()
        return process.stdout.readline()

    def wait(self) -> int:
        """Wait until the worker has ended; returns its code as of :mod:`subprocess`."""
        return 0 if self._process is None else self._process.wait()

    def end(self, patience: float) -> None:
        """End the worker in order, by force after ``patience`` seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def kill(self) -> None:
        """End the worker by force."""
        if self._process is not None:
            self._process.kill()
