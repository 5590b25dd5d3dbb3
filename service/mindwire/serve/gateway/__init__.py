"""Streams in worker processes, and the gateway that answers for all of them."""
