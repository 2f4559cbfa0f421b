"""A browser as a server sees it: cookies, forms, and the headers that say which page asks."""

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import httpx2
from tests.integration.access.conftest import Daemon

from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server
from damocles.wire import control, fleet

MARKER = re.compile(r'name="marker" value="([^"]*)"')


@dataclass
class Browser:
    """One browser on the pages of a manager."""

    http: httpx2.AsyncClient
    origin: str

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Open a page."""
        usual = {"accept": "text/html", "sec-fetch-site": "same-origin"}
        return await self.http.get(self.origin + path, headers={**usual, **headers})

    async def post(self, path: str, fields: Mapping[str, Any], **headers: str) -> httpx2.Response:
        """Send a form as a page of the manager does."""
        usual = {"accept": "text/html", "origin": self.origin, "sec-fetch-site": "same-origin"}
        return await self.http.post(self.origin + path, data=dict(fields), headers={**usual, **headers})

    async def marker(self) -> str:
        """Return what stands in the forms of this log-in."""
        found = MARKER.search((await self.get("/dashboard/fleet")).text)
        assert found is not None
        return html.unescape(found[1])

    async def send(self, path: str, fields: Mapping[str, Any], **headers: str) -> httpx2.Response:
        """Fill in a form of a page and send it."""
        return await self.post(path, {"marker": await self.marker(), **fields}, **headers)


@asynccontextmanager
async def browser(manager: Daemon, token: str | None = None) -> AsyncIterator[Browser]:
    """Yield a browser, which has logged in if there is a token."""
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=False) as http:
        made = Browser(http, manager.url.removesuffix("/rpc/v0"))
        if token is not None:
            answer = await made.post("/dashboard/login", {"token": token})
            assert 303 == answer.status_code, answer.text
        yield made


def thread(index: int = 0, **fields: Any) -> control.ThreadDetail:
    """Return a thread that is paused at C1Done."""
    given: dict[str, Any] = {"location": "/store", "plan": "sealer", "job_id": "s-t010000-7", "job_state": "C1Done"}
    given |= {"job_stage": "C2", "last_error": "permanent: it broke"}
    given |= {name: fields.pop(name) for name in [*fields] if name in given}
    info = fleet.ThreadInfo(**given, index=index, thread_state=fleet.ThreadState("Paused", 5))
    return control.ThreadDetail(info=info, sector=info.job_id, since=1.0, **fields)


@dataclass
class Acted:
    """A worker that is none: it has these threads, and writes down what it is asked to do."""

    threads: list[control.ThreadDetail]
    asked: list[tuple[control.Selection, control.Act, str]]
    lines: list[control.LogLine] = field(default_factory=list)
    history: list[control.HistoryEntry] = field(default_factory=list)
    is_away: bool = False  # for whoever asks for lines
    drain: control.Drain = field(default_factory=lambda: control.Drain(on=False))


class Pinged(Protocol):
    """A manager that can be called."""

    async def call(self, method: str, *params: Any) -> Any:
        """Call it."""


@asynccontextmanager
async def worker(manager: Pinged, *threads: control.ThreadDetail, name: str = "w1") -> AsyncIterator[Acted]:
    """Run a worker that is none, and have it ping."""
    made = Acted([*threads], [])
    service = core.Service(dialects.WORKER)

    async def listed() -> list[control.ThreadDetail]:
        return made.threads

    async def act_on(chosen: control.Selection, wanted: control.Act, asked_by: str = "") -> list[control.Outcome]:
        if not wanted.dry_run:
            made.asked.append((chosen, wanted, asked_by))
        return [
            control.Outcome(
                index=one.info.index,
                sector=one.info.job_id,
                state=one.info.job_state,
                ok=wanted.state != "?",
                text="refused; possible: PC1Done, C1Done" if wanted.state == "?" else f"{wanted.verb} it",
            )
            for one in made.threads
            if not chosen.sectors or one.info.job_id in chosen.sectors
        ]

    async def logs(index: int, after: int = 0, wait_seconds: float = 0.0) -> list[control.LogLine]:
        if made.is_away:
            raise errors.RpcError(errors.Code.UNKNOWN_THREAD, "not yet")
        found = [line for line in made.lines if line.number > after]
        if not found and wait_seconds:
            await anyio.sleep(wait_seconds)
        return found

    async def history(sector: str) -> list[control.HistoryEntry]:
        return made.history

    async def drain_state() -> control.Drain:
        return made.drain

    async def drain(
        on: bool, deadline_seconds: float | None = None, reason: str = "", asked_by: str = ""
    ) -> control.Drain:
        made.drain = control.Drain(
            on=on, since=1.0 if on else None, deadline=deadline_seconds, reason=f"{reason} ({asked_by})"
        )
        return made.drain

    service.add("Damocles.DrainState", drain_state)
    service.add("Damocles.Drain", drain)
    service.add("Damocles.Threads", listed)
    service.add("Damocles.ActOn", act_on)
    service.add("Damocles.Logs", logs)
    service.add("Damocles.History", history)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        await manager.call("Venus.WorkerPing", fleet.WorkerInfo(name, str(bound)))
        yield made
