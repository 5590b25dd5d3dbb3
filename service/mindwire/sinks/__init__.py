"""Receivers of predictions: LSL outlets, websocket clients, files, recordings."""
