"""A cursor in the terminal that decisions move: left and right hand, feet for down, tongue for up.

python cursor.py [ws://127.0.0.1:8000/ws] [--token TOKEN] [--steps N]
"""

import argparse

from mindwire_client import Connection, Decision, connect

WIDTH, HEIGHT = 41, 11
STEPS = {"left_hand": (-4, 0), "right_hand": (4, 0), "feet": (0, 2), "tongue": (0, -2)}


def moved(x: int, y: int, label: str) -> tuple[int, int]:
    """Return the place after a decision; the cursor stays in the field, and other classes do not move it."""
    dx, dy = STEPS.get(label, (0, 0))
    return min(max(x + dx, 0), WIDTH - 1), min(max(y + dy, 0), HEIGHT - 1)


def draw(x: int, y: int, text: str) -> None:
    """Draw the field over what was on the screen."""
    rows = ["".join("●" if (column, row) == (x, y) else "·" for column in range(WIDTH)) for row in range(HEIGHT)]
    print("\x1b[H\x1b[J" + "\n".join([*rows, text]), flush=True)


def main() -> None:
    """Move the cursor until N decisions were made, or for good."""
    parser = argparse.ArgumentParser(description="A cursor in the terminal that decisions move.")
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8000/ws")
    parser.add_argument("--token")
    parser.add_argument("--steps", type=int, default=0)
    arguments = parser.parse_args()
    x, y, n = WIDTH // 2, HEIGHT // 2, 0
    with connect(arguments.url, token=arguments.token) as stream:
        draw(x, y, stream.hello.model.notice or "Waiting for decisions.")
        for message in stream.messages(Decision, Connection):
            if isinstance(message, Connection):
                draw(x, y, "Connected." if message.connected else f"Not connected: {message.reason}")
            elif isinstance(message, Decision) and message.is_fresh(max_age_ms=1000):
                x, y = moved(x, y, message.label)
                n += 1
                draw(x, y, f"{n} {message.label} {message.confidence:.2f}")
                if n == arguments.steps:
                    return


if __name__ == "__main__":
    main()
