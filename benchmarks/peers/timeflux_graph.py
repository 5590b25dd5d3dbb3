"""What a user of timeflux writes: its LSL receiver, its sliding window, and a node that runs the plain ONNX export."""

import argparse
import json
import os
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pylsl
from timeflux.core.node import Node


class Infer(Node):
    """Runs the network on every window and notes when."""

    def __init__(self, onnx, out):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._out = out
        self._times, self._received = [], []
        self._offset = time.time() - pylsl.local_clock()

    def update(self):
        if not self.i.ready():
            return
        data = np.ascontiguousarray(self.i.data.to_numpy(dtype=np.float32).T[None])
        self._session.run(None, {"x": data})
        self._times.append(self.i.data.index[-1].timestamp() - self._offset)
        self._received.append(pylsl.local_clock())
        if len(self._times) == 1:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while pylsl.local_clock() - self._received[-1] < 3:
            time.sleep(0.3)
        np.savez(self._out, times=self._times, received=self._received)
        Path(f"{self._out}.done").touch()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--hop", type=int, required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    config = json.loads((options.bundle / "config.json").read_text())
    nodes = [
        {"id": "lsl", "module": "timeflux.nodes.lsl", "class": "Receive",
         "params": {"prop": "name", "value": options.name, "timeout": 5.0}},
        {"id": "window", "module": "timeflux.nodes.window", "class": "Slide",
         "params": {"length": config["n_times"] / config["sfreq"], "step": options.hop / config["sfreq"],
                    "rate": config["sfreq"]}},
        {"id": "infer", "module": "timeflux_graph", "class": "Infer",
         "params": {"onnx": options.onnx, "out": options.out}},
    ]  # fmt: skip
    edges = [{"source": "lsl", "target": "window"}, {"source": "window", "target": "infer"}]
    app = Path(options.out).with_suffix(".json")
    app.write_text(json.dumps({"graphs": [{"id": "peer", "rate": 1000, "nodes": nodes, "edges": edges}]}))
    print(json.dumps({name: version(name) for name in ("timeflux", "pylsl", "onnxruntime")}), flush=True)
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = here
    sys.path.insert(0, here)
    sys.argv = ["timeflux", str(app)]
    from timeflux.timeflux import main as timeflux

    def watch():
        while not Path(f"{options.out}.done").exists():
            time.sleep(0.3)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    timeflux()


if __name__ == "__main__":
    main()
