"""Decisions and axes over OSC (``pip install python-osc``), of ``mindwire serve … --osc 9000``.

python osc_receiver.py [--port 9000] [--steps N]
"""

from __future__ import annotations

import argparse
import threading

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer


def main() -> None:
    """Print each decision once, with the axes as they are then."""
    parser = argparse.ArgumentParser(description="Decisions and axes over OSC.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--steps", type=int, default=0)
    arguments = parser.parse_args()
    axes: dict[str, tuple[float, ...]] = {}
    last: dict[str, int] = {}
    n = 0

    def steer(address: str, *values: float) -> None:
        axes[address.split("/")[2]] = values

    def act(address: str, label: str, confidence: float, seq: int, time: float) -> None:
        nonlocal n
        stream = address.split("/")[2]
        if last.get(stream) == seq:  # the network may deliver a datagram twice
            return
        last[stream] = seq
        n += 1
        numbers = "".join(f" {value:.2f}" for value in axes.get(stream, ()))
        print(f"{stream} {seq} {time:.3f} {label} {confidence:.2f} axes:{numbers}", flush=True)
        if n == arguments.steps:
            threading.Thread(target=server.shutdown).start()  # it waits for this function

    dispatcher = Dispatcher()
    dispatcher.map("/mindwire/*/decision", act)
    dispatcher.map("/mindwire/*/axes", steer)
    with BlockingOSCUDPServer(("127.0.0.1", arguments.port), dispatcher) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
