"""Tasks of the whole fleet from one place: `Damocles.*` of the manager.

A request is carried to all workers it concerns at once. One that is down or hangs costs its own time-out, is named in
the answer with the reason, and holds up nothing else.

Whatever changes something takes a `reason` and logs who asked for it.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias, TypeVar

import anyio
import structlog
from msgspec import structs

from damocles import beside, methods
from damocles.manager import errors
from damocles.manager.db.engine import Database
from damocles.manager.fleet import history, targeting, workers
from damocles.manager.fleet import peers as fleet_peers
from damocles.manager.fleet import watch as fleet_watch
from damocles.manager.fleet.targeting import Target
from damocles.manager.sectors import calls as sector_calls
from damocles.operating import dialogues, selection
from damocles.rpc import core, limits
from damocles.rpc import errors as rpc_errors
from damocles.rpc.serving import turns
from damocles.wire import capacity, control, stores
from damocles.wire.sectors import SectorID

T = TypeVar("T")

log = structlog.get_logger(__name__)

Seconds: TypeAlias = control.Seconds

TIMEOUT_SECONDS = fleet_peers.TIMEOUT_SECONDS
LONGEST_LOG_WAIT_SECONDS = 30.0


class Fleet:
    """All workers of a manager; made by `open_fleet`."""

    def __init__(
        self, database: Database, peers: fleet_peers.Peers, watch: fleet_watch.Watch, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._turns = turns.Turns(limits.LOOKS_OF_A_TOKEN)
        self.watch = watch
        self.levels, self.met = peers.levels, peers.answers.met

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.fleet.workers, self.workers)
        service.add(methods.fleet.threads, self.threads)
        service.add(methods.fleet.act, self.act)
        service.add(methods.fleet.report, self.report)
        service.add(methods.fleet.drain, self.drain)
        service.add(methods.fleet.drain_state, self.drain_state)
        service.add(methods.fleet.logs, self.logs)
        service.add(methods.fleet.history, self.history)
        service.add(methods.fleet.stores_of, self.stores_of)
        service.add(methods.fleet.change_store, self.change_store)

    # All workers ----------------------------------------------------------------------------------------------------

    async def workers(self, expiration_seconds: Seconds | None = None) -> list[control.WorkerStatus]:
        """Return the registry by name; a worker is lost after `expiration_seconds` without a ping."""
        rows = await self._database.read(workers.select_rows)
        return [self.watch.describe(row, expiration_seconds) for row in rows]

    async def threads(
        self, call: core.Call, chosen: control.Selection, timeout_seconds: Seconds = TIMEOUT_SECONDS
    ) -> control.FleetThreads:
        """Return the selected threads by worker and index; naming workers selects all of theirs."""
        if not chosen.workers:
            _check(chosen)
        targets = await self._chosen(call, chosen)
        answers, silent = await self._gather(targets, lambda _: _few(dialogues.threads(self._clock())), timeout_seconds)
        return control.FleetThreads(
            threads=[
                structs.replace(detail, worker=target.name, dest=target.dest)
                for target, threads in answers
                for detail in threads
                if selection.holds(chosen, detail)
            ],
            silent=silent,
        )

    async def report(
        self, call: core.Call, chosen: control.Selection, timeout_seconds: Seconds = TIMEOUT_SECONDS
    ) -> capacity.Fleet:
        """Return what the selected workers can do, by worker."""
        if not chosen.workers:
            _check(chosen)
        targets = await self._chosen(call, chosen)
        answers, silent = await self._gather(
            targets, lambda _: dialogues.asked_for(methods.worker.report()), timeout_seconds
        )
        return capacity.Fleet(
            workers=[structs.replace(report, worker=target.name) for target, report in answers], silent=silent
        )

    async def act(
        self,
        call: core.Call,
        chosen: control.Selection,
        wanted: control.Act,
        timeout_seconds: Seconds = TIMEOUT_SECONDS,
    ) -> list[control.Outcome]:
        """Do something to the selected threads; return what came of it, for each thread and each silent worker."""
        _check(chosen)
        found = await self._chosen(call, chosen)
        refused = [outcome for target in found for outcome in targeting.ambiguous(chosen, target, found)]
        targets = [target for target in found if target.name not in {outcome.worker for outcome in refused}]
        answers, silent = await self._gather(
            targets, lambda _: dialogues.act(chosen, wanted, self._clock(), asked_by=call.who), timeout_seconds
        )
        outcomes = [
            structs.replace(outcome, worker=target.name, dest=target.dest)
            for target, made in answers
            for outcome in made
        ] + refused
        if not wanted.dry_run:
            # What came of each thread is in the audit: a line for each here would take as long as the act itself.
            log.info(
                "fleet act",
                verb=wanted.verb,
                by=call.who,
                reason=wanted.reason,
                done=sum(outcome.ok for outcome in outcomes),
                refused=sum(not outcome.ok for outcome in outcomes),
                silent=[one.worker for one in silent],
            )
        return outcomes + [
            control.Outcome(worker=one.worker, dest=one.dest, ok=False, silent=True, text=one.reason) for one in silent
        ]

    async def stores_of(
        self, call: core.Call, workers: control.WorkerNames, timeout_seconds: Seconds = TIMEOUT_SECONDS
    ) -> stores.FleetStores:
        """Return the stores of the named workers, or of all if none is named."""
        targets = await self._chosen(call, control.Selection(workers=workers))
        ask = methods.worker.stores_of()
        answers, silent = await self._gather(targets, lambda _: dialogues.asked_for(ask), timeout_seconds)
        found = [structs.replace(store, worker=target.name) for target, seen in answers for store in seen]
        return stores.FleetStores(stores=found, silent=silent)

    async def change_store(
        self,
        call: core.Call,
        workers: control.WorkerNames,
        wanted: stores.StoreChange,
        timeout_seconds: Seconds = TIMEOUT_SECONDS,
    ) -> list[control.Outcome]:
        """Add a store to the named workers, or release it there; return what came of it, for each and each silent one."""
        if not workers:
            raise errors.ManagerError("no worker is named", rpc_errors.Code.INVALID_PARAMS)
        targets = await self._chosen(call, control.Selection(workers=workers))
        ask = methods.worker.change_store(wanted, call.who)
        answers, silent = await self._gather(targets, lambda _: dialogues.asked_for(ask), timeout_seconds)
        if not wanted.dry_run:
            done = [target.name for target, outcome in answers if outcome.ok]
            log.info("fleet store", verb=wanted.verb, store=wanted.store, by=call.who, reason=wanted.reason, done=done)
        outcomes = [structs.replace(outcome, worker=target.name, dest=target.dest) for target, outcome in answers]
        return outcomes + [
            control.Outcome(worker=one.worker, dest=one.dest, ok=False, silent=True, text=one.reason) for one in silent
        ]

    async def history(self, sector: str, timeout_seconds: Seconds = TIMEOUT_SECONDS) -> control.SectorHistory:
        """Return every step of a sector wherever it happened, oldest first.

        Lost workers are not asked. Steps that no journal has, because the worker or its store is gone,
        come from the reports to the manager. The manager itself adds who made a report or another call.
        """
        try:
            identity = SectorID.parse(sector)
        except ValueError as error:
            raise errors.ManagerError(str(error), rpc_errors.Code.INVALID_PARAMS) from error
        rows = await self._database.read(workers.select_rows)
        lost = {row.info.name for row in rows if self.watch.describe(row).status == fleet_watch.LOST}
        targets = targeting.current(rows, self.watch)
        answers, silent = await self._gather(
            [target for target in targets if target.name not in lost],
            lambda _: dialogues.asked_for(methods.worker.history(str(identity))),
            timeout_seconds,
        )
        entries = [structs.replace(entry, worker=target.name) for target, found in answers for entry in found]
        reported, calls = await self._database.read(
            lambda tx: (sector_calls.reports(tx, identity), sector_calls.calls(tx, identity))
        )
        silent += [
            control.Silence(worker=target.name, dest=target.dest, reason="is lost and was not called")
            for target in targets
            if target.name in lost
        ]
        return control.SectorHistory(entries=history.merged(entries, reported, calls), silent=silent)

    # One worker -----------------------------------------------------------------------------------------------------

    async def drain(  # noqa: PLR0917 (parameters of the wire are positional)
        self,
        call: core.Call,
        worker: str,
        on: bool,
        deadline_seconds: Seconds | None = None,
        reason: str = "",
        timeout_seconds: Seconds = TIMEOUT_SECONDS,
    ) -> control.Drain:
        """Begin or end a drain of a worker."""
        ask = methods.worker.drain(on, deadline_seconds, reason, call.who)
        state = await self._ask(call, worker, ask, timeout_seconds)
        log.info("fleet drain" if on else "fleet undrain", worker=worker, by=call.who, reason=reason)
        return state

    async def drain_state(
        self, call: core.Call, worker: str, timeout_seconds: Seconds = TIMEOUT_SECONDS
    ) -> control.Drain:
        """Return whether a worker drains, and what is left to do."""
        return await self._ask(call, worker, methods.worker.drain_state(), timeout_seconds)

    async def logs(  # noqa: PLR0917 (parameters of the wire are positional)
        self,
        call: core.Call,
        worker: str,
        index: int,
        after: int = 0,
        wait_seconds: Seconds = 0.0,
        timeout_seconds: Seconds = TIMEOUT_SECONDS,
    ) -> list[control.LogLine]:
        """Return the lines of a thread's stages after number `after`; wait up to half a minute for the next one."""
        wait = min(wait_seconds, LONGEST_LOG_WAIT_SECONDS)
        return await self._ask(call, worker, methods.worker.logs(index, after, wait), timeout_seconds + wait)

    # How ------------------------------------------------------------------------------------------------------------

    async def _chosen(self, call: core.Call, chosen: control.Selection) -> list[Target]:
        rows = await self._database.read(workers.select_rows)
        return await targeting.find(call, chosen.workers, rows, self.watch)

    async def _gather(
        self, targets: Sequence[Target], dialogue: Callable[[Target], dialogues.Dialogue[T]], timeout_seconds: float
    ) -> tuple[list[tuple[Target, T]], list[control.Silence]]:
        """Hold a dialogue with all targets at once; return the answers, and the targets that gave none, in the given order.

        A name without an answer, at a destination where another name answered, is the worker's earlier name, or a false one.
        """
        async with self._turns.one():
            return await self._gathered(targets, dialogue, timeout_seconds)

    async def _gathered(
        self, targets: Sequence[Target], dialogue: Callable[[Target], dialogues.Dialogue[T]], timeout_seconds: float
    ) -> tuple[list[tuple[Target, T]], list[control.Silence]]:
        answers: dict[Target, T] = {}
        silent: dict[Target, control.Silence] = {}

        async def hold(target: Target) -> None:
            try:
                answers[target] = await self._peers.hold(
                    target.dest, dialogue(target), timeout_seconds, token=target.token
                )
            except dialogues.Unanswered as error:
                silent[target] = control.Silence(worker=target.name, dest=target.dest, reason=str(error))

        async with anyio.create_task_group() as tasks:
            for target in targets:
                tasks.start_soon(hold, target)
        answering = {target.dest for target in answers}
        return (
            [(target, answers[target]) for target in targets if target in answers],
            [silent[target] for target in targets if target in silent and target.dest not in answering],
        )

    async def _ask(self, call: core.Call, worker: str, ask: methods.Ask[T], seconds: float) -> T:
        rows = await self._database.read(workers.select_rows)
        target = await targeting.find_one(call, worker, rows, self.watch)
        try:
            return await self._peers.hold(target.dest, dialogues.asked_for(ask), seconds, token=target.token)
        except dialogues.Unanswered as error:
            if error.refused.code is None:
                raise errors.WorkerSilent(target.name, str(error)) from error
            failure = (
                errors.UnknownThread if error.refused.code == rpc_errors.Code.UNKNOWN_THREAD else errors.ManagerError
            )
            raise failure(f"{target.name}: {error}") from error


