"""Check the fleet regularly, keep alerts, and notify people of them.

Every look asks all workers for their threads at once; one that hangs costs its time-out and keeps what was known of it.
What follows from a look is decided in `rules`, written to the database, and only then sent: a manager that is
killed in between loses a notification, rather than sending it again after each start.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from msgspec import structs

from damocles import beside, methods
from damocles.manager import neighbours
from damocles.manager.alerts import asked, durations, notify, progress, rules, seen, several, table
from damocles.manager.alerts import config as alerts_config
from damocles.manager.alerts import posts as alerts_posts
from damocles.manager.db import leases, managers
from damocles.manager.db.engine import Database
from damocles.manager.fleet import acts
from damocles.parameters import catalog
from damocles.rpc import core
from damocles.rpc import errors as rpc_errors
from damocles.stores import space
from damocles.wire import alerts, control

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0  # of a worker that is asked
MOST_RESOLVED = 1000  # in one answer
_ROUNDING_SECONDS = 0.001

Posts = Callable[[], Awaitable[Sequence[alerts_posts.Outline]]]
Deadlines = Callable[[], Awaitable[Sequence[alerts_posts.Late]]]
Blocks = Callable[[], Awaitable[Mapping[str, str]]]


class Alerts:
    """The alerts of a manager; made by `open_alerts`."""

    def __init__(
        self,
        *,
        name: str,
        home: Path,
        database: Database,
        workers: acts.Fleet,
        stores: space.Space,
        posts: Posts,
        deadlines: Deadlines | None = None,
        blocks: Blocks | None = None,
        chain: Callable[[], Mapping[str, str]],
        sector_bytes: int,
        config: alerts_config.Config,
        notifier: notify.Notifier,
        near: neighbours.Neighbours,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._near = near
        self._cut_off = several.CutOff(near.name)
        self._database = database
        self._workers = workers
        self._stores = stores
        self._posts = posts
        self._deadlines = deadlines
        self._blocks = blocks
        self._chain = chain
        self._home = space.Space({str(home): home})
        self._sector_bytes = sector_bytes
        self._config = config
        self._notifier = notifier
        self._clock = clock
        self._open: dict[int, alerts.Alert] = {}
        self._unsaved: dict[int, alerts.Alert | None] = {}  # None: to delete
        self._mutes: list[alerts.Mute] = []
        self._numbers = itertools.count(1)
        self._turn = anyio.Lock()  # of whoever changes alerts or mutes
        self.progress = progress.Progress(clock())
        self.durations = durations.Durations(self.progress)
        self.seen = seen.Snapshot()
        self.looked_at: float | None = None
        self.changes = 0  # of what `board` returns

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.alerts.board, self.board)
        service.add(methods.alerts.acknowledge, self.acknowledge)
        service.add(methods.alerts.mute, self.mute)
        service.add(methods.alerts.probe, self.probe)

    async def load(self) -> None:
        """Take up what the database holds from before."""
        await anyio.to_thread.run_sync(catalog.load)  # by which rules know what is missing
        await self._read()

    async def _read(self) -> None:
        self._open = {alert.id: alert for alert in await self._database.read(table.open_ones)}
        self._mutes = await self._database.read(table.mutes)
        self._numbers = itertools.count(await self._database.read(table.last_id) + 1)

    def change(self, config: alerts_config.Config) -> None:
        """Use other rules and intervals from the next look on; receivers change at the next start."""
        if (config.webhooks, config.apprise) != (self._config.webhooks, self._config.apprise):
            log.warning("alerts: webhooks and apprise change when the manager is started again")
        if config.lost_after_seconds != self._config.lost_after_seconds:
            log.warning("alerts: lost_after changes when the manager is started again")
        self._config = config

    async def run(self) -> None:
        """Look, for ever. Whoever looks for several managers does so until it ends: not all of them see the same disks and workers."""
        while True:
            try:
                async with self._database.leases.keeping([several.LEASE]) as held:
                    while True:
                        await self._try()
                        await self._near.rest(self._config.interval_seconds)
                        if not held.has(several.LEASE):
                            break
            except rpc_errors.DatabaseAway:
                await self._try()
                await self._near.rest(self._config.interval_seconds)

    async def _try(self) -> None:
        try:
            await self.look()
        except rpc_errors.DiskFails:
            pass  # told by the database, and an alert
        except Exception:
            # A full disk, or something that was told and nobody thought of: no reason to end the daemon.
            log.exception("alerts: the look failed; trying again")

    async def look(self) -> None:
        """Look once at everything, and do what follows."""
        if self._database.trouble is not None and not self._near.is_alone:  # of which nobody else may know
            now = self._clock()
            await self._tell(self._cut_off.away(self._database.trouble, self._config.rules, now), now)
        try:
            snapshot = await self._snapshot()
        except rpc_errors.DiskFails:
            snapshot = self.seen  # of all else nobody knows anything new
        home = await self._home.ask()
        snapshot = dataclasses.replace(snapshot, disk=seen.trouble(self._database.trouble, home))
        self._near.told = managers.Told(disk=snapshot.disk, chain=snapshot.chain)
        try:
            async with self._database.leases.keeping([several.LEASE]) as held:
                await self._tell(self._cut_off.back(self._config.rules, self._clock()), self._clock())
                await self._look(snapshot, held)
        except leases.Lost:
            raise  # whoever has the lease now tells what this look has found
        except rpc_errors.DatabaseAway as error:
            now = self._clock()
            await self._tell(self._cut_off.away(str(error), self._config.rules, now), now)
            raise

    async def _look(self, snapshot: seen.Snapshot, held: leases.Held) -> None:
        """Do what follows from a snapshot, if that is this manager's turn."""
        async with self._turn:
            now = self._clock()
            if not self._near.is_alone:
                # Whatever could not be written is found again.
                self._unsaved.clear()
                await self._read()
                snapshot = several.of_all(snapshot, await self._near.all(), self._near.name)
            if not held.has(several.LEASE):
                self._looked(snapshot, now)
                return
            notifications = await self._evaluate(snapshot, now)
        is_saved = False
        try:
            if self._unsaved:
                await self._save(held, durable=bool(notifications))
            is_saved = True
        finally:
            # Told even if it could not be written: a disk that is full is no reason for silence. Of several managers, another one tells it.
            if is_saved or self._near.is_alone:
                await self._tell(notifications, now)

    async def _tell(self, notifications: list[alerts.Notification], now: float) -> None:
        if notifications:
            self._notifier.send(alerts.Message(manager=self._name, at=now, notifications=notifications))
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(notify.tell_log, notifications)

    async def _evaluate(self, snapshot: seen.Snapshot, now: float) -> list[alerts.Notification]:
        """Do what follows from a look; return what to tell people. Nobody else changes alerts or mutes meanwhile."""
        self._mutes = [mute for mute in self._mutes if mute.until > now]
        # Of many thousand threads it takes so long that calls would wait for it.
        result, notifications = await anyio.to_thread.run_sync(
            functools.partial(
                rules.evaluate,
                snapshot,
                list(self._open.values()),
                self._config.rules,
                now,
                numbers=self._numbers,
                mutes=self._mutes,
                repeat_seconds=self._config.repeat_seconds,
            )
        )
        for alert in result:
            if self._open.get(alert.id) != alert:
                self._unsaved[alert.id] = alert
        for number in self._open.keys() - {alert.id for alert in result}:
            self._unsaved[number] = None
        self._open = {alert.id: alert for alert in result if alert.state != alerts.RESOLVED}
        self._looked(snapshot, now)
        return notifications

    def _looked(self, snapshot: seen.Snapshot, now: float) -> None:
        self.seen, self.looked_at = snapshot, now
        self.changes += 1

    async def _snapshot(self) -> seen.Snapshot:
        seconds = min(TIMEOUT_SECONDS, max(1.0, self._config.interval_seconds))
        found = await self._workers.threads(core.Call(), control.Selection(all=True), seconds)
        workers = await self._workers.workers()
        usage = await self._stores.ask()
        self.durations.feed(await self._database.read(self.durations.read))
        return seen.Snapshot(
            workers=workers,
            threads=found.threads,
            silent={silence.worker: silence.reason for silence in found.silent},
            stores=[
                seen.Store(name=name, total_bytes=used.total, free_bytes=used.free, sector_bytes=self._sector_bytes)
                for name, used in usage.items()
            ],
            silent_stores=self._stores.names - usage.keys(),
            missing_stores=self._stores.missing,
            posts=await self._posts(),
            deadlines=None if self._deadlines is None else await self._deadlines(),
            chain=self._chain(),
            blocks={} if self._blocks is None else await self._blocks(),
            typical=self.durations.typical(),
        )

    async def _save(self, store: leases.Store, *, durable: bool) -> None:
        written = dict(self._unsaved)
        changed = [alert for alert in written.values() if alert is not None]
        gone = [number for number, alert in written.items() if alert is None]
        now = self._clock()
        await store.write(lambda tx: table.save(tx, changed, gone, now), durable=durable)
        for number, alert in written.items():
            if self._unsaved.get(number) == alert:  # nobody has changed it meanwhile
                del self._unsaved[number]

    async def _refresh(self) -> None:
        """Read what another manager may have changed since the last look."""
        if not self._near.is_alone:
            async with self._turn:
                await self._read()

    # The API --------------------------------------------------------------------------------------------------------

    async def board(self, all_of_them: bool = False) -> alerts.Board:
        """Return the alerts that fire; with `all_of_them` those that are pending, and the last that were resolved."""
        await self._refresh()
        looked_at = self.looked_at  # by the look that `found` is from: the next one may end while the database is read
        found = [alert for alert in self._open.values() if all_of_them or alert.state == alerts.FIRING]
        if all_of_them:
            found += await self._database.read(lambda tx: table.resolved(tx, MOST_RESOLVED))
        now = self._clock()
        mutes = [mute for mute in self._mutes if mute.until > now]
        return alerts.Board(
            alerts=[rules.muted(alert, mutes, now) for alert in sorted(found, key=lambda alert: alert.id)],
            mutes=mutes,
            looked_at=looked_at,
        )

    async def acknowledge(self, call: core.Call, alert_id: int, reason: str = "") -> alerts.Alert:
        """Note that somebody takes care of an alert: it is sent only once more, when it is resolved."""
        await self._refresh()
        now = self._clock()
        if self._near.is_alone:
            async with self._turn:
                alert = asked.find(self._open, alert_id)
                alert = structs.replace(alert, acknowledged_at=now, acknowledged_by=call.who, note=reason)
                self._open[alert_id] = self._unsaved[alert_id] = alert
            await self._save(self._database, durable=True)
        else:
            kept = await self._database.write(lambda tx: table.acknowledge(tx, alert_id, now, call.who, reason))
            if kept is None:
                self._open.pop(alert_id, None)
            alert = asked.find(self._open, alert_id) if kept is None else kept
        self.changes += 1
        log.info("alert acknowledged", id=alert_id, rule=alert.rule, subject=alert.subject, by=call.who, reason=reason)
        return alert

    async def mute(self, call: core.Call, of: int | str, for_seconds: control.Seconds, reason: str = "") -> alerts.Mute:
        """Send no notifications about the subject of an alert (its id) or about a rule (its name); 0 seconds end that.

        The mute of an alert outlives it: when the same comes again, it is muted too.
        """
        await self._refresh()
        if isinstance(of, int):
            alert = asked.find(self._open, of)
            rule, subject = alert.rule, alert.subject
        else:
            rule, subject = asked.rule(self._config.rules, of), ""
        async with self._turn:
            now = self._clock()
            wanted = alerts.Mute(rule=rule, subject=subject, until=now + for_seconds, at=now, by=call.who, note=reason)
            others = [mute for mute in self._mutes if (mute.rule, mute.subject) != (rule, subject)]
            if for_seconds > _ROUNDING_SECONDS:
                await self._database.write(lambda tx: table.mute(tx, wanted, now))
                self._mutes = [*others, wanted]
            else:
                await self._database.write(lambda tx: table.unmute(tx, rule, subject))
                self._mutes = others
            self.changes += 1
        log.info("alerts muted", rule=rule, subject=subject, seconds=for_seconds, by=call.who, reason=reason)
        return wanted

    async def probe(self, call: core.Call) -> list[alerts.Delivered]:
        """Send every receiver one message that says that nothing is wrong, once; return what became of each."""
        now = self._clock()
        said = f"a test by {call.who}: nothing is wrong"
        alert = alerts.Alert(
            id=0, rule=alerts.TEST, subject=self._name, severity="warning", state=alerts.TEST, text=said, since=now
        )
        notification = alerts.Notification(alerts.TEST, alert)
        message = alerts.Message(manager=self._name, at=now, notifications=[notification])
        return await self._notifier.try_all(message)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many alerts there are by rule and state, for metrics."""
        return Counter((alert.rule, alert.state) for alert in self._open.values())

    @property
    def deliveries(self) -> Mapping[notify.Delivery, int]:
        """What became of messages, for metrics."""
        return self._notifier.deliveries


@contextlib.asynccontextmanager
async def open_alerts(
    *,
    name: str,
    home: Path,
    database: Database,
    workers: acts.Fleet,
    stores: space.Space,
    posts: Posts,
    deadlines: Deadlines | None = None,
    blocks: Blocks | None = None,
    chain: Callable[[], Mapping[str, str]],
    sector_bytes: int,
    config: alerts_config.Config,
    near: neighbours.Neighbours,
    clock: Callable[[], float],
) -> AsyncIterator[Alerts]:
    """Yield the alerts that the database holds, and look after them while the block runs.

    `chain` returns what keeps messages from landing; `name` is the manager's, for messages, `home` its folder; `sector_bytes` the size of its sectors.

    Raises:
        alerts_notify.SinkError: A sink cannot be used.
    """
    async with notify.open_notifier(config) as notifier:
        made = Alerts(
            name=name,
            home=home,
            database=database,
            workers=workers,
            stores=stores,
            posts=posts,
            deadlines=deadlines,
            blocks=blocks,
            chain=chain,
            sector_bytes=sector_bytes,
            config=config,
            notifier=notifier,
            near=near,
            clock=clock,
        )
        await made.load()
        async with beside.running(notifier.run, made.run):
            yield made
