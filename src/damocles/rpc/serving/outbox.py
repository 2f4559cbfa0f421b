"""What is on its way to readers, and what happens to those that do not read.

    app = outbox.Outbox().watching(app)

An answer leaves in pieces, so that all but the last of them is still here, where it is counted. A reader that takes
nothing for a while is dropped; so is one that asks for more with much unread; and when all that is unread is too much,
the one that has read nothing for the longest time.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import structlog

from damocles.rpc import limits
from damocles.rpc.serving import places

log = structlog.get_logger(__name__)

PIECE_BYTES = 64 << 10


@dataclass(slots=True, eq=False)
class _Parcel:
    place: places.Place
    left_bytes: int


class Outbox:
    """The answers of one server that have not been taken yet."""

    def __init__(self) -> None:
        self._parcels: dict[_Parcel, None] = {}  # the one of which nothing was taken for the longest time first
        self.bytes = 0
        self.met: Counter[str] = Counter()

    def levels(self) -> dict[str, limits.Level]:
        """Return how full the limit is."""
        return {"unread_bytes": limits.Level(self.bytes, limits.UNREAD_BYTES)}

    def watching(self, app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Return `app` with everything it sends counted."""

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            place: places.Place = scope["state"][places.STATE]

            async def passing(message: Any) -> None:
                match message["type"]:
                    case "http.response.body":
                        await self._pass(place, send, message)
                    case "websocket.send":
                        text = message["text"]
                        with self._counted(place, len(text)):
                            await self._take(place, send, message)
                    case _:
                        await send(message)

            await app(scope, receive, passing)

        return answer

    async def _pass(self, place: places.Place, send: Any, message: Any) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        with self._counted(place, len(body)) as parcel:
            for begin in range(0, max(1, len(body)), PIECE_BYTES):
                piece = body[begin : begin + PIECE_BYTES]
                is_last = begin + PIECE_BYTES >= len(body)
                await self._take(place, send, {**message, "body": piece, "more_body": more or not is_last})
                self._taken(parcel, len(piece))

    async def _take(self, place: places.Place, send: Any, message: Any) -> None:
        with anyio.move_on_after(limits.UNREAD_SECONDS) as waiting:
            await send(message)
        if waiting.cancelled_caught:
            self._drop(place, "takes nothing")
            await send(message)  # returns, or raises, when the connection is closed

    @contextmanager
    def _counted(self, place: places.Place, size: int) -> Iterator[_Parcel]:
        if sum(parcel.left_bytes for parcel in self._parcels if parcel.place is place) > (
            limits.UNREAD_OF_A_CONNECTION_BYTES
        ):
            self._drop(place, "asks for more, and has much unread")
        parcel = _Parcel(place, size)
        self._parcels[parcel] = None
        self.bytes += size
        while self.bytes > limits.UNREAD_BYTES:
            oldest = next((other.place for other in self._parcels if other.place is not place), None)
            if oldest is None:
                break  # it alone is larger
            self._drop(oldest, "has not read, and all that is unread is too much")
        try:
            yield parcel
        finally:
            self._forget(parcel)

    def _taken(self, parcel: _Parcel, size: int) -> None:
        if parcel in self._parcels:
            del self._parcels[parcel]
            self._parcels[parcel] = None  # now the last in the order
            parcel.left_bytes -= size
            self.bytes -= size

    def _forget(self, parcel: _Parcel) -> None:
        if parcel in self._parcels:
            del self._parcels[parcel]
            self.bytes -= parcel.left_bytes

    def _drop(self, place: places.Place, why: str) -> None:
        log.warning("connection dropped: its peer does not read", peer=place.host, who=place.who, reason=why)
        self.met["unread_bytes"] += 1
        for parcel in [parcel for parcel in self._parcels if parcel.place is place]:
            self._forget(parcel)
        place.abort()
