"""Carry out the outbox's records, round after round, until every order has ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from damocles.chain import exits
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message
from damocles.manager.db.engine import Database
from damocles.manager.db.leases import Held
from damocles.manager.outbox import fees, following, node, orders
from damocles.manager.outbox.orders import Order, Signed, State

log = structlog.get_logger(__name__)

# A reorganisation may take the head back by so much; a message may then be executed earlier than it was signed.
FINALITY_EPOCHS = 900
# That an account has too little is mended by money, not by another message.
LACKS_MONEY = frozenset({6, exits.INSUFFICIENT_FUNDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How orders of a miner and kind are sent; the first sender that has enough money is taken.

    Those of a higher `priority` get their nonces first.
    """

    senders: Sequence[Address]
    policy: fees.Policy
    priority: int = 0


class _Waits(Exception):
    """An order cannot go on now; the text is what it waits for."""


class _Patient(_Waits):
    """…as its policy wants it."""


class _NotFirst(_Waits):
    """…that is stuck behind another message of its sender."""


class NotReplaceable(Exception):
    """There is no message whose fees could be raised; the text is the reason."""


def nonces(sender: Address) -> str:
    """Return the name of the lease under which a sender's nonces are given away."""
    return f"nonces of {sender}"


class Outbox:
    """Sends the orders of one database; of each sender, while it holds the lease of its nonces."""

    def __init__(
        self,
        database: Database,
        chain: node.Node,
        terms: Callable[[int, str], Terms],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._database = database
        self._node = chain
        self._terms = terms
        #: What orders wait for, by their ids, as of the last turn.
        self.waiting: dict[int, str] = {}
        #: Those of them that wait as their policy wants it, for a lower base fee.
        self.patient: set[int] = set()
        #: Exit codes of those that are executed, and not deep enough yet to be believed.
        self.executed: dict[int, int] = {}

    async def turn(self) -> None:
        """Take every order one step further, as the chain is seen from the present head.

        Raises:
            node.Unavailable: The node does not answer; nothing is lost, and the next turn goes on.
        """
        async with self._node.view() as view:
            await self._turn(view)

    async def _turn(self, view: node.View) -> None:
        senders = {one for order in await self._database.read(orders.unfinished) for one in self._senders(order)}
        async with self._database.leases.keeping(map(nonces, senders)) as held:
            await self._turn_with(held, view)

    def _senders(self, order: Order) -> Sequence[Address]:
        """Return who may have to send something for an order."""
        known = order.sender or order.wish.account
        return self._terms(order.wish.miner, order.wish.kind).senders if known is None else [known]

    async def _turn_with(self, held: Held, view: node.View) -> None:
        # Once more: before the lease began, another manager may have gone on with them.
        unfinished = await held.read(orders.unfinished)
        waited, self.waiting = self.waiting, {}
        self.executed, self.patient = {}, set()
        for order in sorted(unfinished, key=self._place):
            try:
                if order.sender is not None and not held.has(nonces(order.sender)):
                    await self._look(order, view)
                    _check_held(held, [order.sender])
                await (self._send if order.state is State.WANTED else self._follow)(order, view, held)
            except (_Waits, fees.TooDear, node.NotTaken) as error:
                self.waiting[order.id] = str(error)
                if isinstance(error, _Patient):
                    self.patient.add(order.id)
                if waited.get(order.id) != str(error):
                    log.warning("message waits", order=order.id, kind=order.wish.kind, why=str(error))

    def _place(self, order: Order) -> tuple[bool, int, int]:
        """Sort by nonces, the lowest first: a pool takes no message that is far ahead of its sender. Then by priority."""
        if order.nonce is not None:
            return False, order.nonce, order.id
        return True, -self._terms(order.wish.miner, order.wish.kind).priority, order.id

    async def _send(self, order: Order, view: node.View, held: Held) -> None:
        """Choose sender, fees and nonce of a new order, and send it; refuse it if it would fail."""
        terms = self._terms(order.wish.miner, order.wish.kind)
        _check_base_fee(order.wish, view, terms.policy)
        try:
            sender, paid = await self._sender(order, view, terms, held)
        except node.WouldFail as error:
            await self._refuse(order, str(error), held)
            return
        nonce = order.nonce
        if nonce is None:
            recorded = await held.read(lambda tx: orders.last_nonce(tx, sender))
            # The pool's alone may be one that we have given away: the node may have lost its pool, or know another fork.
            nonce = max(await view.pool_nonce(sender), recorded + 1)
        await self._sign(order, view, msgspec.structs.replace(order.trial(sender), nonce=nonce), paid, held)

    async def _sender(self, order: Order, view: node.View, terms: Terms, held: Held) -> tuple[Address, fees.Fees]:
        poor = []
        for sender in _check_held(held, [order.wish.account] if order.wish.account is not None else terms.senders):
            try:
                estimate = await view.estimate(order.trial(sender))
            except node.WouldFail as error:
                if error.exit_code not in LACKS_MONEY:
                    raise
                poor.append(f"{sender}: {error}")
                continue
            paid = fees.first(estimate, view.base_fee, terms.policy)
            needed = Amount(paid.most + order.wish.value)
            if (balance := await view.balance(sender)) >= needed:
                return sender, paid
            poor.append(f"{sender} has {balance} and needs {needed}")
        raise _Waits(f"no sender has enough money: {'; '.join(poor) or 'none is configured'}")

    async def _follow(self, order: Order, view: node.View, held: Held) -> None:
        """Look what has become of a signed order, and do what follows."""
        policy = self._terms(order.wish.miner, order.wish.kind).policy
        seen = await self._seen(order, view, policy)
        await self._reopen(order, seen, view, held)
        match following.step(order, seen, policy):
            case following.Land(receipt):
                if await held.write(lambda tx: orders.end(tx, order, State.LANDED, receipt=receipt)):
                    log.info(
                        "message landed", order=order.id, kind=order.wish.kind, result=exits.words(receipt.exit_code)
                    )
            case following.Refuse(reason):
                await self._refuse(order, reason or order.reason, held)
            case following.WantAgain(reason):
                await held.write(lambda tx: orders.want_again(tx, order, reason))
                log.error("nonce used by somebody else", order=order.id, why=reason)
            case following.Replace():
                try:
                    await self._replace(order, view, policy, held)
                except (fees.TooDear, _NotFirst):
                    if not order.reason:  # a withdrawn one may be forgotten by the node
                        await view.push(order.signed[-1].message)
                    raise
            case following.Push(signed):
                await view.push(signed.message)
            case following.Wait(exit_code):
                self.executed[order.id] = exit_code

    async def _look(self, order: Order, view: node.View) -> None:
        """Look whether another manager's message has failed already: whoever waits for it may send another one."""
        policy = self._terms(order.wish.miner, order.wish.kind).policy
        match following.step(order, await self._seen(order, view, policy), policy):
            case following.Wait(exit_code):
                self.executed[order.id] = exit_code

    async def _seen(self, order: Order, view: node.View, policy: fees.Policy) -> following.Seen:
        assert order.sender is not None
        executed = None
        for signed in order.signed:
            receipt = await view.receipt(signed.cid, since=order.signed[0].epoch - FINALITY_EPOCHS)
            if receipt is not None:
                executed = (signed, receipt)
        settled = await view.nonce(order.sender, depth=policy.confidence)
        return following.Seen(epoch=view.epoch, settled_nonce=settled, executed=executed)

    async def _reopen(self, order: Order, seen: following.Seen, view: node.View, held: Held) -> None:
        """Reopen what comes before an order and was over, if the chain has taken that back: it would wait for ever."""
        sender, nonce = order.sender, order.nonce
        assert sender is not None
        assert nonce is not None
        if seen.executed is not None or seen.settled_nonce >= nonce:
            return
        over = await held.read(lambda tx: orders.over_between(tx, sender, seen.settled_nonce, nonce))
        first = await view.nonce(sender, depth=0) if over else nonce
        for one in over:
            if one.nonce is not None and one.nonce >= first:
                await held.write(lambda tx, it=one: orders.reopen(tx, it))  # type: ignore[misc]
                log.warning("a message that was over is taken back", order=one.id, kind=one.wish.kind, nonce=one.nonce)

    async def _replace(self, order: Order, view: node.View, policy: fees.Policy, held: Held) -> None:
        """Sign the order again with higher fees; if it would fail by now, sign a message that only uses up its nonce."""
        assert order.sender is not None
        assert order.nonce is not None
        await self._check_first(order, view, held)
        newest = order.signed[-1]
        fills = newest.fills or bool(order.reason)  # it was withdrawn, or would fail
        # With the nonce: a node executes what waits below it first, and must not count the very message to be replaced.
        trial = msgspec.structs.replace(order.trial(order.sender, fills=fills), nonce=order.nonce)
        try:
            estimate = await view.estimate(trial)
        except node.WouldFail as error:
            if fills or error.exit_code in LACKS_MONEY:
                raise _Waits(str(error)) from error
            reason = str(error)
            order = await held.write(lambda tx: orders.blame(tx, order, reason))
            trial = msgspec.structs.replace(order.trial(trial.sender, fills=True), nonce=order.nonce)
            estimate = await view.estimate(trial)
        paid = fees.dearer(newest.fees, estimate, view.base_fee, policy)
        log.warning("message stuck, replacing it", order=order.id, kind=order.wish.kind, cap=str(paid.cap))
        await self._sign(order, view, trial, paid, held)

    async def _check_first(self, order: Order, view: node.View, held: Held) -> None:
        """Return if nothing has to be executed before an order; what nobody has any more is recorded, to be sent first.

        Raises:
            _NotFirst: More money would not help.
        """
        sender, nonce = order.sender, order.nonce
        assert sender is not None
        assert nonce is not None
        first = await view.nonce(sender, depth=0)
        if first >= nonce:
            return
        # The pool counts what the head itself executes, too: there is a gap only where it ends.
        gap = await view.pool_nonce(sender)
        if gap < nonce and await held.write(lambda tx: orders.fill_gap(tx, order, gap, self._clock())):
            log.warning("filling a gap", sender=str(sender), nonce=gap, order=order.id)
        raise _NotFirst(f"nonce {first} of {sender} comes before its {nonce}, and is not executed")

    async def replace(self, order_id: int) -> None:
        """Make the message of an order dearer now, for somebody who does not want to wait until it counts as stuck.

        Raises:
            LookupError: There is no such order.
            NotReplaceable: It is not on its way, or executed already.
            fees.TooDear: It would cost more than its policy allows.
            node.Unavailable: The node does not answer.
            node.NotTaken: The pool refuses it; what was signed is recorded, and pushed again.
        """
        order = await self._database.read(lambda tx: orders.load(tx, order_id))
        if order.state is not State.SIGNED:
            raise NotReplaceable(f"message {order_id} is {order.state}: only one that is signed can be replaced")
        policy = self._terms(order.wish.miner, order.wish.kind).policy
        leases = self._database.leases.keeping(map(nonces, self._senders(order)))
        async with self._node.view() as view, leases as held:
            if await held.read(lambda tx: orders.load(tx, order_id)) != order:
                raise NotReplaceable(f"message {order_id} has gone on meanwhile: look at it again")
            if (executed := (await self._seen(order, view, policy)).executed) is not None:
                raise NotReplaceable(f"message {order_id} is executed already, at epoch {executed[1].epoch}")
            try:
                _check_held(held, self._senders(order))
                await self._replace(order, view, policy, held)
            except _Waits as error:
                raise NotReplaceable(str(error)) from error

    async def _sign(self, order: Order, view: node.View, trial: Message, paid: fees.Fees, held: Held) -> None:
        """Have a message signed that has its nonce, record it, and only then push it."""
        message = msgspec.structs.replace(
            trial, gas_limit=paid.gas_limit, gas_fee_cap=paid.cap, gas_premium=paid.premium
        )
        made = await view.sign(message)
        signed = Signed(message=made, epoch=view.epoch, fills=trial.to == trial.sender)
        if await held.write(lambda tx: orders.sign(tx, order, signed)):
            await view.push(made)

    async def _refuse(self, order: Order, reason: str, held: Held) -> None:
        if await held.write(lambda tx: orders.end(tx, order, State.REFUSED, reason=reason)):
            log.warning("message refused", order=order.id, kind=order.wish.kind, why=reason)


def _check_held(held: Held, senders: Sequence[Address]) -> list[Address]:
    """Return the senders whose nonces are ours to give away now; without senders there is nothing to hold.

    Raises:
        _Patient: Those of all of them are another manager's.
    """
    ours = [sender for sender in senders if held.has(nonces(sender))]
    if senders and not ours:
        raise _Patient(f"another manager sends for {', '.join(map(str, senders))}")
    return ours


def _check_base_fee(wish: orders.Wish, view: node.View, policy: fees.Policy) -> None:
    if policy.wait_above is None or view.base_fee <= policy.wait_above:
        return
    if wish.urgent_epoch is None or view.epoch < wish.urgent_epoch:
        until = f", or epoch {wish.urgent_epoch}" if wish.urgent_epoch is not None else ""
        raise _Patient(f"the base fee is {view.base_fee}: waiting for {policy.wait_above}{until}")
