"""The JavaScript client in Node, asked for one message at a time; its messages as those of the Python client."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

import msgspec

from mindwire_client import Connection, Hello, Message, Missed
from mindwire_client.messages import decode

PROGRAM = Path(__file__).parents[1] / "javascript" / "messages_on_demand.js"


def node() -> list[str]:
    """Return the command of Node with websockets; empty if it is not installed, or older than Node 20."""
    path = shutil.which("node")
    if path is None:
        return []
    version = int(subprocess.check_output([path, "--version"], text=True).removeprefix("v").partition(".")[0])
    return [] if version < 20 else [path, *(["--experimental-websocket"] if version < 22 else [])]


class JavascriptError(Exception):
    """Error of the client: its name and its sentence."""


class JavascriptMessages:
    """Messages of a stream in a program of its own, which reads all the time and gives them on demand.

    Attributes
    ----------
    hello : Hello
        Description of the stream, the newest that was given.
    """

    def __init__(self, address: str, *, capacity: int = 64, **options: object) -> None:
        command = [*node(), str(PROGRAM), address, json.dumps(options), str(capacity)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> JavascriptMessages:
        try:
            hello = self._read()
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        assert isinstance(hello, Hello)
        self.hello = hello
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate("" if kind is not None else "close\n", timeout=60)

    def poll(self, timeout_s: float = 1.0) -> Message | None:
        """Return the next message, or None if there is none within about ``timeout_s`` seconds; raise the client's error."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            if (message := self._read()) is not None or time.monotonic() >= deadline:
                return message

    def _read(self) -> Message | None:
        line = self._process.stdout.readline()
        assert line, "The program of the client has ended."
        content = json.loads(line)
        if content is None:
            return None
        if content["type"] == "error":
            raise JavascriptError(content["name"], content["message"])
        notice = {"missed": Missed, "connection": Connection}.get(content["type"])
        message: Message = msgspec.convert(content, notice) if notice else decode(line)
        if isinstance(message, Hello):
            self.hello = message
        return message
