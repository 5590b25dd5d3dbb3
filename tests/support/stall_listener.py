"""Websocket client that keeps every message."""

from __future__ import annotations

import json
import threading

from websockets.sync.client import connect


class Listener:
    """A websocket client that keeps what it hears."""

    def __init__(self, address: str) -> None:
        self.messages: list[dict] = []
        self._address = address
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        with connect(f"ws://{self._address}/ws", ping_interval=None) as self._connection:
            for text in self._connection:
                self.messages.append(json.loads(text))

    @property
    def predictions(self) -> list[dict]:
        return [message for message in self.messages if message["type"] == "prediction"]

    @property
    def valid(self) -> int:
        return sum(prediction["valid"] for prediction in self.predictions)

    def events(self, kind: str) -> list[dict]:
        return [message for message in self.messages if message.get("kind") == kind]

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._thread.join(10)
