"""Repetition of a recorded run whose model changed while it ran: pipelines that join each other on the same signal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mindwire.control.controller import Controller
from mindwire.errors import BundleError
from mindwire.inference.decoder import Decoder
from mindwire.offline.recorded_run import ModelChange, RecordedModel
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Prediction, Reason, SignalInfo
from mindwire_models.contract import Contract

# Contract and decoder by the model's hash.
Models = Mapping[str, tuple[Contract, Decoder]]


def make_pipeline(models: Models, model: RecordedModel, *, info: SignalInfo, options: PipelineOptions) -> Pipeline:
    """Return a pipeline of a run, without its control; a BundleError says that its model was not given."""
    if model.sha256 not in models:
        msg = f"The run also used the model {model.name} ({model.sha256[:12]}), which was not given."
        raise BundleError(msg)
    contract, decoder = models[model.sha256]
    # Decisions are made again of the predictions that the recording holds.
    return Pipeline(contract, info, decoder, replace(options, policy=None, control=()))


class ChangingPipeline:
    """The pipelines between a beginning of the signal and the next, of which one at a time is in use.

    ``times`` receives the times of windows of each that comes into use, with the number of predictions before it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        changes: Sequence[ModelChange],
        make: Callable[..., Pipeline],
        times: list[tuple[int, tuple[float, float]]],
    ) -> None:
        self.running = pipeline
        self._pipelines = {0: pipeline}
        used = {change.pipeline for change in changes if change.options is None}
        self._changes = deque(change for change in changes if change.pipeline in used)
        self._make, self._times = make, times

    def process(self, chunk: Chunk, predictions: list[Prediction]) -> None:
        """Take a chunk, and append the predictions of whichever pipeline is in use."""
        start, discontinuity = 0, chunk.discontinuity
        while start < len(chunk):
            while self._changes and self._changes[0].samples <= self.running.samples:
                self._change(self._changes.popleft(), len(predictions))
            stop = len(chunk)
            if self._changes:
                stop = min(stop, start + self._changes[0].samples - self.running.samples)
            piece = Chunk(chunk.samples[start:stop], chunk.times[start:stop], discontinuity)
            for other in self._pipelines.values():
                if other is not self.running:
                    other.advance(piece)
                    other.drain_events()
            predictions += self.running.process(piece)
            start, discontinuity = stop, Reason.NONE

    def _change(self, change: ModelChange, n_predictions: int) -> None:
        if change.options is not None:
            joining = self._pipelines[change.pipeline] = self._make(change.model, options=change.options)
            joining.join(self.running)
            return
        pipeline = self._pipelines.get(change.pipeline)
        if pipeline is not None and pipeline is not self.running:
            pipeline.succeed(self.running)
            self.running = pipeline
            self._times.append((n_predictions, control_times(pipeline)))


def control_times(pipeline: Pipeline) -> tuple[float, float]:
    """Return the length of a pipeline's windows and the time between two, in seconds, for its controller."""
    return Controller.times_of(pipeline.contract, pipeline.hop_samples)
