"""Shows that braindecode itself and Mindwire read each other's folders and compute the same.

For development only: it needs braindecode beside Mindwire's requirements, in an environment of its own, for example

    python -m venv /tmp/compare && /tmp/compare/bin/pip install torch braindecode huggingface_hub einops
    PYTHONPATH=. /tmp/compare/bin/python benchmarks/compare_braindecode.py

For every attention mode and some other arguments it saves a randomised network with one, loads it with the other,
strictly, and compares logits on random windows; both ways. Exit code 1 when any pair disagrees.
"""

import argparse
import contextlib
import importlib.machinery
import io
import platform
import sys
import tempfile
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from mindwire_models import AttentionBaseNet
from mindwire_models.network.attention import ATTENTION_MODES

EXACT, LOOSE = 1e-5, 1e-4


def stub_torchaudio():
    """Put an empty torchaudio in the way: braindecode imports it, but this network does not use it."""

    def attribute(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})

    for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__getattr__ = attribute
        sys.modules[name] = module
    sys.modules["torchaudio"].functional = sys.modules["torchaudio.functional"]
    sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]


def cases():
    """Name and arguments of every configuration that is compared."""
    base = {"n_times": 1000, "n_chans": 22, "n_outputs": 4, "sfreq": 250.0}
    yield "none", base
    for mode in ATTENTION_MODES:
        yield mode, base | {"attention_mode": mode}
    yield "ge extra_params use_mlp", base | {"attention_mode": "ge", "extra_params": True, "use_mlp": True}
    yield "srm use_mlp", base | {"attention_mode": "srm", "use_mlp": True}
    yield "fca freq_idx=3", base | {"attention_mode": "fca", "freq_idx": 3}
    yield "gsop n_times=120", base | {"attention_mode": "gsop", "n_times": 120}
    yield "cat n_times=120", base | {"attention_mode": "cat", "n_times": 120}
    yield "even kernels", base | {"temp_filter_length_inp": 24, "temp_filter_length": 10, "attention_mode": "encnet"}
    yield "PReLU, spatial_expansion=2", base | {"activation": nn.PReLU, "spatial_expansion": 2}
    channels = [{"ch_name": f"E{i}", "kind": 2, "loc": [0.1 * i] * 12} for i in range(22)]
    yield "chs_info", base | {"n_chans": None, "chs_info": channels}


def randomise(network, seed):
    """Random parameters and statistics, so that every path matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif tensor.is_floating_point() and not name.endswith(("gauss_filter.weight", "fca.weight")):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


def largest_difference(writer, reader, arguments, seed):
    """Save with one, load with the other, compare logits."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # short windows are rescaled with a warning by both
        network = randomise(writer(**arguments), seed)
        network.save_pretrained(folder)
        (Path(folder) / "pytorch_model.bin").unlink(missing_ok=True)
        options = {} if reader is AttentionBaseNet else {"strict": True}
        other = reader.from_pretrained(folder, **options).eval()
    x = torch.randn(8, 22, arguments["n_times"], generator=torch.Generator().manual_seed(seed + 1))
    with torch.inference_mode():
        return (network(x) - other(x)).abs().max().item()


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    stub_torchaudio()
    warnings.simplefilter("ignore")
    from braindecode.models import AttentionBaseNet as Original

    packages = ("braindecode", "torch", "huggingface_hub", "safetensors", "numpy")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages))
    print(f"{'largest difference of logits':32} {'ours -> braindecode':>20} {'braindecode -> ours':>20}")
    agrees = True
    for seed, (name, arguments) in enumerate(cases()):
        limit = LOOSE if str(arguments.get("attention_mode")).startswith("cat") else EXACT
        there = largest_difference(AttentionBaseNet, Original, arguments, seed)
        back = largest_difference(Original, AttentionBaseNet, arguments, seed)
        agrees &= there <= limit and back <= limit
        print(f"{name:32} {there:20.1e} {back:20.1e}")
    print("All agree." if agrees else "Some DISAGREE.")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
