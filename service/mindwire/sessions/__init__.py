"""Sessions on disk: a folder for each person and day with recordings, models and what is known of them."""
