"""Where predictions go: LSL outlets, websocket clients, files, recordings."""
