"""Decoder as a user of ezmsg writes it: LSL inlet, window, and a unit that runs the plain ONNX export."""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import ezmsg.core as ez
import numpy as np
import onnxruntime
import pylsl
from ezmsg.lsl.inlet import LSLInfo, LSLInletSettings, LSLInletUnit
from ezmsg.sigproc.window import Window, WindowSettings
from ezmsg.util.messages.axisarray import AxisArray


class InferSettings(ez.Settings):
    onnx: str
    out: str


class Infer(ez.Unit):
    SETTINGS = InferSettings
    INPUT = ez.InputStream(AxisArray)

    async def initialize(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.SETTINGS.onnx, options, providers=["CPUExecutionProvider"])
        self.times, self.received = [], []

    @ez.subscriber(INPUT)
    async def on_window(self, message: AxisArray) -> None:
        data = message.data if message.dims[0] == "time" else np.moveaxis(message.data, message.dims.index("time"), 0)
        self.session.run(None, {"x": np.ascontiguousarray(data.T[None], dtype=np.float32)})
        axis = message.axes["time"]
        last = axis.data[-1] if hasattr(axis, "data") else axis.offset + axis.gain * (len(data) - 1)
        self.times.append(last)
        self.received.append(pylsl.local_clock())

    @ez.task
    async def watch(self) -> None:
        """End when nothing has come for a while."""
        import asyncio

        begin = pylsl.local_clock()
        while True:
            await asyncio.sleep(0.5)
            now = pylsl.local_clock()
            if (self.received and now - self.received[-1] > 4) or (not self.received and now - begin > 60):
                np.savez(self.SETTINGS.out, times=self.times, received=self.received)
                raise ez.NormalTermination


class Graph(ez.Collection):
    INLET = LSLInletUnit()
    WINDOW = Window()
    INFER = Infer()

    def __init__(self, inlet, window, infer) -> None:
        super().__init__()
        self._settings_of_units = (inlet, window, infer)

    def configure(self) -> None:
        inlet, window, infer = self._settings_of_units
        self.INLET.apply_settings(inlet)
        self.WINDOW.apply_settings(window)
        self.INFER.apply_settings(infer)

    def network(self):
        return (
            (self.INLET.OUTPUT_SIGNAL, self.WINDOW.INPUT_SIGNAL),
            (self.WINDOW.OUTPUT_SIGNAL, self.INFER.INPUT),
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--hop", type=int, required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    config = json.loads((options.bundle / "config.json").read_text())
    # a network need not know its rate; the contract does
    sfreq = json.loads((options.bundle / "contract.json").read_text())["sfreq"]
    packages = ("ezmsg", "ezmsg-lsl", "ezmsg-sigproc", "onnxruntime")
    print(json.dumps({name: version(name) for name in packages}), flush=True)
    time.sleep(0.1)
    graph = Graph(
        LSLInletSettings(info=LSLInfo(name=options.name), use_lsl_clock=True, processing_flags=pylsl.proc_clocksync),
        WindowSettings(window_dur=config["n_times"] / sfreq, window_shift=options.hop / sfreq,
                       zero_pad_until="none"),
        InferSettings(onnx=options.onnx, out=options.out),
    )  # fmt: skip
    ez.run(graph=graph, force_single_process=True)


if __name__ == "__main__":
    main()
