"""The manager's site: JSON-RPC on `/rpc/v0`, `/healthcheck`, and whatever routes the manager adds.

Who may ask for which path is in the same table as the methods, `access.RULES`.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from damocles.rpc import access, address, asgi, core, errors


async def _health(_: Request) -> Response:
    return Response('{"status":"OK"}\n', media_type="application/json")


async def _not_found(_: Request, _exc: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404)


def manager_app(
    service: core.Service, *, routes: Sequence[BaseRoute] = (), body_seconds: float = asgi.BODY_SECONDS
) -> asgi.App:
    """Return the application of a manager.

    `/rpc/v0` takes any HTTP method and WebSocket, and does not pass through Starlette; paths match exactly.
    `routes` are Starlette's: metrics, dashboard.
    """
    rpc = asgi.endpoint(service, websocket=True, body_seconds=body_seconds)
    rest = Starlette(routes=[Route("/healthcheck", _health), *routes], exception_handlers={404: _not_found})
    rest.router.redirect_slashes = False

    async def app(scope: asgi.Message, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["path"] == address.MANAGER_PATH:
            await rpc(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})  # refuses the handshake: no other path converses
        elif (refusal := await _refusal(service, scope)) is not None:
            await refusal(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app


async def _refusal(service: core.Service, scope: asgi.Message) -> Response | None:
    """Return what a path is answered with instead of its route, if it is not to be had."""
    if service.guard is None:
        return None
    call = asgi.call_of(scope, "http")
    try:
        await service.guard.authorize(scope["path"], call.token, call.peer)
    except access.UnknownMethod:
        return PlainTextResponse("404 page not found\n", 404)
    except errors.RpcError as error:
        bearer = {"www-authenticate": "Bearer"} if error.code == errors.Code.UNAUTHORIZED else {}
        return PlainTextResponse(f"{error.message}\n", error.code, bearer)
    return None
