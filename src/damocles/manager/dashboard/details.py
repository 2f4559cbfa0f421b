"""The pages that look closer: one sector, the pipeline, window PoSts, stores, the audit and metrics."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from damocles import methods
from damocles.manager.alerts import board
from damocles.manager.dashboard import asking, deadlines, looks, render
from damocles.manager.dashboard.views import others, pipeline, proving
from damocles.manager.dashboard.views import sector as one
from damocles.manager.db.engine import Database
from damocles.manager.sectors import stores
from damocles.manager.serving import audit
from damocles.methods import acts
from damocles.methods.declaring import Ask
from damocles.rpc import core, errors
from damocles.rpc.serving import asgi
from damocles.wire import control, records
from damocles.wire.proving import FilesOf
from damocles.wire.sectors import SectorID

_HISTORY_SECONDS = 10.0
_MOST_HISTORIES = 100
_LINES = 200  # of a log that a page begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the manager knows and serves by no method of its own."""

    database: Database
    ledger: audit.Ledger
    alerts: board.Alerts
    proved: Collection[int] = ()  # miners whose deadlines the manager knows; none on a devnode of its own


class _Kept(NamedTuple):
    at: float
    place: list[Any]
    history: control.SectorHistory


class Details:
    """What is shown of single things."""

    def __init__(
        self,
        ask: asking.Asking,
        look: looks.Looks,
        templates: render.Pages,
        sources: Sources,
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._look = look
        self._templates = templates
        self._from = sources
        self._clock = clock
        self._histories: dict[SectorID, _Kept] = {}
        self._deadlines = deadlines.Deadlines(ask, sources.proved)

    def handlers(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Return verb, path and handler of each."""
        return [
            ("GET", "/dashboard/sectors", self.find),
            ("GET", "/dashboard/sectors/{sector}", self.sector),
            ("GET", "/dashboard/pipeline", self.pipeline),
            ("GET", "/dashboard/proving", self.proving),
            ("GET", "/dashboard/stores", self.stores),
            ("GET", "/dashboard/audit", self.audit),
            ("GET", "/dashboard/metrics", self.metrics),
        ]

    async def find(self, request: Request) -> Response:
        """Lead to the page of a sector that somebody has typed."""
        identity = SectorID.parse(request.query_params.get("sector", "").strip())
        return RedirectResponse(
            f"{request.url.path.removesuffix('.json')}/{identity}{'.json' * render.wants_json(request)}", 303
        )

    async def sector(self, request: Request) -> Response:
        """Show all that is known of a sector; a worker that is away leaves its part out."""
        identity = SectorID.parse(request.path_params["sector"])
        call = _call(request)
        seen = await self._look.seen()
        holding = one.held(seen, identity)
        view = one.view(
            seen,
            identity,
            await self._history(call, identity, holding),
            record=await self._record(call, identity),
            files=await self._files(call, identity),
            messages=await self._messages(call, identity),
            log=await self._lines(call, holding[0], str(identity)) if holding else [],
        )
        if not (view.threads or view.history or view.record):
            raise errors.RpcError(errors.Code.INVALID_PARAMS, f"nothing is known of {identity}")
        return self._templates.page(request, "sector", view)

    async def pipeline(self, request: Request) -> Response:
        """Show how sectors flow."""
        known, changes, seen = self._from.alerts.durations, self._from.alerts.changes, await self._look.seen()
        view = seen.once(("pipeline", changes), lambda: pipeline.view(seen, known, seen.at))
        return self._templates.page(request, "pipeline", view, seen=seen, also=changes)

    async def proving(self, request: Request) -> Response:
        """Show the day's deadlines, and the jobs of window PoSts."""
        call = _call(request)
        listed = await self._ask(call, methods.wdpost.all_jobs())
        told = await self._deadlines.told(call)
        view = proving.view(listed, request.query_params.get("state", "").strip(), self._clock(), told)
        return self._templates.page(request, "proving", view)

    async def stores(self, request: Request) -> Response:
        """Show persist stores."""
        found = await self._ask(_call(request), methods.util.list_stores())
        counts = await self._from.database.read(stores.persisted)
        return self._templates.page(request, "stores", others.stores(found or [], counts, self._clock()))

    async def audit(self, request: Request) -> Response:
        """Show who changed what."""
        asked, now = others.audit_asked(request.query_params), self._clock()
        try:
            query = others.audit_query(asked, now)
        except ValueError as error:
            return self._templates.page(
                request,
                "audit",
                others.audit_page(asked, [], now, problem=str(error)),
                status=render.status_of(request, problem=True),
            )
        found = await self._from.ledger.newest(query, asked.before or None)
        return self._templates.page(request, "audit", others.audit_page(asked, found, now))

    async def metrics(self, request: Request) -> Response:
        """Show where metrics are."""
        seen = await self._look.seen()
        view = seen.once("metrics", lambda: others.metrics(seen.workers, seen.at))
        return self._templates.page(request, "metrics", view, seen=seen)

    async def _history(
        self, call: core.Call, identity: SectorID, holding: Sequence[control.ThreadDetail]
    ) -> control.SectorHistory:
        """Return the history, for which all workers are asked: again as soon as the sector has moved, or after a while."""
        now = self._clock()
        place = [(one.worker, one.info.index, one.info.job_state, one.info.last_error, one.attempt) for one in holding]
        kept = self._histories.get(identity)
        if kept is not None and kept.place == place and abs(now - kept.at) < _HISTORY_SECONDS:
            return kept.history
        history = await self._ask(call, methods.fleet.history(str(identity)))
        if len(self._histories) >= _MOST_HISTORIES:
            self._histories.clear()
        self._histories[identity] = _Kept(now, place, history)
        return history

    async def _messages(self, call: core.Call, identity: SectorID) -> list[acts.SectorMessage]:
        return await self._ask(call, methods.chain.of_sector(identity))

    async def _record(self, call: core.Call, identity: SectorID) -> records.SectorState | None:
        return await self._unless_refused(call, methods.records.find_sector_in_all_states(identity))

    async def _files(self, call: core.Call, identity: SectorID) -> list[one.File]:
        kinds: tuple[FilesOf, ...] = ("normal", "upgrade")
        asks = {kind: methods.records.sector_indexer_find(kind, identity) for kind in kinds}
        found = {kind: await self._ask(call, ask) for kind, ask in asks.items()}
        known = (
            await self._unless_refused(call, methods.util.list_stores())
            if any(at.found for at in found.values())
            else None
        )
        return one.persisted(identity, found, {store.name: store.path for store in known or []})

    async def _lines(self, call: core.Call, thread: control.ThreadDetail, identity: str) -> list[control.LogLine]:
        lines = await self._unless_refused(call, methods.fleet.logs(thread.dest, thread.info.index))
        return [line for line in lines or [] if line.sector in {"", identity}][-_LINES:]

    async def _unless_refused(self, call: core.Call, ask: Ask[asking.T]) -> asking.T | None:
        try:
            return await self._ask(call, ask)
        except errors.RpcError:
            return None


def _call(request: Request) -> core.Call:
    call: core.Call = request.scope[asgi.CALL]
    return call
