"""Where samples come from: LSL, XDF files, the simulator."""
