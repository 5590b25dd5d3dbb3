"""uvicorn's websocket protocol, with what many clients and slow clients need.

What a server sends is the same for every client, so a frame is built once and written as it is, instead of
being built anew per client. And what waits in the transport for a slow client is kept small, because the
hub's queue, in which the newest wins, only begins behind it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# Name of the ASGI extension that holds ``write``, which takes a whole frame.
FRAMES: Final = "mindwire.frame"
WRITE_BUFFER_BYTES: Final = 8 * 1024


class FrameProtocol(WebSocketsSansIOProtocol):
    """Takes ready-made frames, and stops taking them early."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Limit what may wait in the transport."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    async def run_asgi(self) -> None:
        """Give the application a way to write frames."""
        cast("dict[str, Any]", self.scope["extensions"])[FRAMES] = {"write": self.write_frames}
        await super().run_asgi()

    def write_frames(self, frames: bytes) -> bool:
        """Write whole frames unless that would have to wait.

        Parameters
        ----------
        frames : bytes

        Returns
        -------
        bool
            False when the client reads too slowly, or is no longer there.
        """
        if self.disconnected or self.close_sent or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frames)
        return True
