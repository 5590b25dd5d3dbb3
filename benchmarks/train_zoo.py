"""Make the demonstration bundle: AttentionBaseNet trained on simulated people through the live pipeline.

    python benchmarks/train_zoo.py models/mindwire_models/zoo/simulated-4class
    python benchmarks/train_zoo.py --policy-only models/mindwire_models/zoo/simulated-4class

Every window that trains the network comes out of the pipeline that runs live (causal filters, online
alignment as it was at that moment), never out of a shortcut. People who train, people who choose the epoch
and people who judge the result have different seeds; the last are never looked at before the end. The control policy
is tuned on further people.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mindwire.control.policy import choose_policy
from mindwire.evaluation.control import ControlRun, ControlTask, CuedTrial
from mindwire.evaluation.tuning import TunedPolicy, tune
from mindwire.inference.load import load_decoder
from mindwire.pipeline import Pipeline
from mindwire.sources.board import REST
from mindwire.sources.simulator import Simulator
from mindwire.types import Prediction, Window
from mindwire_models import AttentionBaseNet
from mindwire_models.bundle import Bundle, load_bundle, write_policy
from mindwire_models.contract import Contract
from mindwire_models.export import export_bundle
from mindwire_models.presets import BCIC2A
from mindwire_models.training.fast_training import fast_forward

NAME = "simulated-4class"
# Far from the small seeds that people try first, so that the demonstration shows somebody unseen.
TRAINING = range(1000, 1012)
CHOOSING = range(2000, 2002)
JUDGING = range(3000, 3006)
TRAINING_SECONDS, JUDGING_SECONDS = 180.0, 300.0
# Ends of the windows that are learned from, in seconds after the cue: early ones make the bars move early.
TUNING = range(4000, 4016)
TUNING_SECONDS, REST_SECONDS = 300.0, 12.0
TRIAL_SECONDS = 4.2  # shortest time from a cue to the end of the imagery
BUDGET_PER_MINUTE = 1.0
OFFSETS = (2.0, 2.6, 3.2, 4.0)
JUDGED_AT = 4.0
EPOCHS, BATCH, LEARNING_RATE = 10, 32, 3e-3

CONTRACT = BCIC2A.model_copy(update={"reference": "simulated, none"})


class _NoDecoder:
    """Stands where the decoder will be while the windows to train it are collected."""

    engine = device = reason = "none"

    def session(self) -> None:
        return None

    def decode(self, sessions: Sequence[None], windows: Sequence[Window]) -> NDArray[np.float32]:
        del sessions, windows
        raise AssertionError("collecting decodes nothing")


def collect(seeds: Sequence[int], seconds: float, offsets: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Aligned windows ``(n_windows, n_channels, window_samples)`` and their class numbers."""
    windows, labels = [], []
    for seed in seeds:
        simulator = Simulator(seed)
        pipeline = Pipeline(CONTRACT, simulator.info, _NoDecoder())
        cues: list[tuple[float, int]] = []
        for _ in range(round(seconds * CONTRACT.sfreq / 10)):
            chunk = simulator.read(10)
            cues += [(marker.time, CONTRACT.classes.index(marker.label)) for marker in simulator.drain_markers()]
            for window in pipeline.advance(chunk):
                since = window.time - cues[-1][0] if cues else -1.0
                if window.valid and any(
                    0 <= since - offset < CONTRACT.hop_samples / CONTRACT.sfreq for offset in offsets
                ):
                    windows.append(torch.from_numpy((window.samples @ window.alignment.T).T.copy()))
                    labels.append(cues[-1][1])
    return torch.stack(windows), torch.tensor(labels)


