"""The outbox's records: orders, and the messages that have been signed for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from damocles.chain import tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.manager.db import tables
from damocles.manager.outbox.fees import Fees
from damocles.manager.outbox.node import Receipt
from damocles.wire.codec import CID, Blob

_ORDERS, _SIGNED = tables.outbox, tables.outbox_signed


class State(StrEnum):
    """How far an order has come."""

    WANTED = "wanted"
    SIGNED = "signed"
    LANDED = "landed"
    REFUSED = "refused"


OPEN = (State.WANTED, State.SIGNED)
NOTHING = Amount(0)
GAP = "nonce"  # the kind of orders that fill gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be sent; `urgent_epoch` is when it is sent whatever the base fee.

    `account` is the key that has to send it, as an owner's; otherwise it is one of those that the terms name.
    """

    miner: int
    kind: str
    to: Address
    method: int
    params: bytes
    value: Amount = NOTHING
    urgent_epoch: int | None = None
    account: Address | None = None

    @property
    def fills_gap(self) -> bool:
        """Whether all that it does is to use up a nonce of the account."""
        return self.account is not None and (self.to, self.method, self.value) == (self.account, 0, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A message that may have been pushed. One that `fills` uses up its nonce and does nothing else."""

    message: SignedMessage
    epoch: int
    fills: bool = False

    @property
    def cid(self) -> CID:
        """The id by which a node finds it."""
        return self.message.cid

    @property
    def fees(self) -> Fees:
        """What it was signed with."""
        body = self.message.message
        return Fees(gas_limit=body.gas_limit, cap=body.gas_fee_cap, premium=body.gas_premium)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it is recorded; `signed` are its messages, the oldest first.

    One that is wanted has a nonce only if its purpose is to fill the gap there.
    """

    id: int
    wish: Wish
    state: State
    reason: str = ""
    sender: Address | None = None
    nonce: int | None = None
    receipt: Receipt | None = None
    signed: tuple[Signed, ...] = ()

    def trial(self, sender: Address, *, fills: bool = False) -> Message:
        """Return the message that carries it out, to be estimated; or one to the sender that only uses up a nonce."""
        if fills:
            return Message(to=sender, sender=sender)
        wish = self.wish
        return Message(to=wish.to, sender=sender, value=wish.value, method=wish.method, params=Blob(wish.params))


def put(tx: Connection, wish: Wish, at: float) -> int:
    """Record what is to be sent, in the transaction that decides it; return the order's id."""
    values = {
        "at": at,
        "miner": wish.miner,
        "kind": wish.kind,
        "receiver": bytes(wish.to),
        "method": wish.method,
        "params": wish.params,
        "value": wish.value.to_json(),
        "urgent_epoch": wish.urgent_epoch,
        "state": State.WANTED,
        "reason": "",
        "account": bytes(wish.account) if wish.account is not None else None,
    }
    key = tx.execute(insert(_ORDERS).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def load(tx: Connection, order_id: int) -> Order:
    """Return an order.

    Raises:
        LookupError: There is none of this id.
    """
    found = _orders(tx, _ORDERS.c.id == order_id)
    if not found:
        raise LookupError(f"the outbox has no order {order_id}")
    return found[0]


def unfinished(tx: Connection) -> list[Order]:
    """Return the orders that are not over, the oldest first."""
    return _orders(tx, _ORDERS.c.state.in_(OPEN))


def find(tx: Connection, ids: Sequence[int]) -> list[Order]:
    """Return the orders of these ids that there are, by id."""
    return _orders(tx, _ORDERS.c.id.in_(ids))


def of_kind(tx: Connection, miner: int, kind: str) -> list[Order]:
    """Return the orders of a kind for a miner, the oldest first."""
    return _orders(tx, (_ORDERS.c.miner == miner) & (_ORDERS.c.kind == kind))


def last_nonce(tx: Connection, sender: Address) -> int:
    """Return the highest nonce that was ever recorded for a sender, -1 if there is none."""
    highest = tx.execute(select(func.max(_ORDERS.c.nonce)).where(_ORDERS.c.sender == bytes(sender))).scalar()
    return -1 if highest is None else int(highest)


def fill_gap(tx: Connection, behind: Order, nonce: int, at: float) -> bool:
    """Record that a nonce is to be used up that an order waits for; false if an order has it already."""
    assert behind.sender is not None
    sender = bytes(behind.sender)
    if tx.execute(select(_ORDERS.c.id).where(_ORDERS.c.sender == sender, _ORDERS.c.nonce == nonce)).first():
        return False
    wish = Wish(miner=behind.wish.miner, kind=GAP, to=behind.sender, method=0, params=b"", account=behind.sender)
    tx.execute(update(_ORDERS).where(_ORDERS.c.id == put(tx, wish, at)).values(sender=sender, nonce=nonce))
    return True


def sign(tx: Connection, order: Order, signed: Signed) -> bool:
    """Record a signed message, before it is pushed; false if the order has gone on meanwhile, and it must not be pushed."""
    body = signed.message.message
    if load(tx, order.id) != order:
        return False
    reason = order.reason if signed.fills else ""  # why it will be refused; what it waited for before is over
    _set(tx, order, state=State.SIGNED, reason=reason, sender=bytes(body.sender), nonce=body.nonce)
    row = {
        "cid": signed.cid,
        "order_id": order.id,
        "message": tuples.encode(signed.message),
        "fills": signed.fills,
        "epoch": signed.epoch,
    }
    tx.execute(insert(_SIGNED).values(row))
    return True


def end(tx: Connection, order: Order, state: State, *, reason: str = "", receipt: Receipt | None = None) -> bool:
    """Record how an order ended; false if it has gone on meanwhile: another manager may have sent it from another sender."""
    if load(tx, order.id) != order:
        return False
    values: dict[str, Any] = {"state": state, "reason": reason}
    if receipt is not None:
        values |= {
            "landed_epoch": receipt.epoch,
            "exit_code": receipt.exit_code,
            "returned": receipt.returned,
            "gas_used": receipt.gas_used,
        }
    _set(tx, order, **values)
    return True


def blame(tx: Connection, order: Order, reason: str) -> Order:
    """Record why an order will be refused once its nonce is used up; return it as it is now."""
    _set(tx, order, reason=reason)
    return replace(order, reason=reason)


def withdraw(tx: Connection, order_id: int, reason: str) -> None:
    """Take back what nobody wants to be executed any more: of a message that has left, another one uses up the nonce.

    One that is executed all the same lands as ever. An order that is over stays as it is.
    """
    order = load(tx, order_id)
    if order.state is State.WANTED:
        end(tx, order, State.REFUSED, reason=reason)
    elif order.state is State.SIGNED:
        blame(tx, order, reason)


def over_between(tx: Connection, sender: Address, first: int, last: int) -> list[Order]:
    """Return the orders of a sender that are over and have nonces from `first` on, below `last`."""
    of_sender = (_ORDERS.c.sender == bytes(sender)) & (_ORDERS.c.nonce >= first) & (_ORDERS.c.nonce < last)
    return _orders(tx, of_sender & _ORDERS.c.state.not_in(OPEN))


def reopen(tx: Connection, order: Order) -> bool:
    """Let an order go on whose end was taken back by a reorganisation; false if it has gone on meanwhile."""
    if load(tx, order.id) != order or not order.signed:
        return False
    nothing = dict.fromkeys(("landed_epoch", "exit_code", "returned", "gas_used"))
    _set(tx, order, state=State.SIGNED, **nothing)
    return True


def want_again(tx: Connection, order: Order, reason: str) -> None:
    """Take back an order whose nonce is used up by a message that is not ours; its own can never be executed."""
    # Its messages stay recorded: somebody may ask what became of their CIDs.
    _set(tx, order, state=State.WANTED, reason=reason, sender=None, nonce=None)


def _set(tx: Connection, order: Order, **values: Any) -> None:
    tx.execute(update(_ORDERS).where(_ORDERS.c.id == order.id).values(values))


def _orders(tx: Connection, which: Any) -> list[Order]:
    rows = tx.execute(select(_ORDERS).where(which).order_by(_ORDERS.c.id)).all()
    if not rows:
        return []
    messages: dict[int, list[Signed]] = {row.id: [] for row in rows}
    of_these = _SIGNED.c.order_id.in_(select(_ORDERS.c.id).where(which))
    for row in tx.execute(select(_SIGNED).where(of_these).order_by(_SIGNED.c.id)).all():
        message = tuples.decode(row.message, SignedMessage)
        messages[row.order_id].append(Signed(message=message, epoch=row.epoch, fills=row.fills))
    return [_order(row, messages[row.id]) for row in rows]


def _order(row: Any, messages: list[Signed]) -> Order:
    wish = Wish(
        miner=row.miner,
        kind=row.kind,
        to=Address(row.receiver),
        method=row.method,
        params=row.params,
        value=Amount.from_json(row.value),
        urgent_epoch=row.urgent_epoch,
        account=Address(row.account) if row.account is not None else None,
    )
    receipt = None
    if row.exit_code is not None:
        receipt = Receipt(epoch=row.landed_epoch, exit_code=row.exit_code, returned=row.returned, gas_used=row.gas_used)
    return Order(
        id=row.id,
        wish=wish,
        state=State(row.state),
        reason=row.reason,
        sender=Address(row.sender) if row.sender is not None else None,
        nonce=row.nonce,
        receipt=receipt,
        # Of an order that was taken back, those of the nonce that it has now.
        signed=tuple(one for one in messages if one.message.message.nonce == row.nonce),
    )
