"""Sessions of a simulated participant on disk, as a service records them: cued runs, rest, tasks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindwire.sessions.document import Moment, Run, SessionDocument, write_session
from mindwire.sources.simulator import Artefacts, Simulator
from tests.support.xdf_writer import eeg_file

CHANNELS = ("FC3", "FC4", "C3", "Cz", "C4", "CP3", "CP4", "Pz")
HANDS = ("left_hand", "right_hand")
FIXATION_S, IMAGERY_S, REACTION_S, LEAD_S = 2.0, 4.0, 0.3, 8.0


class _Schedule:
    """Imagery at given times."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float, str]] = []

    def imagined(self, time: float) -> str | None:
        return next((label for begin, end, label in self.spans if begin <= time < end), None)

    def drain_markers(self) -> list:
        return []


class Participant:
    """A person whose runs are successive stretches of one simulated signal."""

    def __init__(
        self,
        root: Path,
        name: str = "P01",
        *,
        seed: int = 3,
        sfreq: float = 100.0,
        channels: Sequence[str] = CHANNELS,
        depth: float | None = None,
    ) -> None:
        self.root, self.name, self.channels = root, name, tuple(channels)
        self._schedule = _Schedule()
        self._simulator = Simulator(
            seed, sfreq=sfreq, channels=channels, line_freq=None, artefacts=Artefacts.NONE, depth=depth,
            intention=self._schedule,
        )  # fmt: skip
        self._rng = np.random.default_rng(seed)
        self._now = 0.0

    def cued(
        self, date: str, n_trials: int, classes: Sequence[str] = HANDS, *, task: bool = True, flat: str | None = None
    ) -> Path:
        """Record a run of cued trials, with a channel that is flat if one is named."""
        markers, at = [(self._now + 0.5, "task_start motor-imagery")] if task else [], self._now + LEAD_S
        for i in self._rng.permutation(n_trials):
            label = classes[i % len(classes)]
            markers += [(at - FIXATION_S, "fixation"), (at, label), (at + IMAGERY_S, "imagery_end")]
            self._schedule.spans.append((at + REACTION_S, at + IMAGERY_S, label))
            at += IMAGERY_S + float(self._rng.uniform(1.5, 3.0)) + FIXATION_S
        document = {"kind": "cued", "classes": list(classes)} if task else None
        return self._record(date, at, markers, document, flat)

    def rest(self, date: str, seconds: float) -> Path:
        """Record a run of rest."""
        begin = self._now + 1.0
        markers = [(begin, "rest_start"), (begin + seconds, "rest_end")]
        return self._record(date, begin + seconds + 1, markers, {"kind": "rest"}, None)

    def _record(self, date: str, end: float, markers: list, paradigm: dict | None, flat: str | None) -> Path:
        folder = self.root / self.name / date
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("run-*.xdf"))) + 1
        chunk = self._simulator.read(round((end - self._now) * self._simulator.sfreq))
        self._now = end
        samples = chunk.samples.copy()
        if flat is not None:
            samples[:, self.channels.index(flat)] = 0.0
        path = eeg_file(
            folder / f"run-{number:02d}.xdf", samples, self._simulator.sfreq, self.channels,
            times=chunk.times + 1000.0, markers=[(time + 1000.0, label) for time, label in markers],
        )  # fmt: skip
        runs = json.loads((folder / "session.json").read_bytes())["runs"] if (folder / "session.json").exists() else []
        run = Run(
            run=number,
            file=path.name,
            stream="cap",
            status="complete",
            started=Moment(1.0, 1.0),
            source={"labels": list(self.channels)},
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            cues=dict(Counter(label for _, label in markers)),
        )
        import msgspec

        document = SessionDocument(self.name, date, (*msgspec.convert(runs, tuple[Run, ...]), run))
        write_session(folder, document)
        if paradigm is not None:
            task = {"number": number, "paradigm": paradigm, "recordings": [path.name], "state": "done"}
            (folder / f"task-{number:02d}.json").write_text(json.dumps(task))
        return path
