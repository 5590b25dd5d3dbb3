"""A websocket client in a process of its own: reads until told to stop, then says what it saw as JSON."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--receive-buffer", type=int)
    arguments = parser.parse_args()
    host, port = arguments.url.split("/")[2].split(":")
    sock = socket.create_connection((host, int(port)))
    if arguments.receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, arguments.receive_buffer)
    stop = fresh = False

    def finish(*_):
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, finish)
    seqs, ages, dropped, closed = [], [], [], None
    with connect(arguments.url, sock=sock, compression=None) as websocket:
        print("connected", flush=True)
        while not stop:
            try:
                message = json.loads(websocket.recv(timeout=0.2))
            except TimeoutError:
                continue
            except ConnectionClosed as error:
                closed = error.rcvd.code if error.rcvd else 1006
                break
            if message["type"] == "prediction":
                ages.append(time.monotonic() - message["time"])
                seqs.append(message["seq"])
                if dropped and not fresh and ages[-1] < 0.5:
                    fresh = True
                    print("fresh", flush=True)
            elif message.get("kind") == "dropped":
                dropped.append(message["data"]["count"])
    missing = seqs[-1] - seqs[0] + 1 - len(seqs) if seqs else 0
    report = {
        "received": len(seqs),
        "missing": missing,
        "in_order": seqs == sorted(set(seqs)),
        "dropped": dropped,
        "median_age_ms": sorted(ages)[len(ages) // 2] * 1000 if ages else None,
        "p99_age_ms": sorted(ages)[int(len(ages) * 0.99)] * 1000 if ages else None,
        "last_age_ms": ages[-1] * 1000 if ages else None,
        "closed": closed,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
