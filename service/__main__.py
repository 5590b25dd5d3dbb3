"""``python -m service`` is ``mindwire``."""

import sys
from pathlib import Path

if not sys.flags.safe_path:
    # Python looks for modules in the current folder first, which may hold files of others; only a checkout needs it.
    current = sys.path.pop(0)
    if Path(current) == Path(__file__).parents[1]:
        sys.path.append(current)

from service.cli.main import main

main()
