"""What ``mindwire serve`` and ``mindwire demo`` put together."""
