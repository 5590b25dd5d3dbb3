"""Protocols of publications, for comparison with them; nothing here runs live."""
