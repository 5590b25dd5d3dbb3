"""Origins of samples: LSL, XDF files, the simulator."""
