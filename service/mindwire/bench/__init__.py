"""``mindwire bench``: latency, decoder, start-up and number of streams on this machine."""
