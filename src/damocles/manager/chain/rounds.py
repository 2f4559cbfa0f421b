"""What is done at each head of the chain: look what became of messages, let sectors share new ones, and send them.

A round is made of steps that each begin from what is recorded, so that it can end anywhere and the next one goes on.
While nothing is under way it reads the database once, and asks no node.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import anyio
import structlog
from sqlalchemy import Connection

from damocles import logs, pulse
from damocles.chain import versions
from damocles.chain.addresses import Address
from damocles.chain.messages import Message
from damocles.lotus import errors, heads
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager.chain import interface, late, lifetimes, outcomes, parts, submissions
from damocles.manager.chain.accounts import Accounts
from damocles.manager.chain.fitness import Fitness
from damocles.manager.chain.submissions import Kind, State, Submission
from damocles.manager.chain.terms import BATCH, Miner
from damocles.manager.db.engine import Database
from damocles.manager.db.leases import Store
from damocles.manager.outbox import batching, fees, lotus, node, orders, sending
from damocles.manager.roster import find
from damocles.rpc import errors as rpc_errors
from damocles.wire import commitments
from damocles.wire.codec import CID, Blob
from damocles.wire.sectors import SealProof, SectorID

log = structlog.get_logger(__name__)

_LOOK_AGAIN_SECONDS = 60.0
_DISK_SECONDS = 5.0  # then a disk that failed may be well again


def messages(address: Address) -> str:
    """Return the name of the lease under which a miner's submissions come to share messages."""
    return f"messages of {address}"


class _NoMoney(Exception):
    """Nobody who may send has enough; the text says who has tried."""


