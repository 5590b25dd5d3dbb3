"""Decisions from predictions: a control policy as data, applied as a pure function of predictions and their times."""
