"""Signal processing between a source and the window buffer."""
