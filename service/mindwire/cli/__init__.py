"""The command ``mindwire``: one module per command, imported only when its command runs."""
