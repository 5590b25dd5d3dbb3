"""The pipeline: everything between a source and the sinks, as one synchronous, deterministic object."""
