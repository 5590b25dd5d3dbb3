"""Programs that listen to a running service, each in a process of its own: ``listeners.py ws|lsl TARGET COUNT``.

``listeners.py ws TARGET COUNT TYPE`` receives messages of all types until there are so many of this one. Each prints ``ready`` once it is connected, and at the end what it received as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from pathlib import Path

_PATIENCE_S = 60.0


async def websocket(url: str, count: int, last: str = "") -> list[dict]:
    import websockets

    found: list[dict] = []
    left = count
    async with websockets.connect(url) as connection:
        print("ready", flush=True)
        while left:
            message = json.loads(await asyncio.wait_for(connection.recv(), _PATIENCE_S))
            left -= message["type"] == (last or "prediction")
            if last or message["type"] == "prediction":
                found.append(message)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.support.protocol import checked  # once nothing waits for this process

    return [checked(message) for message in found]


def lsl(name: str, count: int) -> list[dict]:
    import pylsl

    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, 1, 20.0)[0], recover=False)
    inlet.open_stream(20.0)
    print("ready", flush=True)
    found: list[dict] = []
    heard = time.monotonic()
    while len(found) < count and time.monotonic() < heard + _PATIENCE_S:
        row, stamp = inlet.pull_sample(1.0)
        if row is not None:
            heard = time.monotonic()
            found.append({"time": stamp, "probabilities": [None if math.isnan(value) else value for value in row]})
    return found


if __name__ == "__main__":
    kind, target, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    received = asyncio.run(websocket(target, wanted, *sys.argv[4:])) if kind == "ws" else lsl(target, wanted)
    print(json.dumps(received), flush=True)
