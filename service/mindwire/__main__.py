"""``mindwire`` and ``python -m mindwire``: the command line, with Ctrl-C handled before anything else is imported."""

import gc
import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # Python searches the current folder first, which may hold other people's files; only a checkout needs it.
    current = sys.path.pop(0)
    if os.path.realpath(current) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):  # noqa: PTH120 - os is loaded
        sys.path.append(current)

if sys.platform == "win32":
    sys.exit(
        "mindwire: Mindwire runs on Linux and macOS, not on Windows; use a machine or virtual machine with one of these."
    )

from mindwire.interrupts import INTERRUPTED, Interrupts


def main() -> None:
    """Run the command line; exit code 0 success, 1 failure, 2 wrong usage, 130 when interrupted."""
    interrupts = Interrupts()
    # Imports create hundreds of thousands of objects and next to no garbage; searching them takes a tenth of the start.
    # The collector is enabled when the command begins, by those that listen once they do.
    gc.disable()
    try:
        interrupts.begin()
        from mindwire.cli.main import run

        code = run()
    except BaseException:
        if not interrupts.came:
            raise
        code = INTERRUPTED
    interrupts.end()
    sys.exit(INTERRUPTED if interrupts.came and code else code)


if __name__ == "__main__":
    main()
