"""The manager's metrics: the names of damocles v0.13, and ours, all under `damocles_manager_`.

Requests are counted as they end (`Tally`); all else is read from the database, or taken from the last look at the
fleet, when somebody asks.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import damocles
from damocles import exposition, methods
from damocles.manager.alerts import board as manager_alerts
from damocles.manager.alerts import notify
from damocles.manager.alerts.progress import PREFIX
from damocles.manager.db import mined, tables
from damocles.manager.db.engine import Database
from damocles.manager.fleet import workers
from damocles.manager.fleet.acts import Fleet
from damocles.manager.serving import due
from damocles.rpc import core, limits
from damocles.stores import space
from damocles.wire import control

# Of damocles v0.13; all others are ours.
ORIGINALS = frozenset(
    f"{PREFIX}_{name}"
    for name in ("info", "api_state", "new_sector", "sector_pre_commit", "sector_commit", "api_request_duration_ms")
) | {f"{PREFIX}_thread_count", f"{PREFIX}_worker_count"}

# Upper bounds in milliseconds, as in v0.13.
_REQUEST_BOUNDS = (
    *(0.01, 0.05, 0.1, 0.3, 0.6, 0.8, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160),
    *(200, 250, 300, 400, 500, 650, 800, 1000, 2000, 3000, 4000, 5000, 7500, 10000, 20000, 50000, 100000),
)
_LATENCIES_SECONDS = (60, 120, 300)
_CATEGORIES = ("empty", "paused", "running", "waiting", "errors")


class Tally:
    """What is counted from the start of the manager on; a layer of the service."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.gauges = limits.Gauges()
        self._pre_commits: Counter[tuple[str]] = Counter()
        self._commits: Counter[tuple[str]] = Counter()
        self._errors: Counter[tuple[str]] = Counter()
        self._durations = exposition.Histogram(
            f"{PREFIX}_api_request_duration_ms",
            "Milliseconds that requests took; `api` is empty, `endpoint` like `Venus.AllocateSector`.",
            ("api", "endpoint"),
            _REQUEST_BOUNDS,
        )

    async def handle(self, handling: core.Handling, proceed: core.Proceed) -> core.Outcome:
        """Stand around a call."""
        with self.measure(handling.method, handling.arguments) as count:
            outcome = await proceed(handling)
            count(outcome.value)
        return outcome

    @contextlib.contextmanager
    def measure(self, method: core.Method, arguments: Sequence[Any]) -> Iterator[Callable[[Any], None]]:
        """Count the request that is answered in this block."""
        began, done = self._now(), False

        def count(_: Any) -> None:
            nonlocal done
            done = True

        try:
            yield count
        finally:
            self._durations.observe(("", method.name), 1000 * (self._now() - began))
            if not done:
                self._errors[method.name,] += 1
            elif method.name == methods.sealer.submit_pre_commit.name:
                self._pre_commits[str(arguments[0].id.miner),] += 1
            elif method.name == methods.sealer.submit_proof.name:
                self._commits[str(arguments[0].miner),] += 1

    def families(self) -> Iterator[exposition.Family]:
        """Yield the counts."""
        yield exposition.counter(
            f"{PREFIX}_sector_pre_commit",
            "Pre-commits that were answered, the rejected ones too.",
            self._pre_commits,
            ("miner",),
        )
        yield exposition.counter(
            f"{PREFIX}_sector_commit", "Proofs that were answered, the rejected ones too.", self._commits, ("miner",)
        )
        yield self._durations.family()
        yield exposition.counter(
            f"{PREFIX}_api_errors_total",
            "Requests that were refused or failed after their parameters were understood.",
            self._errors,
            ("endpoint",),
        )
        yield from exposition.limits(PREFIX, self.gauges.levels(), self.gauges.met())


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is looked at for a scrape; `free_bytes` without the stores that do not answer."""

    allocated: Mapping[tuple[str], int]
    online: int
    workers: Sequence[control.WorkerStatus]
    threads: exposition.Groups
    looked_seconds_ago: float | None
    free_bytes: Mapping[tuple[str], int]
    reserved_bytes: Mapping[tuple[str], int]
    blocks: Mapping[tuple[str, str], int]
    alerts: Mapping[tuple[str, str], int]
    deliveries: Mapping[notify.Delivery, int]
    due: due.Due
    now: float
    loop_lag_seconds: float


def families(facts: Facts) -> Iterator[exposition.Family]:
    """Yield the present metrics of the manager."""

    def plain(name: str, documentation: str, value: float) -> exposition.Family:
        return exposition.gauge(f"{PREFIX}_{name}", documentation, {(): value}, ())

    yield plain("info", "1 while the manager runs.", 1)
    yield exposition.gauge(
        f"{PREFIX}_version_info", "1; the label is the version.", {(damocles.__version__,): 1}, ("version",)
    )
    yield plain("api_state", "1 while requests are answered.", 1)
    yield exposition.counter(
        f"{PREFIX}_new_sector", "Sectors allocated since the manager's database exists.", facts.allocated, ("miner",)
    )
    yield plain("sectors_online", "Sectors that are allocated and neither finished nor aborted.", facts.online)
    yield from _worker_families(facts.workers)
    # From the last look of the alerts, with who did not answer then left out.
    yield from exposition.threads(PREFIX, facts.threads, facts.now)
    if facts.looked_seconds_ago is not None:
        yield plain(
            "fleet_look_age_seconds",
            "Seconds since workers were asked for their threads.",
            facts.looked_seconds_ago,
        )
    yield exposition.gauge(
        f"{PREFIX}_store_free_bytes",
        "Bytes free in persist stores that the manager knows by their path.",
        facts.free_bytes,
        ("store",),
    )
    yield exposition.gauge(
        f"{PREFIX}_store_reserved_bytes", "Bytes reserved for sectors, in all stores.", facts.reserved_bytes, ("store",)
    )
    yield exposition.gauge(
        f"{PREFIX}_blocks",
        "Elections won in the last thirty days on a real chain, by what became of their blocks: `included`, `lost` and so on.",
        facts.blocks,
        ("miner", "state"),
    )
    yield exposition.gauge(f"{PREFIX}_alerts", "Alerts that are not resolved.", facts.alerts, ("rule", "state"))
    yield exposition.counter(
        f"{PREFIX}_alert_deliveries_total",
        "Messages about alerts: delivered, failed (each try), dropped.",
        facts.deliveries,
        ("sink", "outcome"),
    )
    yield from due.families(facts.due, facts.now)
    yield plain(
        "event_loop_lag_seconds",
        "How long the daemon's event loop took to turn to something new, at the scrape.",
        facts.loop_lag_seconds,
    )


def _worker_families(statuses: Sequence[control.WorkerStatus]) -> Iterator[exposition.Family]:
    threads: Counter[tuple[str]] = Counter({(category,): 0 for category in _CATEGORIES})
    latencies: Counter[tuple[str]] = Counter({(_latency(bound),): 0 for bound in (*_LATENCIES_SECONDS, float("inf"))})
    by_status: Counter[tuple[str]] = Counter({("live",): 0, ("late",): 0, ("lost",): 0})
    for worker in statuses:
        summary = worker.info.summary
        for category in _CATEGORIES:
            threads[category,] += getattr(summary, category)
        latencies[_latency(worker.age_seconds),] += 1
        by_status[worker.status,] += 1
    yield exposition.gauge(
        f"{PREFIX}_thread_count",
        "Sealing threads (empty, paused, running, waiting, errors) by the last pings of all workers, however old.",
        threads,
        ("category",),
    )
    yield exposition.gauge(
        f"{PREFIX}_worker_count",
        "Workers by the age of their last ping: `latency<=60s` and so on.",
        latencies,
        ("category",),
    )
    yield exposition.gauge(f"{PREFIX}_workers", "Workers by status: live, late, lost.", by_status, ("status",))
    yield exposition.gauge(
        f"{PREFIX}_worker_ping_age_seconds",
        "Seconds since the last ping of a worker.",
        {(worker.info.name,): worker.age_seconds for worker in statuses},
        ("worker",),
    )
    yield exposition.gauge(
        f"{PREFIX}_worker_threads_paused",
        "Paused sealing threads of a worker, by its last ping.",
        {(worker.info.name,): worker.info.summary.paused for worker in statuses},
        ("worker",),
    )
    yield exposition.gauge(
        f"{PREFIX}_worker_draining",
        "1 if a worker begins no new sectors, by its last ping.",
        {(worker.info.name,): int(worker.info.draining is True) for worker in statuses},
        ("worker",),
    )


def _latency(seconds: float) -> str:
    bound = next((bound for bound in _LATENCIES_SECONDS if seconds <= bound), None)
    return f"latency>{_LATENCIES_SECONDS[-1]}s" if bound is None else f"latency<={bound}s"


class Source:
    """Where the metrics of a manager come from."""

    def __init__(
        self,
        *,
        tally: Tally,
        database: Database,
        workers: Fleet,
        stores: space.Space,
        alerts: manager_alerts.Alerts,
        outlook: due.Source,
        sizes_bytes: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tally = tally
        self._database = database
        self._workers = workers
        self._stores = stores
        self._alerts = alerts
        self._outlook = outlook
        self._sizes_bytes = sizes_bytes
        self._clock = clock
        self._grouped = alerts.seen  # what `_groups` counts: the same until the next look
        self._groups = exposition.grouped(alerts.seen.threads)

    async def text(self) -> bytes:
        """Return what Prometheus reads."""
        lag = await exposition.loop_lag_seconds()
        usage = await self._stores.ask()
        allocated, online, reserved, rows = await self._database.read(_read)
        won = await self._database.read(_blocks)
        process = await exposition.process()
        looked_at = self._alerts.looked_at
        if self._grouped is not self._alerts.seen:
            self._grouped = self._alerts.seen
            self._groups = exposition.grouped(self._grouped.threads)
        facts = Facts(
            allocated=allocated,
            online=online,
            workers=[self._workers.watch.describe(row) for row in rows],
            threads=self._groups,
            looked_seconds_ago=None if looked_at is None else self._clock() - looked_at,
            free_bytes={(name,): used.free for name, used in usage.items()},
            reserved_bytes=reserved,
            blocks=won,
            alerts=self._alerts.counts(),
            deliveries=self._alerts.deliveries,
            due=await self._outlook.look(),
            now=self._clock(),
            loop_lag_seconds=lag,
        )
        counted = [*self._tally.families(), *self._alerts.progress.families(self._sizes_bytes())]
        return exposition.text([*counted, *families(facts), *process])

    def route(self) -> Route:
        """Return the route of the manager's site."""

        async def metrics(_: Request) -> Response:
            return Response(await self.text(), headers={"content-type": exposition.CONTENT_TYPE})

        return Route("/metrics", metrics)


def _read(
    tx: Connection,
) -> tuple[dict[tuple[str], int], int, dict[tuple[str], int], list[workers.Row]]:
    sectors, numbers, held = tables.sectors, tables.numbers, tables.reservations
    allocated = {(str(miner),): last for miner, last in tx.execute(select(numbers.c.miner, numbers.c.last_number))}
    online = tx.execute(select(func.count()).where(sectors.c.online.is_(True))).scalar_one()
    reserved = tx.execute(select(held.c.store, func.sum(held.c.size_bytes)).group_by(held.c.store))
    return allocated, online, {(store,): int(size) for store, size in reserved}, workers.select_rows(tx)


def _blocks(tx: Connection) -> dict[tuple[str, str], int]:
    won = mined.mined_blocks
    query = select(won.c.miner, won.c.stage, func.count()).group_by(won.c.miner, won.c.stage)
    return {(str(miner), stage): count for miner, stage, count in tx.execute(query)}
