"""The composition root: the service that ``serve`` and ``demo`` run, in one process or several."""
