"""The participant in closed loop: deterministic, with reaction time, errors and rest."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ArgumentError
from mindwire.sources.board import MOVES, REST, Board
from mindwire.sources.simulator import CLASSES, Simulator
from mindwire.sources.steering import Steering, SteeringParticipant

STEP = 0.1


def steered(steering: Steering, seconds: float, *, seed: int = 1, delay_s: float = 1.0) -> SteeringParticipant:
    """Let a perfect decoder decide whatever has been imagined for a time; the cursor does not move at rest."""
    participant = SteeringParticipant(seed, steering)
    since, before = 0.0, None
    for time in np.arange(0, seconds, STEP):
        imagined = participant.imagined(time)
        if imagined != before:
            since, before = time, imagined
        if imagined is not None and time - since >= delay_s:
            participant.see(time, imagined)
            since = time
    return participant


def test_with_a_perfect_decoder_all_targets_are_reached_by_the_shortest_way() -> None:
    participant = steered(Steering(error=0.0), 400)
    assert len(participant.attempts) > 15
    assert all(a.reached and a.decisions == 3 and not a.wrong for a in participant.attempts)
    assert participant.false_activations == participant.late == 0
    assert participant.rest_s == pytest.approx(7 * len(participant.attempts), abs=8)


def test_errors_cost_decisions_but_the_participant_corrects_them() -> None:
    participant = steered(Steering(error=0.3), 600)
    assert sum(a.wrong for a in participant.attempts) > 5
    assert np.mean([a.reached for a in participant.attempts]) > 0.9


def test_without_decisions_attempts_end_at_the_limit() -> None:
    participant = SteeringParticipant(1, Steering(limit_s=5, rest_s=6, ready_s=6))
    for time in np.arange(0, 60, STEP):
        participant.imagined(time)
    assert [a.reached for a in participant.attempts] == [False] * 5
    assert {round(a.seconds, 6) for a in participant.attempts} == {5.0}


def test_imagery_follows_what_is_seen_by_a_reaction_time() -> None:
    steering = Steering(error=0.0, reaction_s=0.4, jitter_s=0.0)
    participant = SteeringParticipant(3, steering)
    times = np.round(np.arange(0, 20, 0.05), 6)
    begins = next(time for time in times if participant.imagined(time) is not None)
    assert begins == pytest.approx(steering.ready_s + 0.4)
    target, imagined = participant.board.target, participant.imagined(begins)
    assert target is not None
    assert imagined in participant.board.helpful()
    while participant.board.target:
        participant.see(begins, next(label for label in participant.board.helpful()))
    assert participant.imagined(begins + 0.35) == imagined
    assert participant.imagined(begins + 0.4) is None


def test_decisions_at_rest_are_late_and_then_false_and_move_nothing() -> None:
    participant = SteeringParticipant(1, Steering(limit_s=5))
    participant.see(1.0, "feet")
    for time in np.arange(0, 17.1, STEP):
        participant.imagined(time)
    assert len(participant.attempts) == 1
    for time in (18.0, 21.0, 23.0, 25.0):
        participant.see(time, "feet")
    assert (participant.late, participant.false_activations) == (2, 2)


def test_the_same_seed_and_decisions_give_the_same_participant() -> None:
    first, second, other = (steered(Steering(), 120, seed=seed) for seed in (5, 5, 6))
    assert first.drain_markers() == second.drain_markers()
    assert first.attempts == second.attempts
    assert first.attempts != other.attempts


def test_the_markers_show_the_board() -> None:
    participant, board = SteeringParticipant(2, Steering(error=0.0)), Board()
    since = 0.0
    for time in np.arange(0, 60, STEP):
        imagined = participant.imagined(time)
        for marker in participant.drain_markers():
            board.show(marker.label)
        if imagined is not None and time - since >= 2:
            participant.see(time, imagined)
            board.move(imagined)
            since = time
        if participant.board.target is not None:
            assert (board.cursor, board.target) == (participant.board.cursor, participant.board.target)


def test_the_cursor_stops_at_the_border() -> None:
    board = Board()
    board.show("target 1 2")
    for _ in range(9):
        board.move("left_hand")
    assert board.cursor == (-3, 0)
    board.move("unknown")
    board.show("rest")
    board.move("feet")
    assert board.cursor == (-3, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"distance": 0}, "1 to 6 steps"),
        ({"error": 1.5}, "found 1.5"),
        ({"limit_s": -1}, "limit_s"),
        ({"rest_s": float("nan")}, "rest_s"),
    ],
)
def test_impossible_tasks_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Steering(**options)


def test_the_simulator_imagines_what_the_participant_intends_and_stamps_its_markers() -> None:
    def strength(label: str | None) -> float:
        class Always:
            def imagined(self, time: float) -> str | None:
                return label

            def drain_markers(self) -> list:
                return []

        simulator = Simulator(11, channels=["C3", "C4"], line_freq=None, intention=Always())
        return float(np.std(np.diff(simulator.read(250 * 30).samples[:, 0])))

    assert strength("right_hand") < 0.95 * strength(None)
    simulator = Simulator(1, intention=SteeringParticipant(1, Steering(ready_s=2)))
    simulator.read(250)
    assert [marker.label for marker in simulator.drain_markers()] == [REST]
    simulator.read(250 * 3)
    markers = simulator.drain_markers()
    assert markers[0].label.startswith("target ")
    assert markers[0].time == pytest.approx(2.0, abs=0.1)
    assert markers[1].label in MOVES
    assert set(MOVES) == set(CLASSES)
