"""Arrows that are marked at the time at which they are on the screen: with PsychoPy, or in the terminal without it.

python psychopy_markers.py [ws://127.0.0.1:8000/ws] [--token TOKEN] [--trials N] [--seconds S] [--terminal]

Only ``Window`` knows PsychoPy: it shows a text, and returns the time at which it was on the screen.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from mindwire_client import connect

ARROWS = {"left_hand": "<", "right_hand": ">"}


class Window:
    """Window of PsychoPy, over the whole screen."""

    def __init__(self) -> None:
        from psychopy import visual  # type: ignore[import-not-found]

        self._window: Any = visual.Window(fullscr=True, color="black")
        self._text: Any = visual.TextStim(self._window, height=0.4)

    def show(self, text: str) -> float:
        """Show a text, and return the time of ``time.perf_counter()`` at which it was on the screen."""
        self._text.text = text
        self._text.draw()
        self._window.flip()  # returns at the refresh of the screen that shows it
        return time.perf_counter()

    def close(self) -> None:
        """Close the window."""
        self._window.close()


class Terminal:
    """The same in the terminal, where no time is exact."""

    def show(self, text: str) -> float:
        """Print a text, and return the time of ``time.perf_counter()``."""
        print(text, flush=True)
        return time.perf_counter()

    def close(self) -> None:
        """Do nothing."""


def screen(*, terminal: bool) -> Window | Terminal:
    """Return a window where PsychoPy is installed, otherwise the terminal."""
    if not terminal:
        try:
            return Window()
        except ImportError:
            print("PsychoPy is not installed: the arrows are in the terminal.", flush=True)
    return Terminal()


def main() -> None:
    """Show arrows, mark them, and say what was decided while they were there."""
    parser = argparse.ArgumentParser(description="Arrows with markers, and what is decided meanwhile.")
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8000/ws")
    parser.add_argument("--token")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--terminal", action="store_true")
    arguments = parser.parse_args()
    with connect(arguments.url, token=arguments.token) as stream:
        if not stream.clock.wait(5):
            msg = "LSL's clock could not be measured within 5 s."
            raise SystemExit(msg)
        window = screen(terminal=arguments.terminal)
        for _ in range(arguments.trials):
            window.show("+")
            time.sleep(arguments.seconds / 4)
            label = random.choice(list(ARROWS))  # noqa: S311
            decisions = stream.decisions()  # those from now on
            shown = stream.clock.to_lsl(window.show(ARROWS[label]))
            stream.markers.send(label, shown)
            time.sleep(arguments.seconds)
            stream.markers.send("imagery_end", stream.clock.to_lsl(window.show("")))
            decision = decisions.poll()
            while decision is not None and decision.time < shown:  # its window ends before the arrow
                decision = decisions.poll()
            found = f"{decision.label} after {decision.time - shown:.2f} s" if decision else "nothing"
            print(f"{label}: decided {found}", flush=True)
        window.close()
        taken = stream.markers.flush()
        print("All markers are taken." if taken else f"Refused: {stream.markers.refused}", flush=True)


if __name__ == "__main__":
    main()
