"""Recordings: replay, playback through LSL, verification."""
