"""A live run as a recorder would have written it, for the tests of its verification."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np

from mindwire.inference.decoder import probabilities
from mindwire.offline.recorded_run import recorded_run, run_details
from mindwire.offline.verify import verify
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.own_input import InputMark
from mindwire.sources.recording import open_recording
from mindwire.types import Chunk, Reason
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import LABELS, noise, signal_info
from tests.support.xdf_writer import XdfWriter

N = 1500
START = 300  # samples that only the recorder saw
SAMPLES = noise(N).astype(np.float32)
TIMES = 2000.0 + np.arange(N) / 100
OFFSET = 0.7  # between the device's clock and ours; the recorder measured another


INFO = signal_info(name="EEG-Test", source_id="cap-1", uid="u-cap-1")


class LiveRun:
    """What a service publishes of a run, as a recorder would write it."""

    def __init__(self, bundle, options=None, *, name="cap", decoder=None) -> None:
        self.decoder = decoder or LinearDecoder(2)
        self.name = name
        self.bundle = bundle
        self.options = options or PipelineOptions()
        self.events: list[tuple[float, str, dict]] = []
        self.rows: list[np.ndarray] = []
        self.times: list[float] = []
        self.input: list[np.ndarray] = []
        self.input_times: list[float] = []
        self.decisions: list[tuple[float, str]] = []
        self.axes: list[tuple[float, tuple[float, ...]]] = []
        self.timed = True  # False as of a version of Mindwire that recorded no times of publication

    def begin(self, time, *, begins=True, state=None):
        details = run_details(self.bundle, self.options)
        data = {
            "state": state,
            "time": time,
            "source": asdict(INFO),
            **details,
            "begins": begins,
            "clock_offset": OFFSET,
            "policy": self.options.policy and self.options.policy.model_dump(mode="json"),
            "control": [command.event.data for command in self.options.control],
        }
        self.events.append((time, "recording", data))

    def play(self, commands=(), reconnects=(), restarts=(), skip=(), jump=None, keeps=False, control=(), changes=()):
        """Run the pipeline as a live service does, chunk by chunk.

        ``changes`` of the model, by sample: the bundle, decoder and options of another that joins, or the number of the pipeline
        that comes into use.
        """
        pipelines = {}
        pipeline = None
        number = 0
        for at in range(START, N, 25):
            times = TIMES[at : at + 25] + OFFSET + (-3.0 if jump is not None and at >= jump else 0.0)
            chunk, mark = Chunk(SAMPLES[at : at + 25], times), InputMark.NONE
            if pipeline is None or at in restarts:
                state = pipeline.learnt.to_text() if pipeline is not None and keeps else None
                pipeline = Pipeline(self.bundle.contract, INFO, self.decoder, replace(self.options, state=state))
                pipelines = {0: pipeline}
                self.begin(float(times[0]), state=state)
                mark = InputMark.BEGIN
                if state is not None:
                    pipeline.adapt(AdaptationCommand("freeze"))
            elif at in reconnects:
                self.begin(float(times[0]), begins=False)
                chunk, mark = Chunk(chunk.samples, chunk.times, Reason.RECONNECT), InputMark.RECONNECT
            rows = np.zeros((25, 4), np.float32)
            rows[:, :3], rows[0, 3] = chunk.samples, mark
            self.input += list(rows)
            self.input_times += times.tolist()
            if at in changes:
                pipeline = self.change(at, changes[at], pipelines, pipeline)
            for other in pipelines.values():
                if other is not pipeline:
                    other.advance(chunk)
            windows = pipeline.advance(chunk)
            taken = [window for number, window in enumerate(windows, number) if number not in skip]
            number += len(windows)
            for window in taken:  # those skipped come to no controller
                logits = pipeline.decoder.decode([pipeline.session], [window])
                p = pipeline.complete(window, probabilities(logits, pipeline.contract.temperature)[0])
                self.rows.append(p.probabilities if p.valid else np.full(2, np.nan))
                self.times.append(p.time)
                if p.control and p.control.decision:
                    self.decisions.append((p.time, p.control.decision.label))
                if p.control and p.control.axes:
                    self.axes.append((p.time, p.control.axes))
            if at in control:
                pipeline.control(**control[at])
            if at in commands:
                for one in pipelines.values():
                    one.adapt(AdaptationCommand(*commands[at]))
            for k, one in pipelines.items():
                self.events += [
                    (TIMES[at], e.kind, dict(e.data) | ({"pipeline": k} if k else {}))
                    for e in one.drain_events()
                    if one is pipeline or e.kind == "adaptation"
                ]
        return self

    def change(self, at, change, pipelines, running):
        """Change the model as a live service does; return the pipeline in use."""
        data = {"samples": running.samples}
        if isinstance(change, int):
            pipeline, data["state"], data["pipeline"] = pipelines[change], "swapped", change
            pipeline.succeed(running)
            data["seq"] = pipeline.seq
        else:
            bundle, decoder, options = change
            pipeline = Pipeline(bundle.contract, INFO, decoder, options)
            data |= {"state": "warming", "carried": pipeline.join(running), "pipeline": len(pipelines)}
            data |= run_details(bundle, options) | {"name": bundle.name, "sha256": bundle.sha256}
            pipelines[len(pipelines)] = pipeline
            pipeline = running
        self.events.append((TIMES[at], "model", data))
        return pipeline

    def write(self, path, *others, device=SAMPLES, device_times=TIMES, lost=slice(0, 0)):
        """The file; the recorder missed the device's samples in ``lost``, or its whole stream when ``device`` is None."""
        writer = XdfWriter()
        if device is None:
            device = SAMPLES[:0]
        else:
            writer.stream(n_channels=3, labels=LABELS)
            lost = lost if lost is not None else slice(0, len(device))
        device_times = device_times[: len(device)]
        device, device_times = np.delete(device, lost, axis=0), np.delete(device_times, lost)
        for at in range(0, len(device), 100):
            writer.samples(device[at : at + 100], device_times[at : at + 100].tolist())
            writer.offset(float(device_times[at]), 0.2)
        for number, run in enumerate((self, *others)):
            a, b, c, d, e, f = (10 * k + number for k in range(1, 7))
            own = {"sfreq": 0.0, "source_id": f"mindwire-{number}"}
            labels = run.bundle.contract.classes
            writer.stream(a, name=f"Mindwire-{run.name}", type="Probabilities", n_channels=2, labels=labels, **own)
            writer.stream(b, name=f"Mindwire-{run.name}-events", type="Events", n_channels=1, dtype="string", **own)
            writer.stream(c, name=f"Mindwire-{run.name}-input", type="Input", n_channels=4, **own)
            if run.decisions:
                writer.stream(
                    d, name=f"Mindwire-{run.name}-Decisions", type="Markers", n_channels=1, dtype="string", **own
                )
                writer.samples([[label] for _, label in run.decisions], [time for time, _ in run.decisions], d)
            if run.axes:
                n = len(run.axes[0][1])
                writer.stream(e, name=f"Mindwire-{run.name}-Axes", type="Control", n_channels=n, **own)
                writer.samples([np.float32(row) for _, row in run.axes], [time for time, _ in run.axes], e)
            if run.timed:
                writer.stream(
                    f, name=f"Mindwire-{run.name}-timing", type="Timing", n_channels=6, dtype="double64", **own
                )
                writer.samples([(seq, 9.0, 5.0, 1.0, 1.0, 1.0) for seq in range(len(run.times))], run.times, f)
            if run.rows:
                writer.samples(run.rows, run.times, a)
            for at in range(0, len(run.input), 70):
                writer.samples(run.input[at : at + 70], run.input_times[at : at + 70], c)
            texts = [
                [json.dumps({"kind": kind, "message": "", "unix_time": 0, "data": data})]
                for _, kind, data in run.events
            ]
            writer.samples([*texts, ["no JSON"], ["[1]"]], [*(t for t, _, _ in run.events), 9e3, 9e3], b)
        return writer.write(path)


def verified(path, bundle):
    return verify(recorded_run(open_recording(path)), bundle, LinearDecoder(2))
