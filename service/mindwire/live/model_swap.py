"""Change of a stream's model while it runs.

A *candidate* is a pipeline of its own, which joins the one in use and is given the same chunks. A thread loads its bundle and
makes its decoder ready; the stream's loop does the rest between two chunks, all of it counted in samples. Once the
candidate's windows are valid and it has shown that it is fast enough, it takes over, or runs in the shadow until somebody
decides. The pipeline that was replaced is conditioned and adapts for five minutes more, so that it can come back at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindwire.control.policy import ControlPolicy
from mindwire.errors import MindwireError, ModelConflictError
from mindwire.live.candidate import MEASURED, Candidate, Previous, identity, made_ready, needed_s
from mindwire.live.loaded_model import (
    CandidateStatus,
    LoadedModel,
    ModelSwapStatus,
    PreviousStatus,
    When,
)
from mindwire.live.shadow import Comparison
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Prediction, Reason, Window

if TYPE_CHECKING:
    from mindwire.live.stream import Stream

log = logging.getLogger(__name__)

LOAD_S = 120.0  # time that a bundle and its decoder may take until they are ready
WARM_S = 300.0  # time for which the model before stays warm
_LATE_S = 30.0  # beyond the signal that a candidate needs by its contract
_LARGEST_SHARE = 0.5  # of the time between two windows


class ModelSwap:
    """Candidate and predecessor of the model of one stream.

    Attributes
    ----------
    active : bool
        True while there is another pipeline than the one in use, or one is wanted: the loop then calls :meth:`step`.
    comparing : bool
        True while a model runs in the shadow.
    """

    def __init__(self, stream: Stream) -> None:
        self.active = self.comparing = False
        self._stream = stream
        self._lock = threading.Lock()
        self._candidate: Candidate | None = None
        self._previous: Previous | None = None
        self._back = False
        self._numbers: dict[int, int] = {}  # of pipelines that have joined, by identity
        self._n_joined = 0
        self._lost = ""

    # ── from other threads ───────────────────────────────────────────────────────────────────────────

    def request(self, path: Path, when: When) -> None:
        """Load a bundle, and use it as soon as it is ready, or run it in the shadow.

        Raises
        ------
        ModelConflictError
            Another change is under way, or there is no signal yet to run a shadow on.
        """
        stream, candidate = self._stream, Candidate(when, path.name)
        if when == "shadow" and stream.pipeline is None:
            msg = f"Stream {stream.name!r} has seen no signal yet, so no model can run in the shadow; change it with 'when': 'ready'."
            raise ModelConflictError(msg)
        with self._lock:
            if self._candidate is not None or self._back:
                msg = f"The model of stream {stream.name!r} is being changed already; promote or drop that candidate first."
                raise ModelConflictError(msg)
            self._candidate = candidate
        self._emit("loading", f"Model {path.name} is loaded.", {"name": path.name, "when": when})
        limit = threading.Timer(LOAD_S, self._give_up, (candidate, f"it was not loaded within {LOAD_S:g} s"))
        limit.daemon = True
        limit.start()
        threading.Thread(
            target=self._load, args=(candidate, path, limit), name=f"mindwire-load-{stream.name}", daemon=True
        ).start()

    def promote(self) -> None:
        """Let the shadow take over; raises ModelConflictError if there is none."""
        with self._lock:
            candidate = self._candidate
            if candidate is None or candidate.refused:
                msg = f"Stream {self._stream.name!r} has no candidate to promote."
                raise ModelConflictError(msg)
            candidate.promoted = True

    def drop(self) -> None:
        """End the candidate; raises ModelConflictError if there is none."""
        with self._lock:
            candidate = self._candidate
        if candidate is None:
            msg = f"Stream {self._stream.name!r} has no candidate to drop."
            raise ModelConflictError(msg)
        self._give_up(candidate, "", state="dropped")

    def rollback(self) -> None:
        """Use the model before again; raises ModelConflictError if it is no longer warm, or a change is under way."""
        with self._lock:
            if self._previous is None or time.monotonic() > self._previous.until:
                msg = f"Stream {self._stream.name!r} has no model to go back to: the one before stays warm for {WARM_S:g} s."
                raise ModelConflictError(msg)
            if self._candidate is not None:
                msg = (
                    f"The model of stream {self._stream.name!r} is being changed; promote or drop the candidate first."
                )
                raise ModelConflictError(msg)
            self._back = True

    def status(self) -> ModelSwapStatus:
        """Return what ``/v1/streams/{stream}/model`` gives."""
        candidate, previous = self._candidate, self._previous
        described = before = None
        if candidate is not None:
            model, pipeline = candidate.model, candidate.pipeline
            described = CandidateStatus(
                name=model.status.name if model else candidate.name,
                sha256=model.status.sha256 if model else "",
                when=candidate.when,
                state=candidate.state,
                carried=candidate.carried,
                valid_in_s=pipeline.seconds_until_valid if pipeline and candidate.carried is not None else None,
                load=candidate.load,
                comparison=candidate.comparison.status() if candidate.comparison else None,
            )
        if previous is not None:
            seconds = max(0.0, previous.until - time.monotonic())
            model_before = previous.model.status
            before = PreviousStatus(name=model_before.name, sha256=model_before.sha256, warm_for_s=seconds)
        return ModelSwapStatus(in_use=self._stream.model, candidate=described, previous=before)

    @property
    def other_models(self) -> list[str]:
        """The hashes of the candidate and of the model before, as far as there are any."""
        status = self.status()
        return [model.sha256 for model in (status.candidate, status.previous) if model is not None and model.sha256]

    def forget(self) -> None:
        """Give up all pipelines but the one in use, because the stream begins again; :meth:`begin` reports it."""
        with self._lock:
            if self._candidate is not None:
                self._lost = self._candidate.name
            self._candidate = self._previous = None
            self.active = self.comparing = self._back = False
            self._numbers, self._n_joined = {}, 0

    def begin(self) -> None:
        """Report what was given up when the stream ended before."""
        lost, self._lost = self._lost, ""
        if lost:
            self._emit("dropped", f"Model {lost} was dropped, because the stream began again.", {"name": lost})

    # ── in a thread that loads ───────────────────────────────────────────────────────────────────────

    def _load(self, candidate: Candidate, path: Path, limit: threading.Timer) -> None:
        try:
            model, pipeline = made_ready(self._stream, path)
        except MindwireError as error:
            self._give_up(candidate, str(error))
        except Exception as error:
            log.exception("The model %s could not be loaded", path.name, extra=self._stream.reporter.log_fields())
            self._give_up(candidate, f"it could not be loaded ({type(error).__name__}: {error})")
        else:
            with self._lock:
                if self._candidate is not candidate:
                    return
                candidate.model, candidate.pipeline = model, pipeline
                self.active = pipeline is not None
            if pipeline is None:  # it is in use: there was no signal yet
                with self._lock:
                    self._candidate = None
                self._emit("swapped", self._sentence(model, 0), {"seq": 0, **identity(model)})
        finally:
            limit.cancel()

    # ── in the loop's thread ─────────────────────────────────────────────────────────────────────────

    @property
    def others(self) -> Iterator[Pipeline]:
        """Pipelines that run, other than the one in use."""
        candidate, previous = self._candidate, self._previous
        if candidate is not None and candidate.pipeline is not None and candidate.carried is not None:
            yield candidate.pipeline
        if previous is not None:
            yield previous.pipeline

    def step(self, running: Pipeline) -> Pipeline:
        """Do what is due between two chunks; return the pipeline to use from now on."""
        candidate, previous = self._candidate, self._previous
        if previous is not None:
            if self._back:
                running = self._go_back(running, previous)
            elif time.monotonic() > previous.until:
                self._previous = None
                self._emit(
                    "dropped", f"Model {previous.model.status.name} is no longer kept warm.", identity(previous.model)
                )
        if candidate is not None and candidate.model is not None and candidate.pipeline is not None:
            if candidate.carried is None:
                with self._guarding(candidate.pipeline):
                    self._join(candidate, candidate.model, candidate.pipeline, running)
            else:
                running = self._step(candidate, candidate.model, candidate.pipeline, running)
        with self._lock:
            self.active = self._candidate is not None or self._previous is not None
        return running

    def _join(self, candidate: Candidate, model: LoadedModel, pipeline: Pipeline, running: Pipeline) -> None:
        candidate.carried = pipeline.join(running)
        candidate.began, candidate.state = pipeline.samples, "warming"
        self._n_joined += 1
        self._numbers[id(pipeline)] = self._n_joined
        carried = " and ".join(candidate.carried) or "nothing"
        message = f"Model {model.status.name} runs beside the one in use; carried over: {carried}."
        data = {"pipeline": self._n_joined, "samples": pipeline.samples, "carried": candidate.carried, **model.details}
        self._emit("warming", message, data | identity(model))

    def _step(self, candidate: Candidate, model: LoadedModel, pipeline: Pipeline, running: Pipeline) -> Pipeline:
        load = candidate.load
        if load is not None and load > _LARGEST_SHARE and candidate.state == "warming":
            self._give_up(
                candidate, f"it takes {load:.0%} of the time between two windows, expected at most {_LARGEST_SHARE:.0%}"
            )
        elif candidate.promoted or (candidate.state == "warming" and candidate.when == "ready"):
            if load is not None and pipeline.seconds_until_valid <= 0:
                return self._take_over(candidate, model, pipeline, running)
        elif candidate.state == "warming" and load is not None and pipeline.seconds_until_valid <= 0:
            hops = (one.hop_samples / one.contract.sfreq for one in (pipeline, running))
            candidate.state, candidate.comparison = "shadow", Comparison(min(hops) / 2)
            self.comparing = True
            self._emit(
                "shadow", f"Model {model.status.name} predicts in the shadow of the one in use.", identity(model)
            )
        if candidate.state == "warming" and self._seconds(candidate, running) > (
            limit := needed_s(pipeline.contract) + _LATE_S
        ):
            self._give_up(candidate, f"its predictions were not valid after {limit:.0f} s of signal")
        return running

    def _seconds(self, candidate: Candidate, running: Pipeline) -> float:
        return (running.samples - candidate.began) / (running.options.sfreq or running.info.sfreq)

    def _take_over(self, candidate: Candidate, model: LoadedModel, pipeline: Pipeline, running: Pipeline) -> Pipeline:
        with self._lock:
            if self._candidate is not candidate:
                return running
            self._candidate, self.comparing = None, False
        before, setting = self._stream.loaded, self._stream.control_setting
        changed = setting.policy == before.policy and model.policy not in (None, setting.policy)
        self._use(model, pipeline, running, model.policy if changed else None, "swapped")
        return pipeline

    def _go_back(self, running: Pipeline, previous: Previous) -> Pipeline:
        self._back = False
        now, policy = self._stream.loaded.policy, self._stream.control_setting.policy
        changed = policy == now and previous.policy != policy
        self._use(previous.model, previous.pipeline, running, previous.policy if changed else None, "rolled_back")
        return previous.pipeline

    def _use(
        self, model: LoadedModel, pipeline: Pipeline, running: Pipeline, policy: ControlPolicy | None, state: str
    ) -> None:
        stream = self._stream
        pipeline.succeed(running)
        for event in running.drain_events():
            stream.reporter.emit(event.kind, event.message, self.of_pipeline(running, event.data))
        self._previous = Previous(stream.loaded, running, stream.control_setting.policy, time.monotonic() + WARM_S)
        stream.use_model(model, pipeline)
        number = self._numbers.get(id(pipeline), 0)
        data = {"seq": pipeline.seq, "pipeline": number, "samples": running.samples, **identity(model)}
        self._emit(state, self._sentence(model, pipeline.seq), data)
        if policy is not None:
            stream.change_policy(pipeline, policy)

    def advance(self, chunk: Chunk, max_backlog_s: float) -> Iterator[tuple[Pipeline, Window, float]]:
        """Condition a chunk for the pipelines not in use; yield the candidate's windows with the milliseconds spent.

        Of windows of more than ``max_backlog_s`` only the newest is given. A candidate that fails is refused.
        """
        candidate, previous = self._candidate, self._previous
        if previous is not None:
            with self._guarding(previous.pipeline):
                previous.pipeline.advance(chunk)
        if candidate is None or candidate.pipeline is None or candidate.carried is None or candidate.refused:
            return
        begin, windows = time.perf_counter(), list[Window]()
        with self._guarding(candidate.pipeline):
            windows = candidate.pipeline.advance(chunk)
        spent_ms = (time.perf_counter() - begin) * 1e3
        hop_s = candidate.pipeline.hop_samples / candidate.pipeline.contract.sfreq
        for window in windows if (len(windows) - 1) * hop_s <= max_backlog_s else windows[-1:]:
            yield candidate.pipeline, window, spent_ms / len(windows)

    def take(self, pipeline: Pipeline, window: Window, row: Any, spent_ms: float) -> None:
        """Take a decoded window of a pipeline that is not in use, with the milliseconds spent on it."""
        candidate = self._candidate
        if candidate is None or candidate.pipeline is not pipeline:
            return
        prediction = pipeline.complete(window, row)
        if prediction.reasons & Reason.DECODER:
            self._give_up(candidate, "its probabilities are no numbers")
            return
        if len(candidate.durations_ms) < 10 * MEASURED:
            candidate.durations_ms.append(spent_ms)
        if candidate.comparison is not None:
            candidate.comparison.add(prediction, shadow=True)
            self._stream.reporter.publish_shadow(prediction)

    def compare(self, prediction: Prediction) -> None:
        """Compare a prediction of the model in use with the shadow's."""
        if (candidate := self._candidate) is not None and candidate.comparison is not None:
            candidate.comparison.add(prediction, shadow=False)

    def fail(self, pipeline: Pipeline, error: Exception) -> None:
        """Give up a pipeline that is not in use and raised an error."""
        log.error("A model that is not in use failed", exc_info=error)
        candidate, previous, what = self._candidate, self._previous, f"it failed ({type(error).__name__}: {error})"
        if candidate is not None and candidate.pipeline is pipeline:
            self._give_up(candidate, what)
        elif previous is not None and previous.pipeline is pipeline:
            self._previous, self._back = None, False
            name = previous.model.status.name
            self._emit("dropped", f"Model {name} is no longer kept warm: {what}.", identity(previous.model))

    @contextmanager
    def _guarding(self, pipeline: Pipeline) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - reported, and the model in use goes on
            self.fail(pipeline, error)

    def adapt(self, running: Pipeline, command: AdaptationCommand) -> None:
        """Carry out a command for every pipeline that adapts."""
        for pipeline in (running, *self.others):
            if pipeline.alignment is not None or pipeline.learner is not None:
                pipeline.adapt(command)

    def report(self) -> None:
        """Report the commands to pipelines that are not in use, for a recording; all else concerns the one in use."""
        for pipeline in self.others:
            with self._guarding(pipeline):
                pipeline.catch_up()
            for event in pipeline.drain_events():
                if event.kind == "adaptation":
                    self._stream.reporter.show(event.kind, event.message, self.of_pipeline(pipeline, event.data))

    def of_pipeline(self, pipeline: Pipeline, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an event's data with the number of the pipeline that it concerns, unless that is the stream's first."""
        number = self._numbers.get(id(pipeline), 0)
        return {**data, "pipeline": number} if number else data

    # ── reports ──────────────────────────────────────────────────────────────────────────────────────

    def _give_up(self, candidate: Candidate, why: str, state: str = "refused") -> None:
        """End a candidate; only the first call counts."""
        with self._lock:
            if self._candidate is not candidate or candidate.refused:
                return
            candidate.refused = why or state
            self._candidate, self.comparing = None, False
        model = candidate.model
        name = model.status.name if model else candidate.name
        message = (
            f"Model {name} was dropped."
            if state == "dropped"
            else f"Model {name} is refused and the present one stays: {why}"
        )
        about = identity(model) if model else {"name": name}
        self._emit(state, message if message.endswith(".") else f"{message}.", {**about, "reason": why})

    def _emit(self, state: str, message: str, data: Mapping[str, Any]) -> None:
        self._stream.reporter.emit("model", message, {"state": state, **data})

    def _sentence(self, model: LoadedModel, seq: int) -> str:
        return f"Model {model.status.name} ({model.status.sha256[:12]}) is in use from prediction {seq} on."
