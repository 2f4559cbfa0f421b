"""The manager's site: JSON-RPC on `/rpc/v0`, `/healthcheck`, and whatever routes the manager adds.

Who may ask for which path is in the same table as the methods, `access.RULES`.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from damocles.rpc import address, core, errors
from damocles.rpc.admission import access
from damocles.rpc.serving import asgi


async def _health(_: Request) -> Response:
    return Response(asgi.HEALTHY, media_type="application/json")


async def _not_found(_: Request, _exc: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404)


async def _disk_fails(_: Request, exc: Exception) -> Response:
    return PlainTextResponse(f"{exc}\n", 503)


def manager_app(
    service: core.Service, *, routes: Sequence[BaseRoute] = (), body_seconds: float = asgi.BODY_SECONDS
) -> asgi.App:
    """Return the application of a manager.

    `/rpc/v0` takes any HTTP method and WebSocket, and does not pass through Starlette; paths match exactly.
    `routes` are Starlette's: metrics, dashboard.
    """
    rpc = asgi.endpoint(service, websocket=True, body_seconds=body_seconds)
    handlers = {404: _not_found, errors.DiskFails: _disk_fails}
    rest = Starlette(routes=[Route("/healthcheck", _health), *routes], exception_handlers=handlers)
    rest.router.redirect_slashes = False
    audits = next((layer for layer in service.layers if isinstance(layer, asgi.Requests)), None)
    admitted = asgi.guarded(
        rest, service.guard, lambda scope: access.route(scope["method"], scope["path"]), auditor=audits
    )

    async def app(scope: asgi.Message, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["path"] == address.MANAGER_PATH:
            await rpc(scope, receive, send)
        else:
            await admitted(scope, receive, send)

    return app
