"""Server-sent events for open pages: that there is something new, and lines of a log.

A page that hears of news asks for itself again, with its own session. So that stream costs next to nothing.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from damocles import methods
from damocles.manager.dashboard import asking, gate, looks
from damocles.rpc import core, errors
from damocles.rpc.serving import asgi
from damocles.wire import codec, control

QUIET_SECONDS = 15.0  # after which a stream shows that it is still there
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Streams:
    """What is streamed."""

    def __init__(self, ask: asking.Asking, look: looks.Looks) -> None:
        self._ask = ask
        self._look = look
        self._closing = anyio.Event()

    def close(self) -> None:
        """End all streams. Sessions go on for what is still answered: whoever asks then is not sent to a log-in."""
        self._closing.set()

    async def events(self, request: Request) -> Response:
        """Stream a note of each look at the fleet until the session is over."""
        return StreamingResponse(self._events(request), headers=_HEADERS, media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncIterator[str]:
        ends = self._ends(request)
        number = 0
        with self._look.watched():
            yield "retry: 2000\n\n"
            while not _is_over(ends):
                heard: looks.Seen | None = None
                async with _until(ends):
                    with anyio.move_on_after(QUIET_SECONDS):
                        heard = await self._look.after(number)
                    if heard is not None:
                        # Not all pages at once: whoever else asks meanwhile has a turn between them.
                        await anyio.sleep(random.uniform(0, self._look.spread_seconds))  # noqa: S311 (no secret)
                if _is_over(ends):
                    break
                if heard is None:
                    yield ": still here\n\n"
                else:
                    number = heard.number
                    yield f"event: looked\ndata: {number}\n\n"
        yield "event: over\ndata: ask again\n\n"

    async def log(self, request: Request) -> Response:
        """Stream the lines of a thread's stages as they come: as JSON, which a page shows as text."""
        query = request.query_params
        worker, index, after = query.get("worker", ""), query.get("index", ""), query.get("after", "0")
        if not worker or not all(
            number.isascii() and number.isdigit() and len(number) < 18 for number in (index, after)
        ):
            raise ValueError("say which log: worker, index, and after which line")
        lines = self._lines(request, worker, int(index), int(after), query.get("sector", ""))
        return StreamingResponse(lines, headers=_HEADERS, media_type="text/event-stream")

    async def _lines(self, request: Request, worker: str, index: int, after: int, sector: str) -> AsyncIterator[str]:
        ends = self._ends(request)
        yield "retry: 5000\n\n"
        while not _is_over(ends):
            found: list[control.LogLine] | None = None
            async with _until(ends):
                found = await self._read(request, worker, index, after)
            if found is None:
                break
            for line in found:
                after = line.number
                if line.sector in {"", sector}:
                    yield f"id: {line.number}\nevent: line\ndata: {codec.encode(line).decode()}\n\n"
            if not found:
                yield ": still here\n\n"
        yield "event: over\ndata: the log ends here\n\n"

    def _ends(self, request: Request) -> list[anyio.Event]:
        """Return what ends a stream: the manager's stop, and the end of the session."""
        session = gate.session_of(request.scope)
        return [self._closing, *([session.over] if session is not None else [])]

    async def _read(self, request: Request, worker: str, index: int, after: int) -> list[control.LogLine] | None:
        """Return the next lines, when there are some; None if there is nobody to ask."""
        call: core.Call = request.scope[asgi.CALL]
        try:
            return await self._ask(call, methods.fleet.logs(worker, index, after, QUIET_SECONDS))
        except errors.RpcError:
            return None


def _is_over(ends: Sequence[anyio.Event]) -> bool:
    return any(end.is_set() for end in ends)


@contextlib.asynccontextmanager
async def _until(ends: Sequence[anyio.Event]) -> AsyncIterator[None]:
    """Leave the block as soon as one of `ends` is set."""

    async def leave(end: anyio.Event) -> None:
        await end.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for end in ends:
            tasks.start_soon(leave, end)
        yield
        tasks.cancel_scope.cancel()
