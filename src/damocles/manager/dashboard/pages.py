"""The pages of the dashboard, and what their forms do: all by the methods that the command line calls."""

import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from damocles import methods
from damocles.manager.alerts import board
from damocles.manager.dashboard import asking, forms, gate, looks, render
from damocles.manager.dashboard.views import acts, alerts, drains, fleet, threads
from damocles.rpc import core, errors
from damocles.rpc.serving import asgi
from damocles.text import units
from damocles.wire import alerts as wire
from damocles.wire import control

_USUAL_MUTE = "1h"


class Shown:
    """What is shown, and done."""

    def __init__(self, ask: asking.Asking, look: looks.Looks, templates: render.Pages, watching: board.Alerts) -> None:
        self._ask = ask
        self._alerts = watching
        self._look = look
        self._templates = templates

    def handlers(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Return verb, path and handler of each."""
        return [
            ("GET", "/dashboard/fleet", self.fleet),
            ("GET", "/dashboard/threads", self.threads),
            ("POST", "/dashboard/threads", self.act),
            ("GET", "/dashboard/drain", self.draining),
            ("POST", "/dashboard/drain", self.drain),
            ("GET", "/dashboard/alerts", self.alerts),
            ("POST", "/dashboard/alerts", self.alert),
        ]

    async def fleet(self, request: Request) -> Response:
        """Show all workers, and what needs a person."""
        seen = await self._look.seen()
        changes, found = await self._board(seen)
        view = seen.once(("fleet", changes), lambda: fleet.view(seen, found))
        return self._page(request, "fleet", view, seen=seen, also=changes)

    async def alerts(self, request: Request) -> Response:
        """Show the alerts, of one rule if the address says so."""
        seen, rule = await self._look.seen(), request.query_params.get("rule", "").strip()
        changes, found = await self._board(seen)
        view = seen.once(("alerts", changes, rule), lambda: alerts.view(found, seen.at, rule))
        return self._page(request, "alerts", view, seen=seen, also=changes)

    async def _board(self, seen: looks.Seen) -> tuple[int, wire.Board]:
        changes = self._alerts.changes
        return changes, await seen.once_asked(("board", changes), self._alerts.board)

    async def threads(self, request: Request) -> Response:
        """Show the threads that the address asks for."""
        asked, seen = threads.read(request.query_params), await self._look.seen()
        view = seen.once(asked, lambda: threads.view(seen, asked))
        known = {"sizes": threads.SIZES, "verbs": acts.VERBS, "pinned": threads.pinned}
        status = render.status_of(request, problem=bool(view.problem))
        return self._page(request, "threads", view, status=status, seen=seen, **known)

    async def act(self, request: Request) -> Response:
        """Show what an act would do; do it, and show what came of it, once that is wanted."""
        form = await forms.read(request)
        if form.texts.get("verb") == drains.VERB:
            workers = drains.of_threads(form, await self._look.seen())
            address = urllib.parse.urlencode([("worker", name) for name in workers])
            return RedirectResponse(f"/dashboard/drain?{address}", 303)
        wanted = acts.read(form)
        dry_run = form.texts.get("step") != "do"
        call = _call(request)
        if not dry_run and wanted.verb == "abort" and form.texts.get("sure") != "yes":
            raise ValueError("aborting deletes the files of sectors and cannot be undone: say that you are sure")
        outcomes = await self._acted(call, wanted, wanted.act(dry_run=dry_run))
        possible: list[str] = []
        if dry_run and (question := acts.asks_for_states(wanted)) is not None:
            possible = acts.states(await self._acted(call, wanted, question))
        if not dry_run:
            self._look.forget()
        view = acts.view(wanted, outcomes, dry_run=dry_run, states=possible)
        return self._templates.page(request, "act", view)

    async def draining(self, request: Request) -> Response:
        """Show what a drain of some workers would mean, or its end."""
        call, names = _call(request), drains.named(request.query_params.getlist("worker"))
        found = await self._of_each(names, lambda name: self._ask(call, methods.fleet.drain_state(name)))
        return self._page(request, "drain", drains.view(found))

    async def drain(self, request: Request) -> Response:
        """Begin or end the drain of workers, and show what came of it."""
        call, form = _call(request), await forms.read(request)
        deadline = units.parse_duration(form.texts["deadline"]) if form.texts.get("deadline", "").strip() else None
        if (said := form.texts.get("on")) not in {"yes", "no"}:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, "on: yes begins a drain, no ends it; nothing was done")
        on, reason = said == "yes", form.texts.get("reason", "").strip()
        names = drains.named(form.workers)
        done = await self._of_each(
            names, lambda name: self._ask(call, methods.fleet.drain(name, on, deadline if on else None, reason))
        )
        self._look.forget()
        return self._page(request, "drain", drains.view(done, done=True, on=on))

    async def _of_each(
        self, names: Sequence[str], ask: Callable[[str], Awaitable[control.Drain]]
    ) -> list[drains.Worker]:
        """Ask for each worker at once: one that refuses or is away holds up no other. Who may not act hears that."""
        found: list[drains.Worker] = []
        forbidden: list[errors.RpcError] = []

        async def one(name: str) -> None:
            try:
                found.append(drains.Worker(worker=name, drain=await ask(name)))
            except errors.RpcError as error:
                found.append(drains.Worker(worker=name, problem=error.message))
                if error.code == errors.Code.FORBIDDEN:
                    forbidden.append(error)

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(one, name)
        if len(forbidden) == len(names):
            raise forbidden[0]
        return found

    async def alert(self, request: Request) -> Response:
        """Note that somebody takes care of an alert, or mute it or all of its rule for a while."""
        texts = (await forms.read(request)).texts
        number, rule, reason = texts.get("id", ""), texts.get("rule", ""), texts.get("reason", "").strip()
        if not rule and not (number.isascii() and number.isdigit()):
            raise ValueError("say which alert: its id is a number")
        if texts.get("do") == "mute":
            seconds = units.parse_duration(texts.get("for") or _USUAL_MUTE)
            await self._ask(_call(request), methods.alerts.mute(rule or int(number), seconds, reason))
        else:
            await self._ask(_call(request), methods.alerts.acknowledge(int(number or -1), reason))
        return RedirectResponse(gate.ours(texts.get("back", "")), 303)

    def _page(self, request: Request, name: str, view: msgspec.Struct, **more: Any) -> Response:
        return self._templates.page(request, name, view, **more)

    async def _acted(self, call: core.Call, wanted: acts.Wanted, act: control.Act) -> list[control.Outcome]:
        made: list[control.Outcome] = []
        for chosen in wanted.selections():
            outcomes = await self._ask(call, methods.fleet.act(chosen, act))
            made += outcomes
        return made


def _call(request: Request) -> core.Call:
    call: Any = request.scope[asgi.CALL]
    return call  # type: ignore[no-any-return]
