"""From recordings to a bundle, and the figures that say how good it is."""
