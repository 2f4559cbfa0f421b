"""What pages are told while they are open, as server-sent events: that there is something new, never what.

A page that hears of news asks for itself again, with its own session. So a stream holds nothing that others wrote, and
costs next to nothing.
"""

from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from damocles.manager.dashboard import asking, gate, looks

QUIET_SECONDS = 15.0  # after which a stream shows that it is still there
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Streams:
    """What is streamed."""

    def __init__(self, ask: asking.Asking, look: looks.Looks) -> None:
        self._ask = ask
        self._look = look
        self._closing = anyio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def events(self, request: Request) -> Response:
        """Tell of each look at the fleet, until the session is over."""
        return StreamingResponse(self._events(request), headers=_HEADERS, media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncIterator[str]:
        session = gate.session_of(request.scope)
        over = self._closing if session is None else session.over
        number = 0
        with self._look.watched():
            yield "retry: 2000\n\n"
            while not over.is_set():
                heard: looks.Seen | None = None
                with anyio.move_on_after(QUIET_SECONDS):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_end_with, over, tasks.cancel_scope)
                        heard = await self._look.after(number)
                        tasks.cancel_scope.cancel()
                if heard is None:
                    yield ": still here\n\n"
                else:
                    number = heard.number
                    yield f"event: looked\ndata: {number}\n\n"
        yield "event: over\ndata: log in again\n\n"


async def _end_with(over: anyio.Event, scope: anyio.CancelScope) -> None:
    await over.wait()
    scope.cancel()
