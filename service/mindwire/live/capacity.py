"""How many streams one process carries, measured at its start, so that too many are refused and not slowed down.

What limits it is the one thread at a time that the interpreter lets work: conditioning, decoding and publishing of
all streams together must leave some of each second, or windows queue up and their age grows without bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mindwire.cores import usable_cores
from mindwire.errors import ServiceError
from mindwire.inference.decoder import MAX_BATCH, Decoder
from mindwire.live.decode_loop import Due, Worker
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.together import condition_together
from mindwire.sinks.hub import PredictionHub
from mindwire.types import Chunk, SignalInfo
from mindwire_models.contract import Contract

# Of each second; the rest is for the web server, searches, and what comes in bursts.
USABLE_SHARE = 0.8
# A pull from an inlet that was left alone for 40 ms and its place in the runner, per prediction: measured live with
# 75 to 100 streams in each of two processes, where a turn takes many. Warm it would take a tenth.
_PULL_S = 100e-6
# Between a stream's windows the caches forget it: live, the same work takes so many times what the rounds here take.
_COLD = 1.3
_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Load:
    """What streams of one kind ask for.

    Parameters
    ----------
    contract : Contract
    decoder : Decoder
    hop : int
        Samples between predictions.
    streams : int
    """

    contract: Contract
    decoder: Decoder
    hop: int
    streams: int


def seconds_per_prediction(load: Load) -> float:
    """Time that a prediction takes live, from rounds in which nothing disturbs, in the batches so many streams give."""
    law, together = load.contract, min(load.streams, MAX_BATCH)
    info = SignalInfo("", "EEG", law.sfreq, law.n_channels, law.channels, (law.unit,) * law.n_channels)
    hub = PredictionHub("", law)
    workers = [
        Worker(
            Pipeline(law, info, load.decoder, PipelineOptions(hop_samples=load.hop)), load.decoder, max_backlog_s=1e9
        )
        for _ in range(together)
    ]
    second = max(1, round(law.sfreq / load.hop))  # in rounds: what happens once a second must be among them
    settled = workers[0].pipeline.conditioner.timebase.tracker.start_samples
    filled = math.ceil(max(law.window_samples, settled) / load.hop) * load.hop
    n = filled + _SECONDS * second * load.hop
    samples = np.random.default_rng(0).standard_normal((n, law.n_channels)) * 20
    times = np.arange(len(samples)) / law.sfreq
    spent, begin = [], 0
    for end in range(filled, len(samples) + 1, load.hop):
        started = time.thread_time()
        _round(workers, load.decoder, hub, Chunk(samples[begin:end], times[begin:end]))
        spent.append(time.thread_time() - started)
        begin = end
    best = min(sum(spent[first : first + second]) for first in range(1, len(spent) - second + 1, second))
    return _COLD * best / (second * together) + _PULL_S


def _round(workers: list[Worker], decoder: Decoder, hub: PredictionHub, chunk: Chunk) -> None:
    """What the runner does in a turn, with the same samples for all."""
    conditioned = condition_together([worker.pipeline.conditioner for worker in workers], [chunk] * len(workers))
    due: list[tuple[Worker, Due]] = []
    for worker, part in zip(workers, conditioned, strict=True):
        windows = worker.pipeline.advance(chunk) if part is None else worker.pipeline.take(part)
        due += [(worker, one) for one in worker.due(windows, chunk.times[-1], 0.0, 0.0)]
    if not due:
        return
    logits = decoder.decode([worker.pipeline.session for worker, _ in due], [one.window for _, one in due])
    for (worker, one), row in zip(due, workers[0].pipeline.probabilities(logits), strict=True):
        hub.publish(worker.complete(one, row, 0.0))
        worker.drain_conditioned()


def check_capacity(loads: Sequence[Load], *, workers: int = 1) -> float:
    """Refuse more streams than one process carries.

    Parameters
    ----------
    loads : sequence of Load
    workers : int
        Processes that share this machine's cores, this one among them.

    Returns
    -------
    float
        Share of each second that the streams will take.

    Raises
    ------
    ServiceError
        They would take more than :data:`USABLE_SHARE`, or of a core that processes share, their part of it.
    """
    shares = [load.streams * load.contract.sfreq / load.hop * seconds_per_prediction(load) for load in loads]
    total = sum(shares)
    usable = USABLE_SHARE * min(1.0, usable_cores() / workers)
    if total <= usable:
        return total
    n = sum(load.streams for load in loads)
    carried = math.floor(n * usable / total)
    who = "this process" if workers == 1 else f"one of {workers} worker processes"
    msg = (
        f"{n} streams at this rate are more than {who} carries, which was measured to be about {carried}; "
        "give fewer streams, a longer --hop, or as many --workers as there are cores."
    )
    raise ServiceError(msg)
