"""Pictures and tables of a network."""
