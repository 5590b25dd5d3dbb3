"""``mindwire bench``: how fast this machine is, measured beside the floor that LSL, decoder and websocket set alone."""
