"""State and reason of a stream after its predictions."""

from __future__ import annotations

import numpy as np

from mindwire.live.reporter import StreamReporter
from mindwire.status import StreamState
from mindwire.types import Prediction, Reason


class Events:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def publish(self, prediction) -> None:
        pass

    def signal(self, times, samples) -> None:
        pass

    def close(self) -> None:
        pass

    def event(self, event) -> None:
        if event.kind == "state":
            self.reasons.append(event.message)


def test_the_reason_of_a_live_stream_names_what_makes_its_predictions_invalid():
    events = Events()
    reporter = StreamReporter("eeg", [events])

    def publish(reasons):
        reporter.publish(Prediction(0, 0.0, np.array([0.5, 0.5]), reasons, {"decode": 0.1}))
        return reporter.state, reporter.reason

    assert publish(Reason.MUSCLE) == (StreamState.LIVE, "Predictions are fresh.")
    assert publish(Reason.FLAT) == (StreamState.LIVE, "Predictions are fresh, but not valid: flat.")
    _, reason = publish(Reason.FLAT | Reason.AMPLITUDE)
    assert reason == "Predictions are fresh, but not valid: flat, amplitude."
    assert publish(Reason.NONE)[1] == "Predictions are fresh."
    assert events.reasons == [
        "Predictions are fresh.",
        "Predictions are fresh, but not valid: flat.",
        "Predictions are fresh.",
    ]
