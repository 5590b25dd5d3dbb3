"""Decoder as a user of mne-lsl writes it: StreamLSL, the newest window at every hop, a network; eager or as plain ONNX."""

import argparse
import importlib.machinery
import json
import sys
import time
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")


def stub_torchaudio():
    """braindecode imports torchaudio, whose CPU build is not to be had everywhere; this network does not use it."""
    import torch

    def attribute(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})

    for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__getattr__ = attribute
        sys.modules[name] = module
    sys.modules["torchaudio"].functional = sys.modules["torchaudio.functional"]
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]


def eager(folder):
    import torch

    stub_torchaudio()
    from braindecode.models import AttentionBaseNet
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in config.items() if k not in ("activation", "chs_info", "input_window_seconds")}
    torch.set_num_threads(1)
    network = AttentionBaseNet(**config)
    network.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    network.eval()

    def infer(window):
        with torch.inference_mode():
            return network(torch.from_numpy(window)).numpy()

    return infer, {"torch": torch.__version__, "braindecode": version("braindecode")}


def onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda window: session.run(None, {"x": window})[0], {"onnxruntime": onnxruntime.__version__}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--hop", type=int, required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    infer, versions = onnx(options.onnx) if options.onnx else eager(options.bundle)
    import mne_lsl
    from mne_lsl.lsl import local_clock
    from mne_lsl.stream import StreamLSL

    config = json.loads((options.bundle / "config.json").read_text())
    # a network need not know its rate; the contract does
    n_times, sfreq = config["n_times"], json.loads((options.bundle / "contract.json").read_text())["sfreq"]
    infer(np.zeros((1, config["n_chans"], n_times), dtype=np.float32))
    stream = StreamLSL(bufsize=n_times / sfreq, name=options.name)
    stream.connect(acquisition_delay=0.001, timeout=60)
    print(json.dumps({"mne-lsl": mne_lsl.__version__, **versions}), flush=True)
    times, received, seen, waited, heard = [], [], 0, 0, time.monotonic()
    while time.monotonic() - heard < (4.0 if seen else 60.0):
        if stream.n_new_samples < options.hop:
            time.sleep(0.0005)
            continue
        fresh = stream.n_new_samples
        data, stamps = stream.get_data()
        heard = time.monotonic()
        seen += fresh
        if seen < n_times:
            continue
        infer(np.ascontiguousarray(data[None], dtype=np.float32))
        times.append(stamps[-1])
        received.append(local_clock())
        waited = max(waited, fresh)
    np.savez(options.out, times=times, received=received)


if __name__ == "__main__":
    main()
