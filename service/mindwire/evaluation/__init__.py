"""From predictions of recordings to figures and reports."""
