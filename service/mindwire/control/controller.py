"""The controller: the last step of the pipeline, from predictions to decisions and axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mindwire.control.axes import AxisOutput
from mindwire.control.decide import Decider
from mindwire.control.evidence import accumulator
from mindwire.control.policy import ControlPolicy
from mindwire.signal.events import PipelineEvent
from mindwire.types import ControlOutput, Decision
from mindwire_models.contract import Contract


@dataclass(frozen=True, slots=True)
class ControlCommand:
    """Command to the controller: another policy, a pause or its end; None leaves as it is.

    Parameters
    ----------
    seq : int or None
        First prediction that it applies to; None takes the first one later than ``time``.
    policy : ControlPolicy or None
    paused : bool or None
    time : float or None
        Of the last sample before it in seconds, by which another cut of the same signal is commanded alike.
    """

    seq: int | None
    policy: ControlPolicy | None = None
    paused: bool | None = None
    time: float | None = None

    @property
    def event(self) -> PipelineEvent:
        """The command as an event, which a recording keeps."""
        done = {None: "changed", True: "paused", False: "resumed"}[self.paused if self.policy is None else None]
        data: dict[str, Any] = {"seq": self.seq, "time": self.time, "paused": self.paused, "policy": None, "hash": None}
        if self.policy is not None:
            data |= {"policy": self.policy.model_dump(mode="json"), "hash": self.policy.hash}
        return PipelineEvent("control", f"Control: {done} from prediction {self.seq} on.", data)

    def due(self, seq: int, time: float) -> bool:
        """Return true if it applies to a prediction."""
        return self.seq <= seq if self.seq is not None else self.time is None or self.time < time


def is_break(elapsed_s: float, window_s: float, hop_s: float) -> bool:
    """Return true if a window does not continue the one before: the clock was set back, or windows are missing between them."""
    return not 0 < elapsed_s <= hop_s + window_s / 2


class Controller:
    """Apply a control policy to a stream of predictions; a pure function of them, their times and the commands.

    Parameters
    ----------
    policy : ControlPolicy or None
        None decides nothing until a command brings a policy.
    classes : sequence of str
        Of the model, in the order of the probabilities.
    window_s : float
        Length of a window in seconds.
    hop_s : float
        Time between two windows in seconds.
    commands : iterable of ControlCommand
        Commands of a recorded session.

    Raises
    ------
    PolicyError
        A policy does not fit the classes.
    """

    def __init__(
        self,
        policy: ControlPolicy | None,
        classes: Sequence[str],
        window_s: float,
        hop_s: float,
        commands: Iterable[ControlCommand] = (),
    ) -> None:
        self.policy: ControlPolicy | None = None
        self.paused = False
        self._classes = tuple(classes)
        self._set_times(window_s, hop_s)
        self._time: float | None = None
        self._decider: Decider | None = None
        self._commands: list[ControlCommand] = []
        for command in commands:
            self.command(command)
        if policy is not None:
            policy.check(classes)
            self._use(policy)

    @classmethod
    def of(
        cls, contract: Contract, hop_samples: int, policy: ControlPolicy | None, commands: Iterable[ControlCommand] = ()
    ) -> Self:
        """Return the controller of a model's predictions, a hop in conditioned samples apart."""
        return cls(policy, contract.classes, *cls.times_of(contract, hop_samples), commands)

    @staticmethod
    def times_of(contract: Contract, hop_samples: int) -> tuple[float, float]:
        """Return the length of a model's windows and the time between two, in seconds."""
        return contract.window_samples / contract.sfreq, hop_samples / contract.sfreq

    def command(self, command: ControlCommand) -> PipelineEvent:
        """Take a command; raise PolicyError, and change nothing, if its policy does not fit the classes."""
        if command.policy is not None:
            command.policy.check(self._classes)
        self._commands.append(command)
        return command.event

    def retime(self, window_s: float, hop_s: float) -> None:
        """Take predictions of another model from now on; with other times the policy begins, as after a command."""
        if (window_s, hop_s) != (self._window_s, self._hop_s):
            self._set_times(window_s, hop_s)
            if self.policy is not None:
                self._use(self.policy)

    def _set_times(self, window_s: float, hop_s: float) -> None:
        self._window_s, self._hop_s = window_s, hop_s
        self._longest_s = max(window_s, 1.5 * hop_s)  # Time between predictions whose evidence belongs together.

    def update(self, seq: int, time: float, probabilities: Sequence[float] | None) -> ControlOutput | None:
        """Take the probabilities of one window; windows come in the order of their sequence numbers.

        Parameters
        ----------
        seq : int
        time : float
            Of its last sample in seconds.
        probabilities : sequence of float or None
            One per class; None if the prediction is invalid.

        Returns
        -------
        ControlOutput or None
            None without a policy.
        """
        while self._commands and self._commands[0].due(seq, time):
            self._carry_out(self._commands.pop(0))
        policy, decider = self.policy, self._decider
        if policy is None or decider is None:
            return None
        elapsed_s = self._hop_s if self._time is None else time - self._time
        self._time = time
        if is_break(elapsed_s, self._window_s, self._hop_s):
            decider.interrupt()
        if not 0 < elapsed_s <= self._longest_s:  # The clock was set back, or all of the signal is new.
            self._evidence.restart()
            elapsed_s = self._hop_s
        if self.paused or (probabilities is not None and not math.isfinite(sum(probabilities))):
            probabilities = None
        posterior = self._evidence.update(probabilities, elapsed_s)
        believed = None if probabilities is None else posterior
        decided = decider.update(seq, believed)
        axes = tuple([axis.update(believed, elapsed_s) for axis in self._axes])
        decision = None
        if decided is not None:
            decision = Decision(seq, time, self._classes[decided], posterior[decided])
            if policy.decide.reset:
                self._evidence.reset()
        state = "paused" if self.paused else decider.state
        return ControlOutput(decision, axes, tuple(posterior), state, policy)

    def _carry_out(self, command: ControlCommand) -> None:
        if command.paused is not None:
            self.paused = command.paused
        if command.policy is not None:
            self._use(command.policy)

    def _use(self, policy: ControlPolicy) -> None:
        """Begin with a policy: without evidence, but not before the end of a refractory time."""
        resting_until = self._decider.resting_until if self._decider else None
        self.policy = policy
        self._evidence = accumulator(policy, self._classes, self._window_s)
        self._decider = Decider(policy, self._classes, self._hop_s, resting_until)
        self._axes = [AxisOutput(axis, self._classes) for axis in policy.axes]
