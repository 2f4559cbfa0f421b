"""uvicorn's protocols, with the limits that they lack."""

import asyncio
import email.utils
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from damocles.rpc import limits
from damocles.rpc.serving import places

HEAD_SECONDS = 10  # as the manager of v0.13
PIECE_BYTES = 64 << 10
_POLICY_VIOLATION = 1008


class Http(H11Protocol):
    """uvicorn's HTTP/1.1, plus a time limit for the head of each request, which uvicorn lacks."""

    _head_timer: asyncio.TimerHandle | None = None
    refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self.app_state[places.STATE].transport = transport
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and see whether the head is complete."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        # h11's peer is IDLE until the head of a request is complete; a WebSocket takes the connection over.
        if self.conn.their_state is not h11.IDLE or self.transport.get_protocol() is not self:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _should_upgrade_to_ws(self) -> bool:
        return not self.refused and super()._should_upgrade_to_ws()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over, or refuse the handshake."""
        super().handle_websocket_upgrade(event)
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            # Its parser is stricter (bodies, long lines, many headers), and silent: the peer would wait without end.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def handle_events(self) -> None:
        """Answer what is complete, under the date of today."""
        # Written when somebody asks; uvicorn keeps it fresh with a tick that never lets an idle daemon sleep.
        self.server_state.default_headers = [(b"date", email.utils.formatdate(usegmt=True).encode())]
        super().handle_events()

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with limits on frames of strangers, on fragments, and on answers to who does not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = asyncio.Lock()

    def allow(self, message_bytes: int) -> None:
        """Take larger messages from now on."""
        self.conn.max_message_size = message_bytes

    def hang_up(self, reason: str) -> None:
        """Send a close frame with the reason."""
        if self.handshake_complete and not self.close_sent:
            self.conn.send_close(_POLICY_VIOLATION, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True

    def handle_cont(self, event: Frame) -> None:
        """Take one more fragment of a message, up to the limit."""
        # Empty fragments are within every limit of size, and yet take memory.
        if len(self.frames) >= limits.FRAGMENTS_OF_A_FRAME:
            self.transport.abort()
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, if the peer reads."""
        # What answers a ping is written at once; a peer that only asks would have it heaped up here.
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send a large message in fragments, one after the other as the peer takes them."""
        text = message.get("text") if message["type"] == "websocket.send" else None
        async with self._turn:
            if text is None or len(text) <= PIECE_BYTES:
                await super().send(message)
            else:
                await self._send_fragments(text.encode())

    async def _send_fragments(self, data: bytes) -> None:
        for begin in range(0, len(data), PIECE_BYTES):
            await self.writable.wait()
            if self.disconnected or self.close_sent:
                raise ClientDisconnected
            piece, is_last = data[begin : begin + PIECE_BYTES], begin + PIECE_BYTES >= len(data)
            if begin == 0:
                self.conn.send_text(piece, fin=is_last)
            else:
                self.conn.send_continuation(piece, fin=is_last)
            self.transport.write(b"".join(self.conn.data_to_send()))
