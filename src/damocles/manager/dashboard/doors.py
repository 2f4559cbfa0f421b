"""The log-in page: it takes a token and gives the browser the id of a session, which ends at the log-out."""

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from damocles.manager.dashboard import forms, gate, render, sessions
from damocles.rpc import callers, errors
from damocles.rpc.admission import tokens
from damocles.rpc.serving import asgi

log = structlog.get_logger(__name__)

_LOG_IN_BYTES = 8192
_REFUSALS_REMEMBERED = 1000


class Doors:
    """Log-in and log-out."""

    def __init__(self, opened: sessions.Sessions, pages: render.Pages) -> None:
        self._sessions = opened
        self._pages = pages
        self._refused: set[tuple[str, str]] = set()

    async def show(self, request: Request) -> Response:
        """Return the page that asks for a token."""
        return self._page(request, request.query_params.get("next", ""))

    async def log_in(self, request: Request) -> Response:
        """Open a session for a token and go to where its holder wanted to."""
        form = await forms.read(request, _LOG_IN_BYTES, of_session=False)
        wanted = form.texts.get("next", "")
        peer = asgi.call_of(request.scope, "http").peer
        try:
            token = tokens.checked(form.texts.get("token", ""), "the field")
            made = await self._sessions.log_in(token)
        except ValueError as error:
            return self._page(request, wanted, str(error), status=400)
        except callers.Unidentified as error:
            self._refuse(peer, str(error))
            return self._page(request, wanted, f"{error}: ask this manager's operator for another one", status=401)
        except sessions.NotForPages as error:
            self._refuse(peer, str(error))
            return self._page(request, wanted, str(error), status=403)
        if (before := gate.session_of(request.scope)) is not None:
            before.end()
        log.info("dashboard: log-in", who=made.session.name, peer=peer)
        answer = RedirectResponse(gate.ours(wanted), 303)
        answer.headers["set-cookie"] = gate.cookie(request.scope, made.id)
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        await forms.read(request, _LOG_IN_BYTES)
        session = gate.session_of(request.scope)
        if session is None:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, "there is no session: a token needs no log-out")
        session.end()
        answer = RedirectResponse(gate.LOG_IN, 303)
        answer.headers["set-cookie"] = gate.cookie(request.scope, "")
        return answer

    def _refuse(self, peer: str, why: str) -> None:
        """Log a refusal, once for each host and reason: whoever knocks again and again fills no disk."""
        if (key := (peer.rpartition(":")[0], why)) not in self._refused:
            if len(self._refused) >= _REFUSALS_REMEMBERED:
                self._refused.clear()
            self._refused.add(key)
            log.warning("dashboard: log-in refused", peer=peer, reason=why)

    def _page(self, request: Request, wanted: str, problem: str = "", *, status: int = 200) -> Response:
        return self._pages.html(request, "login", {"next": gate.ours(wanted), "problem": problem}, status=status)
