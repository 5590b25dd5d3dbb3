"""Faults that run side by side: each on a cap and a stream of its own, its outcome kept for a test to judge."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from mindwire.sources.lsl_discovery import Selector
from mindwire.status import StreamState
from mindwire.types import Prediction
from mindwire_models.contract import Contract
from tests.support.lsl_cap import Cap
from tests.support.oracle import TOLERANCE, error, law
from tests.support.streaming import Memory, eventually, make_stream, unique

PATIENCE_S = 60.0


class Diary(Memory):
    """Remembers when, too."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[float] = []

    def publish(self, prediction: Prediction) -> None:
        self.arrived.append(time.monotonic())
        super().publish(prediction)


@dataclass
class Case:
    """A stream on a cap that something happens to."""

    rules: Contract
    spec: dict
    limits: dict
    name: str = field(default_factory=lambda: unique("cap"))
    diary: Diary = field(default_factory=Diary)
    recovery: float | None = None
    failure: BaseException | None = None
    notes: list = field(default_factory=list)
    others: list[Cap] = field(default_factory=list)
    # what each prediction is judged by: the cap and the shift of its clock that hold from a prediction on
    eras: list[tuple[int, Cap, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream, _ = make_stream(Selector(name=self.name), contract_=self.rules, **self.limits)
        self.stream.reporter.add_sink(self.diary)
        self.cap = self.new_cap()

    def new_cap(self, **changes) -> Cap:
        return Cap(self.name, **{"source_id": self.name, **self.spec, **changes})

    def replace_cap(self, **changes) -> None:
        """Another cap takes over, dead or alive as the old one is; predictions from now on are judged by it."""
        self.cap = self.new_cap(**changes).start()
        self.new_era()

    def new_era(self, shift: float = 0.0) -> None:
        """From the next break on, times tell other samples."""
        self.eras.append((len(self.diary.predictions), self.cap, shift))

    def run(self, fault: Callable[[Case], None]) -> None:
        """Bring it up, let it happen, and remember what went wrong with the test itself."""
        thread = threading.Thread(target=self.stream.run)
        try:
            self.cap.start()
            self.new_era()
            thread.start()
            self.until_live()
            fault(self)
        except BaseException as failure:  # noqa: BLE001 - handed to the test
            self.failure = failure
        finally:
            self.stream.stop()
            if thread.ident:
                thread.join(20)
            self.stream.reporter.close()
            for cap in (self.cap, *self.others):
                cap.kill()

    # --- waiting -------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        eventually(condition, PATIENCE_S, what or self.name)

    def until_live(self) -> None:
        self.until(lambda: self.stream.state is StreamState.LIVE and self.diary.valid, "live")
        self.more(3)

    def more(self, n: int) -> None:
        """Wait for so many further predictions."""
        before = len(self.diary.predictions)
        self.until(lambda: len(self.diary.predictions) >= before + n, f"{n} more predictions")

    def disturbed(self, since: int) -> bool:
        """Whether anything was heard of a fault since a prediction."""
        return any(not p.valid for p in self.diary.predictions[since:])

    def recovers(self, since: int, begin: float) -> None:
        """Wait for invalid predictions and then for valid ones; the time is that of the first of these."""
        self.until(lambda: self.disturbed(since), "invalid predictions")
        self.settles(since, begin)

    def settles(self, since: int, begin: float) -> None:
        self.until(lambda: len(self.diary.predictions) > since and self.diary.predictions[-1].valid, "valid again")
        self.recovery = self._first_valid(since) - begin
        self.more(5)

    def _first_valid(self, since: int) -> float:
        """When the last run of valid predictions began."""
        at = len(self.diary.predictions) - 1
        while at > since and self.diary.predictions[at - 1].valid:
            at -= 1
        return self.diary.arrived[at]

    # --- judging -------------------------------------------------------------------------------------------------

    def errors(self) -> list[float]:
        """Of every unmarked valid prediction, to the truth."""
        found = []
        for k, prediction in enumerate(self.diary.predictions):
            if prediction.valid and "interpolated" not in prediction.reasons.labels:
                # around a change of era, samples of before may still be on their way
                eras = [era for era in self.eras if era[0] <= k + 1]
                eras = eras[-2:] if k < eras[-1][0] + 30 else eras[-1:]
                found.append(min(error(self.rules, cap, prediction, shift) for _, cap, shift in eras))
        return found

    def assert_right(self) -> None:
        errors = np.array(self.errors())
        assert len(errors) >= 5
        assert errors.max() <= TOLERANCE, [(k, round(float(e), 3)) for k, e in enumerate(errors) if e > TOLERANCE]
        assert [p.seq for p in self.diary.predictions] == sorted({p.seq for p in self.diary.predictions})

    def reasons(self) -> set[str]:
        return {label for p in self.diary.predictions for label in p.reasons.labels}

    def flagged(self, reason: str) -> list[Prediction]:
        return [p for p in self.diary.predictions if reason in p.reasons.labels]


@contextmanager
def side_by_side(faults: dict[str, Callable[[Case], None]], make: Callable[[str], Case]) -> Iterator[dict[str, Case]]:
    """Run all faults at once, give their cases when all are over."""
    cases = {key: make(key) for key in faults}
    threads = [threading.Thread(target=cases[key].run, args=(fault,)) for key, fault in faults.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield cases


def make_case(spec: dict | None = None, *, rules: Contract | None = None, **limits) -> Case:
    return Case(rules or law(), spec or {}, limits)