@contextlib.asynccontextmanager
async def open_fleet(
    database: Database,
    clock: Callable[[], float],
    *,
    connect: fleet_peers.Connect = fleet_peers.connect,
    expiration_seconds: float = fleet_watch.EXPIRATION_SECONDS,
) -> AsyncIterator[Fleet]:
    """Yield the fleet that the database's registry holds, and watch it while the block runs."""
    watch = fleet_watch.Watch(lambda: database.read(workers.select_rows), clock, expiration_seconds)
    await watch.load()
    async with fleet_peers.open_peers(connect) as peers, beside.running(watch.run):
        yield Fleet(database, peers, watch, clock)


def _few(dialogue: dialogues.Dialogue[list[control.ThreadDetail]]) -> dialogues.Dialogue[list[control.ThreadDetail]]:
    """Let a worker have no more threads than one can."""
    threads = yield from dialogue
    if len(threads) > limits.THREADS_OF_A_WORKER:
        refused = dialogues.Refused(
            f"reports {len(threads)} threads: a worker has at most {limits.THREADS_OF_A_WORKER}"
        )
        raise dialogues.Unanswered(refused)
    return threads


def _check(chosen: control.Selection) -> None:
    try:
        selection.check(chosen)
    except selection.NothingSelected as error:
        raise errors.ManagerError(str(error), rpc_errors.Code.INVALID_PARAMS) from error
