"""Mindwire's service: sources, the pipeline, inference, sinks and the commands around them."""

__version__ = "0.1.0"
