"""Read the sectors of a deadline before it takes no more declarations: declare what is lost, and what is back.

A sector that is declared faulty is no part of its window PoSt, which then succeeds at the first try; one that is declared recovered has its
power back with it. Declarations of which the time is over are withdrawn: on another day they could undo a recovery.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.chain.methods import Method
from damocles.chain.upkeep import Declaration, DeclareFaults, DeclareFaultsRecovered
from damocles.lotus import errors as node_errors
from damocles.lotus.layout import Cycle
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager import errors
from damocles.manager.chain.terms import FAULTS, RECOVERIES, Miner
from damocles.manager.db.engine import Database
from damocles.manager.db.leases import Store
from damocles.manager.outbox import orders
from damocles.manager.plans import wdpost_jobs
from damocles.manager.proving import mind, posts, reading
from damocles.pulse import Pulse
from damocles.rpc import errors as rpc_errors
from damocles.sealing import failures
from damocles.stages import posts as here
from damocles.wire import proving, tasks
from damocles.wire import wdpost as wire
from damocles.wire.codec import Rows

log = structlog.get_logger(__name__)

_LOOKS = 2  # at the sectors of a deadline, in the window's length before it takes no more declarations
_MARGIN = (
    20  # the last part of a window, one of so many, in which nothing is declared any more: a message takes its time
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What sectors are read with, and messages ordered. `wake` lets a message that was ordered go at once."""

    database: Database
    nodes: Nodes
    machine: here.Machine
    wake: Callable[[], None]
    clock: Callable[[], float]


