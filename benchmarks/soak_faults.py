"""Faults of the caps of the soak, one at a time per cap."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

from benchmarks.soak_truth import LABELS, SFREQ, Truth
from tests.support.lsl_cap import TABLE, Cap


class Faults(threading.Thread):
    """One cap, and what happens to it."""

    def __init__(self, k: int, name: str, seed: int, truth: Truth, end: float, pause: threading.Event, log) -> None:
        super().__init__(daemon=True)
        self.k, self.label, self.truth, self.end, self.pause, self.log = k, name, truth, end, pause, log
        self.random = random.Random(f"{seed}-{k}")
        self.happened: Counter[str] = Counter()
        self.cap = self.make()
        self.failure: BaseException | None = None

    def make(self, **changes) -> Cap:
        values = {
            "source_id": f"id-{self.label}",
            "labels": LABELS,
            "n_channels": len(LABELS),
            "sfreq": SFREQ,
            "chunk": self.random.choice([1, 5, 10, 25]),
            "seed": self.k,
            "start_index": self.random.randrange(TABLE),
            "drift_ppm": self.random.choice([0.0, 0.0, 200.0, -100.0]),
            "jitter": self.random.choice([0.0, 0.0, 0.005]),
        }
        return Cap(self.label, **{**values, **changes})

    def begin(self) -> None:
        self.cap.start()
        self.truth.follow(self.cap)

    def wait(self, low: float, high: float) -> None:
        time.sleep(max(0.0, min(self.random.uniform(low, high), self.end - time.monotonic())))

    def run(self) -> None:
        faults = [
            self.restart, self.restart, self.refuse, self.freeze, self.freeze, self.silent, self.burst, self.lose,
            self.lose, self.jump, self.spoil, self.spoil, self.spoil, self.garbage, self.twin,
        ]  # fmt: skip
        try:
            self.begin()
            while time.monotonic() < self.end:
                self.wait(8, 25)
                if self.pause.is_set():
                    continue
                fault = self.random.choice(faults)
                self.happened[fault.__name__] += 1
                self.log(f"{self.label}: {fault.__name__} {fault()}")
        except BaseException as error:  # noqa: BLE001 - reported at the end
            self.failure = error
        finally:
            self.cap.kill()

    def restart(self) -> str:
        self.cap.kill()
        self.wait(0.2, 5)
        self.cap = self.make()
        self.begin()
        return f"with {self.cap.spec.chunk} per chunk, {self.cap.spec.drift_ppm} ppm, jitter {self.cap.spec.jitter}"

    def refuse(self) -> str:
        self.cap.kill()
        change = self.random.choice(
            [
                {"sfreq": 500.0},
                {"labels": LABELS[::-1]},
                {"n_channels": 4, "labels": LABELS[:4]},
                {"source_id": "other"},
            ]
        )
        with self.make(**change):
            self.wait(3, 8)
        self.cap = self.make()
        self.begin()
        return str(change)

    def freeze(self) -> str:
        self.cap.freeze()
        self.wait(0.2, 6)
        self.cap.thaw()
        return ""

    def silent(self) -> str:
        seconds = self.random.uniform(0.05, 4)
        self.cap.tell("silent", seconds=seconds)
        return f"{seconds:.2f} s"

    def burst(self) -> str:
        seconds = self.random.uniform(0.2, 3)
        self.cap.tell("hold", seconds=seconds)
        return f"{seconds:.2f} s"

    def lose(self) -> str:
        n = self.random.choice([1, 2, 5, 8, 50, 500])
        if n <= 2 and self.cap.spec.jitter:
            self.truth.loses_little()
        self.cap.tell("lose", n=n)
        return str(n)

    def jump(self) -> str:
        seconds = self.random.choice([-10.0, 10.0, 1000.0])
        shift = self.truth.mappings[-1].shift + seconds
        self.truth.follow(self.cap, shift)
        self.cap.tell("jump", seconds=seconds)
        return f"{seconds} s"

    def spoil(self) -> str:
        what = self.random.choice(
            [{"value": "NaN"}, {"value": "Infinity"}, {"value": 0.0}, {"value": 3000.0}, {"factor": 1000.0}]
        )
        what = {key: float(value) for key, value in what.items()}
        if self.random.random() < 0.5:
            what["channel"] = self.random.randrange(len(LABELS))
        flat = what.get("value") == 0.0
        n = self.random.choice([100, 1000] if flat else [1, 100, 1000])
        if flat:
            self.truth.becomes_flat()
        self.cap.tell("spoil", n=n, **what)
        return f"{what} for {n}"

    def garbage(self) -> str:
        stamp = self.random.choice([0.0, 3.6e304, -1e9, float("nan")])
        self.cap.tell("garbage", stamp=stamp)
        return str(stamp)

    def twin(self) -> str:
        with self.make():
            self.wait(2, 8)
        return ""
