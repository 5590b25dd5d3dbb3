"""HTTP and websocket front of the service."""
