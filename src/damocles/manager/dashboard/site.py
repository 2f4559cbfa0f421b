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
from damocles.manager.alerts import board, rules
from damocles.manager.dashboard import asking, details, doors, gate, looks, manual, pages, render, sessions, streams
from damocles.manager.dashboard.views import addresses, others, proving, threads
from damocles.manager.fleet import acts
from damocles.rpc import core, errors
from damocles.rpc.admission import access, keyring
from damocles.rpc.serving import asgi, doorstep
from damocles.wire import control

Handler = Callable[[Request], Awaitable[Response]]

_STATUSES: Mapping[int, int] = {errors.Code.UNAUTHORIZED: 401, errors.Code.FORBIDDEN: 403}
_BAD, _NOT_FOUND, _UNAVAILABLE = 400, 404, 503
_BROWSED = doorstep.Browsed(gate.PREFIX, frozenset(gate.LEADS))
_TITLES = {_NOT_FOUND: "No such page"}

# What the address of each page may say. The log-in, which opens the door to all, takes any.
_PARAMETERS: Mapping[str, Mapping[str, addresses.Kind]] = {
    "/dashboard/fleet": {},
    "/dashboard/threads": threads.PARAMETERS,
    "/dashboard/drain": {"worker": addresses.TEXTS},
    "/dashboard/alerts": {"rule": addresses.one_of(rule.name for rule in rules.DEFAULTS)},
    "/dashboard/sectors": {"sector": addresses.TEXT},
    "/dashboard/sectors/{sector}": {},
    "/dashboard/pipeline": {},
    "/dashboard/proving": proving.PARAMETERS,
    "/dashboard/stores": {},
    "/dashboard/audit": others.AUDIT_PARAMETERS,
    "/dashboard/metrics": {},
    "/dashboard/events": {},
    "/dashboard/log": dict.fromkeys(("worker", "index", "after", "sector"), addresses.TEXT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """What is open: the routes, and the sessions that the gate asks."""

    routes: Sequence[BaseRoute]
    sessions: sessions.Sessions
    streaming: streams.Streams
    browsed: doorstep.Browsed = _BROWSED

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
        answer = _explained(documentation.answer, templates)
        routes.append(Route(f"{manual.BELOW}{{path:path}}", answer, methods=["GET"]))
    for verb, path, handler in given:
        checked = _checked(handler, _PARAMETERS[path]) if verb == "GET" and path != gate.LOG_IN else handler
        answer = _explained(checked, templates)
        if verb == "GET" and path != gate.LOG_IN and f"GET {path}" not in access.STREAMS:
            routes.append(Route(f"{path}.json", answer, methods=[verb]))
        routes.append(Route(path, answer, methods=[verb]))
    routes.append(Route(f"{gate.PREFIX}{{path:path}}", _explained(_no_page, templates), methods=["GET"]))
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


async def _no_page(_: Request) -> Response:
    raise manual.NoPage


def _checked(handler: Handler, known: Mapping[str, addresses.Kind]) -> Handler:
    """Return a handler that answers no address that says what is not known."""

    async def answer(request: Request) -> Response:
        addresses.check(request.query_params.multi_items(), known)
        return await handler(request)

    return answer


def _explained(handler: Handler, templates: render.Pages) -> Handler:
    """Return a handler whose refusals are a page that says why."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except manual.NoPage as error:
            return _refusal(request, templates, str(error), _NOT_FOUND)
        except errors.DiskFails as error:
            return _refusal(request, templates, str(error), _UNAVAILABLE)
        except errors.RpcError as error:
            return _refusal(request, templates, error.message, _STATUSES.get(error.code, _BAD))
        except addresses.Unfit as error:
            return _refusal(request, templates, str(error), _BAD, back=request.url.path)
        except ValueError as error:
            return _refusal(request, templates, str(error), _BAD)

    return answer


def _refusal(request: Request, templates: render.Pages, text: str, status: int, *, back: str = gate.FIRST) -> Response:
    view = render.Refusal(problem=text)
    return templates.page(
        request, "refusal", view, status=status, back=back, title=_TITLES.get(status, "Not done"), twin=""
    )
