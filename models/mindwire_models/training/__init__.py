"""Training on arrays."""