class Rounds:
    """The loop, and what it last saw. `troubles` are what keeps messages from landing, by what they are about."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        miners: Collection[Miner],
        accounts: Accounts,
        fitness: Fitness,
        network: interface.Network,
        aggregator: interface.Aggregator | None,
        epoch: int,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._database = database
        self._store: Store = database
        self.nodes = nodes
        self._miners = miners
        self.accounts = accounts
        self.fitness = fitness
        self._network = network
        self._aggregator = aggregator
        self.outbox = sending.Outbox(database, lotus.LotusNode(nodes), self.terms, clock)
        self.epoch = epoch  # of the newest head that was seen
        self.troubles: dict[str, str] = {}
        self.waiting: dict[CID, str] = {}  # what submissions wait for that cannot be in a message yet
        self._looked_at = 0.0  # at nodes that are not well
        self._reached = anyio.Event()  # set when there is a new head
        self.heads = pulse.Pulse()  # beats then, too
        self.ends = pulse.Pulse()  # of submissions
        self.reorganisations = 0  # so far

    def terms(self, miner: int, kind: str) -> sending.Terms:
        """Return how messages of a kind are sent; of a miner that is not configured, by nobody in particular."""
        known = find(self._miners, miner)
        if known is None:
            return sending.Terms(senders=(), policy=fees.Policy())
        return sending.Terms(
            senders=self.accounts.senders(known, kind), policy=known.policy(kind), priority=known.priority(kind)
        )

    async def follow(self) -> None:
        """Follow the head, for ever."""
        async with aclosing(heads.follow(self.nodes.pick)) as changes:
            async for change in changes:
                self.epoch = change.head.height
                self.reorganisations += bool(change.reverted or change.anew)
                self.wake()
                self.heads.beat()
                await self._look_again()

    def wake(self) -> None:
        """Let a round be made now, since there may be a message to send."""
        self._reached.set()

    async def _look_again(self) -> None:
        """Look, not at every head, whether nodes are well again that nobody asks because they were not, and miners fit."""
        now = self._clock()
        if now - self._looked_at < _LOOK_AGAIN_SECONDS:
            return
        self._looked_at = now
        for member in self.nodes.members:
            health = self.nodes.healths.get(member.url)
            if health is None or health.problem is not None:
                await self.nodes.look(member)
        if unfit := [miner for miner in self._miners if miner.id in self.fitness.problems]:
            well = [node for node in self.nodes.members if self.nodes.healths[node.url].problem is None]
            try:
                async with self.nodes.view() as view:
                    untold = await self.accounts.refresh(view, unfit)
                    await self.fitness.look(view, well, [miner for miner in unfit if miner.id not in untold])
                    self.fitness.report()
            except errors.NodeError as error:
                log.debug("miners are looked at the next time", why=str(error))

    def alerts(self) -> dict[str, str]:
        """Return what needs a person, by what it is about."""
        unwell = {health.url: health.problem for health in self.nodes.healths.values() if health.problem is not None}
        return {**self.troubles, **self.fitness.alerts(), **{f"node {url}": text for url, text in unwell.items()}}

    async def run(self) -> None:
        """Make a round at each head, for ever; after one that failed, also without."""
        while True:
            self._reached = anyio.Event()
            wait_seconds: float | None = 2 * self._network.block_seconds
            try:
                if not await self.once():
                    wait_seconds = None
            except rpc_errors.DiskFails:  # told by the database, and an alert
                wait_seconds = min(_DISK_SECONDS, 2 * self._network.block_seconds)
            except (node.Unavailable, node.NotTaken, errors.NodeError, versions.UnknownNetwork) as error:
                self._trouble("node", str(error))
            except Exception:
                # The task is the daemon's: it must outlive what nobody thought of.
                log.exception("the round of messages failed; trying again")
            with anyio.move_on_after(wait_seconds):
                await self._reached.wait()

    def _trouble(self, what: str, text: str) -> None:
        if not logs.alike(text, self.troubles.get(what)):
            log.error("messages do not get on", about=what, why=text)
        self.troubles[what] = text

    async def once(self) -> bool:
        """Make a round; return whether anything is under way.

        Raises:
            errors.NodeError: The node does not answer, or not as it should; nothing is lost.
            versions.UnknownNetwork: Nothing may be sent on this network.
        """
        open_ones, open_orders, unproven = await self._database.read(_under_way)
        before, troubles = self.troubles, dict[str, str]()
        if not open_ones and not open_orders:
            troubles |= late.proofs(unproven, self.epoch, self._network.challenge_delay)
            self._tell(before, troubles)
            return False
        async with self.nodes.view() as view:
            versions.network(await view.network_version())
            busy = {one.sector.miner for one in open_ones} | {order.wish.miner for order in open_orders}
            known = [miner for miner in self._miners if miner.id in busy]
            for number, text in (await self.accounts.refresh(view, known)).items():
                troubles[f"miner {Address.of_id(number)}"] = text
        if open_orders:
            await self.outbox.turn()
        if await self._share({one.sector.miner for one in open_ones}, troubles):
            await self.outbox.turn()
        for order_id, why in self.outbox.waiting.items():
            if order_id in self.outbox.patient:
                continue
            troubles[f"message {order_id}"] = f"the message waits: {why}"
        troubles |= late.proofs(unproven, self.epoch, self._network.challenge_delay)
        troubles |= late.messages(await self._database.read(submissions.unfinished), self.epoch)
        self._tell(before, troubles)
        return True

    async def _share(self, miners: Collection[int], troubles: dict[str, str]) -> bool:
        """Look what became of submissions, and let others share messages, of miners for which no other manager does so.

        Return whether there is a new order.
        """
        known = {miner.id: miner for miner in self._miners if miner.id in miners}
        names = {number: messages(miner.address) for number, miner in known.items()}
        async with self.nodes.view() as view, self._database.leases.keeping(names.values()) as held:
            self.epoch, self._store = view.epoch, held  # one round at a time
            ours = {number: known[number] for number, name in names.items() if held.has(name)}
            # Once more: before the lease began, another manager may have gone on with them.
            open_ones = [one for one in await held.read(submissions.unfinished) if one.sector.miner in ours]
            await self._land(view, [one for one in open_ones if one.state is State.ORDERED], troubles)
            return await self._order(view, ours, troubles)

    def _tell(self, before: Mapping[str, str], troubles: dict[str, str]) -> None:
        for what, text in troubles.items():
            if not logs.alike(text, before.get(what)):
                log.warning("messages do not get on", about=what, why=text)
        self.troubles = troubles

    # What became of messages ----------------------------------------------------------------------------------------

    async def _land(self, view: View, ordered: Sequence[Submission], troubles: dict[str, str]) -> None:
        for order_id, sharing in outcomes.by_order(ordered).items():
            order = await self._store.read(partial(orders.load, order_id=order_id))
            if order.receipt is not None and view.epoch < order.receipt.epoch:
                continue  # a node that is behind knows nothing of it
            for submission, outcome in zip(sharing, outcomes.of(order, sharing), strict=True):
                try:
                    await self._land_one(view, order, submission, outcome)
                except errors.Refused as error:
                    troubles[f"{submission.kind} of {submission.sector}"] = str(error)

    async def _land_one(
        self, view: View, order: orders.Order, submission: Submission, outcome: outcomes.Outcome
    ) -> None:
        state, reason = outcome
        if state is State.ORDERED:
            return
        if state is State.LANDED and not await self._is_on_chain(view, submission):
            state = State.FAILED
            reason = f"its message landed with exit code 0, and the chain does not have it{reason and f' ({reason})'}"
        await self._end(submission, state, reason, order.receipt.epoch if order.receipt is not None else None)

    async def _end(self, submission: Submission, state: State, reason: str, epoch: int | None) -> None:
        if state is State.WAITING:
            await self._store.write(lambda tx: submissions.wait_again(tx, [submission]))
        else:
            await self._store.write(
                lambda tx: submissions.end(tx, submission, state, reason=reason, landed_epoch=epoch)
            )
        self.ends.beat()
        say = log.info if state is State.LANDED else log.warning
        say(f"{submission.kind} {state}", sector=str(submission.sector), reason=reason or None, epoch=epoch)

    async def _is_on_chain(self, view: View, submission: Submission) -> bool:
        address, number = Address.of_id(submission.sector.miner), submission.sector.number
        sector = await view.sector(address, number)
        match submission.kind:
            case Kind.PRE_COMMIT:
                return sector is not None or await view.pre_committed(address, number) is not None
            case Kind.PROOF:
                return sector is not None
            case Kind.NON_INTERACTIVE:
                sealed_cid = commitments.sealed_cid(submission.content.pre_commit.comm_r)
                return sector is not None and sector.sealed_cid == sealed_cid
            case Kind.UPDATE:
                new_cid = commitments.sealed_cid(submission.content.comm_r)
                return sector is not None and sector.sealed_cid == new_cid

    # New messages ---------------------------------------------------------------------------------------------------

    async def _order(self, view: View, miners: Mapping[int, Miner], troubles: dict[str, str]) -> bool:
        """Let what waits share messages, as far as it is time; return whether there is a new order."""
        groups: dict[tuple[int, Kind, SealProof], list[Submission]] = {}
        for one in await self._store.read(submissions.unfinished):
            if one.state is State.WAITING and one.sector.miner in miners:
                groups.setdefault((one.sector.miner, one.kind, one.proof_type), []).append(one)
        made, self.waiting = False, {}
        for (number, kind, _), group in groups.items():
            miner = miners[number]
            about = f"{kind}s of {miner.address}"
            try:
                due = await self._due(view, miner, kind, group)
            except errors.Refused as error:
                troubles[about] = str(error)
                continue
            for batch in due:
                try:
                    made |= await self._batch(view, miner, batch, troubles)
                except (_NoMoney, node.NotTaken) as error:
                    troubles[about] = str(error)
        return made

    async def _due(self, view: View, miner: Miner, kind: Kind, group: Sequence[Submission]) -> list[list[Submission]]:
        """Return which of what waits shares messages now."""
        waiting = {one.sector.number: one for one in [await self._dated(view, one) for one in group] if one}
        due = batching.batches(
            [
                batching.Waiting(number=number, since=one.since_epoch, last=one.last_epoch or 0)
                for number, one in waiting.items()
            ],
            view.epoch,
            view.tipset.base_fee,
            miner.rule(kind, self._network.block_seconds),
        )
        return [[waiting[number] for number in numbers] for numbers in due]

    async def _dated(self, view: View, submission: Submission) -> Submission | None:
        """Return a submission with the last epoch that will do; nothing if there is nothing to send."""
        if submission.last_epoch is not None:
            return submission
        last_epoch = view.epoch + lifetimes.DAY_EPOCHS  # an upgrade that waits for long may lose its deals
        if submission.kind is Kind.PROOF:
            address = Address.of_id(submission.sector.miner)
            pre = await view.pre_committed(address, submission.sector.number)
            if pre is not None:
                last_epoch = lifetimes.prove_by(pre.epoch, self._network.challenge_delay)
        await self._store.write(lambda tx: submissions.due_by(tx, submission, last_epoch), durable=False)
        return await self._store.read(lambda tx: submissions.find(tx, submission.cid))

    async def _batch(self, view: View, miner: Miner, batch: Sequence[Submission], troubles: dict[str, str]) -> bool:
        """Make orders for what can be sent of a batch; return whether there is one.

        Raises:
            _NoMoney: It all has to wait.
            node.NotTaken: The node does not do what it is asked, and may the next time.
        """
        made: dict[int, tuple[Submission, parts.Part]] = {}
        for one in sorted(batch, key=lambda one: one.sector.number):
            try:
                part = await parts.of(view, miner, one, self._network.challenge_delay)
            except errors.Refused as error:
                # One sector of which the node does not say what is needed must not hold up the others.
                self.waiting[one.cid] = str(error)
                if not isinstance(error, errors.NotYet):
                    troubles[f"{one.kind} of {one.sector}"] = str(error)
                continue
            except parts.Unfit as error:
                if error.state is State.WAITING:
                    self.waiting[one.cid] = str(error)
                    continue
                await self._end(one, error.state, str(error), None)
                continue
            made[one.sector.number] = (one, part)
        if not made:
            return False
        kind = batch[0].kind

        async def tried(numbers: Sequence[int]) -> parts.Bundle:
            some = [made[number][1] for number in sorted(numbers)]
            bundle = await parts.bundle(miner, kind, batch[0].proof_type, some, self._aggregator)
            await self._try(view, miner, kind, bundle)
            return bundle

        good, bad = await batching.without_bad(sorted(made), tried)
        for number, why in bad.items():
            await self._end(made[number][0], State.REFUSED, why, None)
        for numbers, bundle in good:
            sharing = [made[number][0] for number in sorted(numbers)]
            last_epoch = min(one.last_epoch or 0 for one in sharing)
            wish = orders.Wish(
                miner=miner.id,
                kind=str(kind) if len(sharing) == 1 else f"{kind}{BATCH}",
                to=bundle.to,
                method=bundle.method.number,
                params=bundle.params,
                value=bundle.value,
                urgent_epoch=last_epoch - miner.rule(kind, self._network.block_seconds).margin_epochs,
            )
            await self._store.write(partial(record, wish=wish, sharing=sharing, at=self._clock()))
            log.info("message ordered", kind=wish.kind, sectors=[str(one.sector) for one in sharing])
        return bool(good)

    async def _try(self, view: View, miner: Miner, kind: Kind, bundle: parts.Bundle) -> None:
        """Let the node execute a message on trial, for the first sender who has the money."""
        asked, poor = lotus.LotusView(view), []
        for sender in self.accounts.senders(miner, kind):
            trial = Message(
                to=bundle.to,
                sender=sender,
                value=bundle.value,
                method=bundle.method.number,
                params=Blob(bundle.params),
            )
            try:
                await asked.estimate(trial)
            except node.WouldFail as error:
                if error.exit_code not in sending.LACKS_MONEY:
                    raise
                poor.append(f"{sender}: {error}")
                continue
            return
        raise _NoMoney(f"no sender has enough money for {bundle.value}: {'; '.join(poor) or 'none has a role in it'}")


def _under_way(tx: Connection) -> tuple[list[Submission], list[orders.Order], list[tuple[SectorID, int]]]:
    return submissions.unfinished(tx), orders.unfinished(tx), submissions.unproven(tx)


def record(tx: Connection, *, wish: orders.Wish, sharing: Sequence[Submission], at: float) -> bool:
    """Record a message and who shares it, in one transaction; not if one of them has been handed in anew meanwhile."""
    for one in sharing:
        now = submissions.find(tx, one.cid)
        if now is None or now.state is not State.WAITING:
            return False
    submissions.order(tx, sharing, orders.put(tx, wish, at))
    return True