class Reviews:
    """Reviews of the deadlines of some miners. `troubles` are what is not declared although it looks lost."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._database = means.database
        # By miner and opening: until when declarations are taken, and the epoch of the last review.
        self._wanted: dict[tuple[int, int], tuple[Miner, mind.Window, int, int | None]] = {}
        self._news = Pulse()
        self.troubles: dict[str, str] = {}

    async def turn(self, miner: Miner, cycle: Cycle) -> None:
        """Want what is due reviewed, and withdraw declarations that come too late; at each head."""
        for deadline in range(cycle.count):
            window = reading.window(miner.id, cycle, deadline)
            last = window.opens - cycle.declaration_cutoff
            if last <= cycle.epoch < window.opens:
                await self._withdraw(window)
            elif last - cycle.window <= cycle.epoch < last - max(1, cycle.window // _MARGIN):
                known = await self._database.read(lambda tx, one=window: posts.find_window(tx, one.miner, one.opens))  # type: ignore[misc]
                review = None if known is None else known.review
                if review is None or cycle.epoch >= review.epoch + cycle.window // _LOOKS:
                    before = None if review is None else review.epoch
                    self._wanted.setdefault((miner.id, window.opens), (miner, window, last, before))
                    self._news.beat()

    async def run(self) -> None:
        """Review what is wanted, for ever."""
        while True:
            since = self._news.count
            while self._wanted:
                key = min(self._wanted, key=lambda one: one[1])
                miner, window, last, before = self._wanted[key]
                try:
                    await self._review_alone(miner, window, last, before)
                except (node_errors.NodeError, failures.Failure, rpc_errors.DiskFails) as error:
                    log.warning("a deadline was not reviewed", miner=miner.id, deadline=window.deadline, why=str(error))
                except Exception:
                    log.exception("a deadline was not reviewed", miner=miner.id, deadline=window.deadline)
                del self._wanted[key]
            await self._news.wait(since)

    async def _withdraw(self, window: mind.Window) -> None:
        reason = f"deadline {window.deadline} takes no more declarations"

        def find(tx: Connection) -> list[int]:
            known = posts.find_window(tx, window.miner, window.opens)
            declared = _declared(tx, known) if known is not None else []
            return [order.id for order in declared if order.state in orders.OPEN and order.reason != reason]

        late = await self._database.read(find)
        if not late:
            return

        def withdraw(tx: Connection) -> None:
            for order_id in late:
                orders.withdraw(tx, order_id, reason)

        await self._database.write(withdraw)
        log.error("declarations came too late", miner=window.miner, deadline=window.deadline, orders=late)
        self._means.wake()

    async def _review_alone(self, miner: Miner, window: mind.Window, last: int, before: int | None) -> None:
        """Review a deadline, unless another manager does so or has done so since the review `before`."""
        name = f"reviews of {miner.address}"
        async with self._means.database.leases.keeping([name]) as held:
            if not held.has(name):
                return
            known = await held.read(lambda tx: posts.find_window(tx, window.miner, window.opens))
            if (known.review.epoch if known is not None and known.review is not None else None) == before:
                await self._review(miner, window, last, held)

    async def _review(self, miner: Miner, window: mind.Window, last: int, store: Store) -> None:
        address = Address.of_id(miner.id)
        async with self._means.nodes.view() as view:
            parts = await view.partitions(address, window.deadline)
            live = Bitfield()
            for part in parts:
                live |= part.live
            infos = await reading.sectors(view, miner.id, live)
            epoch = view.epoch
        if not infos:
            return
        bad, unread = await self._read(miner.id, infos)
        faulty = Bitfield()
        for part in parts:
            faulty |= part.faulty - part.recovering
        back = [number for number in faulty if number in infos and number not in bad and number not in unread]
        review = posts.Review(epoch=epoch, count=len(infos), bad=bad, unread=unread, back=back)
        async with self._means.nodes.view() as view:
            wishes = await _wishes(view, miner, window, review) if view.epoch < last else []

        def note(tx: Connection) -> None:
            known = posts.find_window(tx, window.miner, window.opens) or posts.new_window(window)
            before = known.review
            under_way = [order for order in _declared(tx, known) if order.state in orders.OPEN]
            ids = [(wish.kind, orders.put(tx, wish, self._means.clock())) for wish in (wishes if not under_way else [])]
            faults = [*(before.faults_orders if before else ()), *(one for kind, one in ids if kind == FAULTS)]
            recoveries = [
                *(before.recoveries_orders if before else ()),
                *(one for kind, one in ids if kind == RECOVERIES),
            ]
            after = posts.with_(review, faults_orders=faults, recoveries_orders=recoveries)
            posts.save_window(tx, posts.with_(known, review=after))

        await store.write(note)
        say = log.warning if bad or wishes else log.info
        say(
            "deadline reviewed",
            miner=miner.id,
            deadline=window.deadline,
            sectors=len(infos),
            bad=bad or None,
            unread=len(unread) or None,
            declared=[wish.kind for wish in wishes] or None,
        )
        self._means.wake()

    async def _read(self, miner: int, infos: Mapping[int, proving.Extended]) -> tuple[dict[int, str], dict[int, str]]:
        """Return the sectors that cannot be proved, and those of which nothing is known, each with the reason."""
        sectors, unread = await self._database.read(lambda tx: stored(tx, miner, infos))
        replicas: dict[int, tasks.Replica] = {}
        for sector in sectors:
            try:
                replicas[sector.number] = here.replica_of(miner, sector, self._means.machine)
            except failures.Failure as failure:
                unread[sector.number] = str(failure)
        readable = [sector for sector in sectors if sector.number in replicas]
        unread |= await here.lost_stores(readable, self._means.machine)
        there = [sector for sector in readable if sector.number not in unread]
        if not there:
            return {}, unread
        seed = wdpost_jobs.seed_of(os.urandom(32))
        checked = [replicas[sector.number] for sector in there]
        task = tasks.CheckReplicas(miner, reading.proof_name(infos), checked, seed, self._means.machine.sector_seconds)
        faults: list[tasks.Fault] = await self._means.machine.run("check_replicas", task)
        unread |= await here.lost_stores(there, self._means.machine)  # one may have gone meanwhile
        bad = {fault.sector_id: fault.reason for fault in faults if fault.sector_id not in unread}
        lost = self._lost_whole(miner, there, faults)
        return {number: why for number, why in bad.items() if number not in lost}, unread | lost

    def _lost_whole(self, miner: int, there: Sequence[wire.Sector], faults: Sequence[tasks.Fault]) -> dict[int, str]:
        """Return the sectors of stores in which none can be read: rather a mount than so many sectors is lost."""
        unreadable = {fault.sector_id for fault in faults if not fault.was_read}
        lost: dict[int, str] = {}
        for store in {sector.accesses.sealed_file for sector in there}:
            inside = [sector.number for sector in there if sector.accesses.sealed_file == store]
            about = f"store {store}"
            if not unreadable.issuperset(inside):
                self.troubles.pop(about, None)
            elif len(inside) > 1:
                why = (
                    f"none of {len(inside)} sectors of miner {miner} in store {store} can be read: nothing is declared"
                )
                lost |= dict.fromkeys(inside, why)
                self.troubles[about] = (
                    f"{why}; mount it, or declare them: damocles-manager util sealer proving declare-faults"
                )
        return lost


def stored(
    tx: Connection, miner: int, infos: Mapping[int, proving.Extended]
) -> tuple[list[wire.Sector], dict[int, str]]:
    """Return the sectors with the stores that have them, and those of which no store is known, with the reason."""
    there, lost = [], {}
    for number, info in sorted(infos.items()):
        try:
            there.append(wdpost_jobs.sector_of(tx, miner, info))
        except errors.ManagerError as error:
            lost[number] = error.message
    return there, lost


def _declared(tx: Connection, window: posts.Window) -> list[orders.Order]:
    review = window.review
    return orders.find(tx, [*review.faults_orders, *review.recoveries_orders]) if review is not None else []


async def _wishes(view: View, miner: Miner, window: mind.Window, review: posts.Review) -> list[orders.Wish]:
    """Return the declarations that follow from a review, by the state at the head."""
    parts = list(enumerate(await view.partitions(miner.address, window.deadline)))
    bad, back = Bitfield(review.bad), Bitfield(review.back)
    limit = miner.config.po_st.max_recover_sector_limit
    faults = [(number, found) for number, part in parts if (found := reading.to_prove(part) & bad)]
    recoveries: list[tuple[int, Bitfield]] = []
    for number, part in parts:
        found = back & (part.faulty - part.recovering)
        if limit:
            left = limit - sum(one.count for _, one in recoveries)
            found = Bitfield(list(found)[: max(0, left)])
        if found:
            recoveries.append((number, found))
    version = await view.network_version()
    step = miner.config.po_st.max_partitions_per_recovery_message or len(recoveries) or 1
    groups = [recoveries[start : start + step] for start in range(0, len(recoveries), step)]
    made = [_wish(miner, window, FAULTS, methods.of(version, methods.DECLARE_FAULTS), faults)] if faults else []
    recovered = methods.of(version, methods.DECLARE_RECOVERED)
    return made + [_wish(miner, window, RECOVERIES, recovered, group) for group in groups]


def _wish(
    miner: Miner, window: mind.Window, kind: str, method: Method, some: Sequence[tuple[int, Bitfield]]
) -> orders.Wish:
    rows = Rows([Declaration(window.deadline, partition, sectors) for partition, sectors in some])
    params = DeclareFaults(rows) if kind == FAULTS else DeclareFaultsRecovered(rows)
    return orders.Wish(
        miner=miner.id,
        kind=kind,
        to=miner.address,
        method=method.number,
        params=bytes(method.params_of(params)),
    )
