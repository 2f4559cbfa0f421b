"""Do what operators want on the chain: plan it, show it, order it, and report the outcome."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from damocles.chain import messages, methods
from damocles.chain.bitfields import Bitfield
from damocles.lotus import errors as node_errors
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager import errors as manager_errors
from damocles.manager.chain import submissions
from damocles.manager.db.engine import Database
from damocles.manager.outbox import fees, node, orders, sending
from damocles.manager.outbox.orders import Order, State, Wish
from damocles.manager.sectors import ledger
from damocles.manager.upkeep import outcomes, planning, trials
from damocles.manager.upkeep.drafts import Plan, Refused
from damocles.methods import acts
from damocles.methods.acts import Answer, Drafted, OrderSeen, Outcome, SectorMessage
from damocles.wire import records, seal
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

_SHOWN_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What messages are planned and sent with; `wake` is called once there is one to send."""

    nodes: Nodes
    outbox: sending.Outbox
    terms: Callable[[int, str], sending.Terms]
    wake: Callable[[], None] = lambda: None


class Doing:
    """Acts on the chain, and the orders of a database. Without `means`, on a simulated chain, nothing can be done."""

    def __init__(self, database: Database, means: Means | None, clock: Callable[[], float]) -> None:
        self._database = database
        self._means = means
        self._clock = clock

    async def do(self, act: acts.Upkeep | acts.Affair, *, dry_run: bool) -> Answer:
        """Return what an act comes to; unless it is a dry run, its messages are recorded to be sent.

        Raises:
            errors.ManagerError: It cannot be done; a message would fail, or nobody can sign it.
        """
        means = self._chain()
        try:
            async with means.nodes.view() as view:
                plan = await planning.plan(act, view)
                drafts = tuple(
                    [await trials.drafted(one, view, means.terms(act.miner, one.kind)) for one in plan.drafts]
                )
                if not dry_run:
                    await _check(drafts, view)
        except node_errors.NodeError as error:
            raise Refused(str(error)) from error
        ordered: Sequence[int] = ()
        if not dry_run and drafts:
            wishes = [_wish(act.miner, plan, index, made) for index, made in enumerate(drafts)]
            ordered = await self._database.write(lambda tx: self._order(tx, wishes))
            log.warning("messages ordered by an operator", act=type(act).__name__, miner=act.miner, orders=ordered)
            means.wake()
        return Answer(epoch=view.epoch, drafts=drafts, notes=plan.notes, orders=tuple(ordered))

    def _order(self, tx: Connection, wishes: Sequence[Wish]) -> list[int]:
        return [orders.put(tx, wish, self._clock()) for wish in wishes]

    async def orders(self, ids: Sequence[int] | None) -> list[OrderSeen]:
        """Return orders by their numbers, or those that are not over."""
        if ids is not None and len(ids) > _SHOWN_MOST:
            raise Refused(f"{len(ids)} numbers are too many at once: ask for {_SHOWN_MOST}")
        found = await self._database.read(lambda tx: orders.unfinished(tx) if ids is None else orders.find(tx, ids))
        return [self._seen(order) for order in found]

    async def of_sector(self, sector: SectorID) -> list[SectorMessage]:
        """Return what was handed in of a sector, with its messages."""

        def read(tx: Connection) -> tuple[list[submissions.Submission], dict[int, Order]]:
            kinds = [submissions.of_sector(tx, sector, kind) for kind in submissions.Kind]
            there = [one for one in kinds if one is not None]
            ids = [one.order_id for one in there if one.order_id is not None]
            return there, {order.id: order for order in orders.find(tx, ids)}

        there, found = await self._database.read(read)
        return [
            SectorMessage(
                kind=one.kind.value,
                id=str(one.cid),
                state=one.state.value,
                reason=one.reason,
                order=self._seen(found[one.order_id]) if one.order_id in found else None,
            )
            for one in there
        ]

    async def outcomes(self, ids: Sequence[int]) -> list[Outcome]:
        """Return what orders that landed have done, by the chain as it is now; others are left out."""
        found = await self._database.read(lambda tx: orders.find(tx, ids[:_SHOWN_MOST]))
        try:
            async with self._chain().nodes.view() as view:
                return [await outcomes.outcome(order, view) for order in found if order.state is State.LANDED]
        except node_errors.NodeError as error:
            raise Refused(str(error)) from error

    async def replace(self, order_id: int) -> OrderSeen:
        """Make a message that waits dearer, now."""
        try:
            await self._chain().outbox.replace(order_id)
        except (LookupError, sending.NotReplaceable, fees.TooDear, node.Unavailable, node.NotTaken) as error:
            raise Refused(str(error)) from error
        (order,) = await self._database.read(lambda tx: orders.find(tx, [order_id]))
        log.warning("message replaced by an operator", order=order_id, cid=order.signed[-1].cid)
        return self._seen(order)

    async def terminate(self, sector: SectorID) -> seal.Submitted:
        """Order the termination of a sector, as the original's command line asks for it: nothing is raised, but said."""
        if (known := await self._termination(sector)) is not None and known.state in orders.OPEN:
            return seal.Submitted(seal.SubmitResult.DUPLICATE, f"message {known.id} is {known.state}")
        act = acts.Terminate(miner=sector.miner, sectors=Bitfield([sector.number]))
        answer = await self.do(act, dry_run=False)
        if not answer.orders:
            return seal.Submitted(seal.SubmitResult.REJECTED, "; ".join(answer.notes))
        return seal.Submitted(seal.SubmitResult.ACCEPTED)

    async def termination(self, sector: SectorID) -> records.TerminateInfo:
        """Return how the last termination of a sector that was ordered stands.

        Raises:
            errors.SectorNotFound: There is neither a termination nor a record of the sector.
        """
        if (order := await self._termination(sector)) is not None:
            landed = order.receipt is not None and order.receipt.exit_code == 0
            return records.TerminateInfo(
                terminate_cid=order.signed[-1].cid if order.signed else None,
                terminated_at_epoch=order.receipt.epoch if order.receipt is not None and landed else 0,
                added_epoch=order.signed[0].epoch if order.signed else 0,
            )
        record = await self._database.read(lambda tx: ledger.find(tx, sector))
        if record is None:
            raise manager_errors.SectorNotFound
        return record.termination

    async def _termination(self, sector: SectorID) -> Order | None:
        found = await self._database.read(lambda tx: orders.of_kind(tx, sector.miner, "terminate"))
        for order in reversed(found):
            params = methods.TERMINATE.read_params(order.wish.params)
            if any(sector.number in one.sectors for one in params.terminations):
                return order
        return None

    def _seen(self, order: Order) -> OrderSeen:
        waiting = self._means.outbox.waiting.get(order.id, "") if self._means is not None else ""
        newest = order.signed[-1] if order.signed else None
        receipt = order.receipt
        return OrderSeen(
            id=order.id,
            miner=order.wish.miner,
            kind=order.wish.kind,
            state=order.state.value,
            why=waiting or order.reason,
            sender=order.sender,
            nonce=order.nonce,
            cid=newest.cid if newest else None,
            signed=len(order.signed),
            most_cost=newest.message.message.most_burnt if newest else orders.NOTHING,
            landed_epoch=receipt.epoch if receipt else None,
            exit_code=receipt.exit_code if receipt else None,
            gas_used=receipt.gas_used if receipt else None,
        )

    def _chain(self) -> Means:
        if self._means is None:
            raise Refused("not supported by this manager: its chain is simulated, and nothing is sent")
        return self._means


async def _check(drafts: Sequence[Drafted], view: View) -> None:
    """Refuse what would fail, or what nobody here can sign, before anything is recorded."""
    for made in drafts:
        if made.verdict.exit_code:
            text = " | ".join(line.strip() for line in made.verdict.error.splitlines())
            raise Refused(f"{made.name} would fail with {made.verdict.words}: {text}")
        try:
            messages.kind_of_signature(made.sender)
        except ValueError:
            raise Refused(
                f"{made.sender} is no key, but an actor like a multisig: propose the message there; a dry run with --json has"
                " its parameters"
            ) from None
        if not await view.node.has_key(made.sender):
            raise Refused(
                f"the wallet of {view.node.url} has no key of {made.sender}: import it there with `lotus wallet import`"
            )


def _wish(miner: int, plan: Plan, index: int, made: Drafted) -> Wish:
    draft = plan.drafts[index]
    return Wish(
        miner=miner,
        kind=draft.kind,
        to=draft.to,
        method=draft.method,
        params=draft.params,
        value=draft.value,
        account=made.sender if draft.sender is not None else None,
    )
