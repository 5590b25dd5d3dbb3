"""Streams in worker processes, and the one front door to them."""
