"""The dashboard as routes of the manager's site, and what runs beside them.

async with site.open_dashboard(service=service, …) as made:
app = gate.watched(manager_app(service, routes=made.routes), made.sessions)
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from damocles import beside
from damocles.manager.alerts import board
from damocles.manager.dashboard import asking, details, doors, gate, looks, manual, pages, render, sessions, streams
from damocles.manager.fleet import acts
from damocles.rpc import core, errors
from damocles.rpc.admission import access, keyring
from damocles.rpc.serving import asgi
from damocles.wire import control

Handler = Callable[[Request], Awaitable[Response]]

_STATUSES: Mapping[int, int] = {errors.Code.UNAUTHORIZED: 401, errors.Code.FORBIDDEN: 403}
_BAD, _UNAVAILABLE = 400, 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """What is open: the routes, and the sessions that the gate asks."""

    routes: Sequence[BaseRoute]
    sessions: sessions.Sessions
    streaming: streams.Streams
    below: str = gate.PREFIX

    def around(self, app: asgi.App) -> asgi.App:
        """Return the site with its pages behind the gate."""
        return gate.watched(app, self.sessions)

    def end(self) -> None:
        """End what streams."""
        self.streaming.close()


@contextlib.asynccontextmanager
async def open_dashboard(
    *,
    service: core.Service,
    workers: acts.Fleet,
    ring: keyring.Keyring,
    sources: details.Sources,
    clock: Callable[[], float],
) -> AsyncIterator[Dashboard]:
    """Serve the dashboard while the block runs."""
    documentation = await anyio.to_thread.run_sync(manual.read, manual.FOLDER)
    templates = await anyio.to_thread.run_sync(render.Pages, clock, manual.BELOW if documentation is not None else "")
    opened = sessions.Sessions(ring.identify, clock)
    look = looks.Looks(
        lambda: workers.threads(core.Call(principal="dashboard"), control.Selection(all=True)),
        workers.workers,
        clock,
        others=lambda: _found(sources.alerts),
    )
    door = doors.Doors(opened, templates)
    ask = asking.Asking(service)
    shown = pages.Shown(ask, look, templates, sources.alerts)
    closer = details.Details(ask, look, templates, sources, clock)
    streaming = streams.Streams(ask, look)
    given: list[tuple[str, str, Handler]] = [
        ("GET", gate.LOG_IN, door.show),
        ("POST", gate.LOG_IN, door.log_in),
        ("POST", "/dashboard/logout", door.log_out),
        ("GET", "/dashboard/events", streaming.events),
        ("GET", "/dashboard/log", streaming.log),
        *shown.handlers(),
        *closer.handlers(),
    ]
    routes: list[BaseRoute] = [Route("/dashboard/static/{name}", _file(templates), methods=["GET"])]
    if documentation is not None:
        routes.append(Route(f"{manual.BELOW}{{path:path}}", documentation.answer, methods=["GET"]))
    for verb, path, handler in given:
        answer = _explained(handler, templates)
        if verb == "GET" and path != gate.LOG_IN and f"GET {path}" not in access.STREAMS:
            routes.append(Route(f"{path}.json", answer, methods=[verb]))
        routes.append(Route(path, answer, methods=[verb]))
    async with beside.running(look.run):
        yield Dashboard(routes=routes, sessions=opened, streaming=streaming)


def _found(alerts: board.Alerts) -> looks.Found | None:
    """Return what the alerts' last look has found."""
    if alerts.looked_at is None:
        return None
    seen = alerts.seen
    silent = [control.Silence(worker=worker, reason=reason) for worker, reason in seen.silent.items()]
    threads = control.FleetThreads(threads=list(seen.threads), silent=silent)
    return looks.Found(alerts.looked_at, list(seen.workers), threads)


def _file(templates: render.Pages) -> Handler:
    async def answer(request: Request) -> Response:
        return templates.file(request.path_params["name"])

    return answer


def _explained(handler: Handler, templates: render.Pages) -> Handler:
    """Return a handler whose refusals are a page that says why."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except errors.DiskFails as error:
            return _refusal(request, templates, str(error), _UNAVAILABLE)
        except errors.RpcError as error:
            return _refusal(request, templates, error.message, _STATUSES.get(error.code, _BAD))
        except ValueError as error:
            return _refusal(request, templates, str(error), _BAD)

    return answer


def _refusal(request: Request, templates: render.Pages, text: str, status: int) -> Response:
    return templates.page(request, "refusal", render.Refusal(problem=text), status=status)