def train(seed: int) -> AttentionBaseNet:
    """The network after the epoch with the lowest loss on people it was not trained on."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    x, y = collect(TRAINING, TRAINING_SECONDS, OFFSETS)
    x_choose, y_choose = collect(CHOOSING, TRAINING_SECONDS, OFFSETS)
    print(f"{len(x)} windows of {len(TRAINING)} people to train, {len(x_choose)} of {len(CHOOSING)} to choose")
    network = AttentionBaseNet(
        n_times=CONTRACT.window_samples, n_chans=CONTRACT.n_channels, n_outputs=len(CONTRACT.classes),
        sfreq=CONTRACT.sfreq, attention_mode="se",
    )  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-2)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    best, kept = float("inf"), network.state_dict()
    for epoch in range(EPOCHS):
        network.train()
        for batch in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            loss_of(fast_forward(network, x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.inference_mode():
            logits = torch.cat([network(part) for part in x_choose.split(64)])
        loss = float(nn.functional.cross_entropy(logits, y_choose))
        accuracy = float((logits.argmax(1) == y_choose).double().mean())
        print(f"epoch {epoch + 1:2d}: loss {loss:.4f}, accuracy {accuracy:.3f}", flush=True)
        if loss < best:
            best, kept = loss, {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network


def judge(bundle: Bundle, contract: Contract) -> tuple[int, int]:
    """Trials decoded rightly at :data:`JUDGED_AT` after the cue, and all, as the live service decodes them."""
    decoder = load_decoder(bundle)
    right = total = 0
    for seed in JUDGING:
        simulator = Simulator(seed)
        pipeline = Pipeline(contract, simulator.info, decoder)
        predictions: list[Prediction] = []
        for _ in range(round(JUDGING_SECONDS * contract.sfreq / 250)):
            predictions += pipeline.process(simulator.read(250))
        times = np.array([prediction.time for prediction in predictions])
        for marker in simulator.drain_markers():
            at = int(np.searchsorted(times, marker.time + JUDGED_AT - 1e-9))
            if at < len(times) and predictions[at].valid:
                right += contract.classes[int(np.argmax(predictions[at].probabilities))] == marker.label
                total += 1
    return right, total


def tuned_policy(bundle: Bundle) -> TunedPolicy:
    """Return a control policy tuned on cued trials and runs of rest."""
    contract = bundle.contract
    decoder = load_decoder(bundle, purpose="recording")
    task = ControlTask.of(contract, None, TRIAL_SECONDS)
    runs = []
    for seed in TUNING:
        simulator = Simulator(seed, rest_s=REST_SECONDS)
        pipeline = Pipeline(contract, simulator.info, decoder)
        predictions: list[Prediction] = []
        for _ in range(round(TUNING_SECONDS)):
            predictions += pipeline.process(simulator.read(250))
        markers = simulator.drain_markers()
        rest = [(marker.time, marker.time + REST_SECONDS) for marker in markers if marker.label == REST]
        ends = TUNING_SECONDS - TRIAL_SECONDS
        trials = [
            CuedTrial(marker.time, marker.time + TRIAL_SECONDS, marker.label)
            for marker in markers
            if marker.label != REST and marker.time < ends
        ]
        rows = [(p.time, p.probabilities.tolist() if p.valid else None) for p in predictions]
        runs.append(ControlRun(str(seed), rows, trials, rest))
    return tune(runs, task, budget_per_minute=BUDGET_PER_MINUTE)


def provenance(result: str) -> str:
    """Return the text of the model card on the origin."""
    return f"""**For demonstration only. Trained on simulated EEG, this model knows nothing of real brains**: it shows that
Mindwire runs, and says nothing about how well imagined movement can be decoded from anybody's EEG. Never use it on a person.

Data: `Simulator` of `service/mindwire/sources/simulator.py`, seeds {TRAINING.start}–{TRAINING.stop - 1} to train and
{CHOOSING.start}–{CHOOSING.stop - 1} to choose the epoch, {TRAINING_SECONDS:g} s each, conditioned and aligned by the pipeline that runs
live. Windows end {", ".join(f"{offset:g}" for offset in OFFSETS)} s after the cue.

{result}

Made by `benchmarks/train_zoo.py`; licence BSD-3-Clause, as Mindwire."""


def main() -> None:
    """Make the bundle and its control policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the bundle")
    parser.add_argument("--seed", type=int, default=0, help="of the network's initial weights and the batches")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the result depends on it in the last digits")
    parser.add_argument("--policy-only", action="store_true", help="keep the network, tune the control policy again")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    if not options.policy_only:
        make(options.out, options.seed)
    tuned = tuned_policy(load_bundle(options.out))
    choose_policy(write_policy(load_bundle(options.out), tuned.policy.to_json()))
    print(tuned.policy.to_json())
    for name, counts in (("tuned", tuned.counts), ("held out", tuned.held_out), ("raw argmax", tuned.raw)):
        print(
            f"{name}: {counts.false_activations} false activations in {counts.rest_minutes:.1f} min of rest, "
            f"{counts.right} of {counts.trials} trials right, {counts.wrong_first} wrong first"
        )


def make(out: Path, seed: int) -> None:
    """Train, export, judge the exported bundle, and write the judgement into its model card."""
    network = train(seed)
    export_bundle(network, CONTRACT, out, name=NAME, provenance=provenance("Not judged yet."))
    right, total = judge(load_bundle(out), CONTRACT)
    result = (
        f"Result: {right} of {total} trials ({right / total:.1%}; chance 25 %) of {len(JUDGING)} simulated people not seen in "
        f"training (seeds {JUDGING.start}–{JUDGING.stop - 1}) are decoded rightly {JUDGED_AT:g} s after the cue."
    )
    export_bundle(network, CONTRACT, out, name=NAME, provenance=provenance(result))
    print(result)


if __name__ == "__main__":
    main()
