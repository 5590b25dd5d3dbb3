"""A training step with the fast forward pass against the plain module in eager PyTorch.

Forward, backward and a step of Adam on the same data, interleaved in one run, so that what else the machine does
meets both; the ratio is that of the medians. For example

    python benchmarks/training_step.py --modes none,se,cat --threads 1,2
"""

import argparse
import copy
import statistics
import time

import torch
from torch import nn

from mindwire_models import AttentionBaseNet
from mindwire_models.network.attention import ATTENTION_MODES
from mindwire_models.training.fast_training import fast_forward


def step(network, forward, optimizer, x, y):
    """One step; returns its duration in seconds."""
    begin = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(forward(network, x), y).backward()
    optimizer.step()
    return time.perf_counter() - begin


def plain_forward(network, x):
    return network(x)


def compare(mode, options):
    """Durations in seconds of the plain and of the fast step, in pairs."""
    torch.manual_seed(0)
    x = torch.randn(options.batch, options.channels, options.samples)
    y = torch.randint(options.classes, (options.batch,))
    plain = AttentionBaseNet(options.samples, options.channels, options.classes, attention_mode=mode)
    fast = copy.deepcopy(plain)
    sides = [
        (network, forward, torch.optim.Adam(network.parameters(), 1e-3))
        for network, forward in ((plain, plain_forward), (fast, fast_forward))
    ]
    for side in sides:
        step(*side, x, y)
    return [[step(*side, x, y) for side in sides] for _ in range(options.repeats)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", default="none", help="attention modes, separated by commas, or 'all'")
    parser.add_argument("--threads", default="1", help="numbers of threads, separated by commas")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=22)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=4)
    options = parser.parse_args()
    modes = ["none", *ATTENTION_MODES] if options.modes == "all" else options.modes.split(",")
    print(f"torch {torch.__version__}, batch {options.batch}, {options.channels} x {options.samples}")
    print(
        f"{'mode':8} {'threads':>7} {'plain ms':>9} {'fast ms':>9} {'ratio':>6}   of {options.repeats} pairs, medians"
    )
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for mode in modes:
            pairs = compare(None if mode == "none" else mode, options)
            slow, quick = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
            print(f"{mode:8} {threads:7} {slow:9.1f} {quick:9.1f} {slow / quick:6.1f}", flush=True)


if __name__ == "__main__":
    main()
