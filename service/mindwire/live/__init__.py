"""Streams while they run: connection, loop, supervision."""
