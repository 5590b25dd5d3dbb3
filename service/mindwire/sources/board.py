"""Board of the simulated participant's task, as its markers and decisions change it; what shows it needs no simulator."""

from __future__ import annotations

from mindwire.sources.vocabulary import TARGET

MOVES = {"feet": (0, -1), "left_hand": (-1, 0), "right_hand": (1, 0), "tongue": (0, 1)}
BORDER = 3
REACHED, MISSED = "reached", "missed"
RESULTS = (REACHED, MISSED)  # markers at the end of an attempt
REST = "rest"  # marker at the beginning of a run of rest


class Board:
    """Grid with a cursor and, during an attempt, a target, in steps from the centre: x to the right, y upwards."""

    def __init__(self) -> None:
        self.cursor = (0, 0)
        self.target: tuple[int, int] | None = None

    @property
    def distance(self) -> int:
        """Steps from the cursor to the target; 0 without one."""
        return 0 if self.target is None else sum(abs(t - c) for t, c in zip(self.target, self.cursor, strict=True))

    def move(self, label: str) -> None:
        """Move the cursor by a decision, up to the border; without a target it stays."""
        if self.target is not None:
            steps = MOVES.get(label, (0, 0))
            x, y = (max(-BORDER, min(BORDER, c + s)) for c, s in zip(self.cursor, steps, strict=True))
            self.cursor = (x, y)

    def helpful(self) -> list[str]:
        """Return the classes that bring the cursor nearer."""
        if self.target is None:
            return []
        (x, y), (to_x, to_y) = self.cursor, self.target
        return [c for c, (dx, dy) in MOVES.items() if dx * (to_x - x) > 0 or dy * (to_y - y) > 0]

    def show(self, marker: str) -> None:
        """Take a marker of the participant: a target appears, or an attempt ends."""
        word, *numbers = marker.split()
        if word == TARGET and len(numbers) == 2:
            self.cursor, self.target = (0, 0), (int(numbers[0]), int(numbers[1]))
        elif word in {*RESULTS, REST}:
            self.target = None
