"""``python -m service`` is ``mindwire``."""

from service.cli.main import main

main()
