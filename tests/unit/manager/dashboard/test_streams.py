"""What open pages hear, and that they hear of the end at once."""

from typing import Any

import anyio
import pytest
from starlette.requests import Request

from damocles.manager.dashboard import gate, looks, sessions, streams
from damocles.methods.rules import Scope
from damocles.rpc import callers
from damocles.wire import control


async def nothing() -> Any:
    """Return no worker."""
    return []


async def no_threads() -> control.FleetThreads:
    """Return no thread."""
    return control.FleetThreads()


@pytest.mark.parametrize("what", ["session", "manager"])
@pytest.mark.parametrize("awaits", ["a look", "its turn"])
async def test_a_stream_ends_at_once(what: str, awaits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a page waits for the next look, or for its turn to hear of one: with its session or its manager it ends, and hears of that."""
    monkeypatch.setattr(looks.Looks, "spread_seconds", 1e6)
    monkeypatch.setattr(streams, "QUIET_SECONDS", 1e6)
    monkeypatch.setattr("random.uniform", lambda _, most: most)

    async def identify(_: str) -> callers.Principal:
        return callers.Principal("bob", frozenset({Scope.READ}))

    opened = (await sessions.Sessions(identify, lambda: 0.0).log_in("x")).session
    look = looks.Looks(no_threads, nothing, lambda: 7.0)
    if awaits == "its turn":
        await look.seen()
    streaming = streams.Streams(None, look)  # type: ignore[arg-type]
    heard: list[Any] = []
    answer: Any = await streaming.events(Request({"type": "http", "headers": [], gate.SESSION: opened}))

    async def listen() -> None:
        async for chunk in answer.body_iterator:
            heard.append(chunk)  # noqa: PERF401 (looked at meanwhile)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            assert ["retry: 2000\n\n"] == heard
            opened.end() if what == "session" else streaming.close()
    assert "event: over\ndata: ask again\n\n" == heard[-1]
    assert 2 == len(heard)
