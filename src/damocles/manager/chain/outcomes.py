"""What came of a message of several sectors, for each of them, as far as order and receipt tell it. Pure.

Exit code 0 is not the end of it: whether the sector is on the chain has to be read there.
"""

from collections.abc import Sequence

from damocles.chain import cbor, exits, methods
from damocles.manager.chain.submissions import Kind, State, Submission
from damocles.manager.outbox.orders import Order
from damocles.manager.outbox.orders import State as OrderState

# Money, or gas, may be there the next time.
_FAILED = frozenset({6, exits.OUT_OF_GAS, exits.INSUFFICIENT_FUNDS})
_RETURNS = {
    Kind.PROOF: methods.PROVE_COMMIT,
    Kind.NON_INTERACTIVE: methods.PROVE_NI,
    Kind.UPDATE: methods.PROVE_UPDATES,
}

Outcome = tuple[State, str]


def of(order: Order, sharing: Sequence[Submission]) -> list[Outcome]:
    """Return state and reason of each submission that shares the message of an order, in the message's order.

    `State.LANDED` says that it should be on the chain; `State.ORDERED` that nothing is known yet.
    """
    if order.state is OrderState.REFUSED:
        if len(sharing) > 1:
            # Mostly one of them is at fault; who that is comes out when they are tried again.
            return [(State.WAITING, order.reason)] * len(sharing)
        return [(_final(sharing[0].kind), order.reason)]
    if order.state is not OrderState.LANDED or order.receipt is None:
        return [(State.ORDERED, "")] * len(sharing)
    code = order.receipt.exit_code
    if code:
        return [(_state(sharing[0].kind, code, alone=len(sharing) == 1), exits.words(code))] * len(sharing)
    method = _RETURNS.get(sharing[0].kind)
    if method is None:
        return [(State.LANDED, "")] * len(sharing)
    try:
        codes = method.read_return(order.receipt.returned).exit_codes()
    except (cbor.Malformed, ValueError) as error:
        return [(State.LANDED, f"its return value cannot be read: {error}")] * len(sharing)
    if len(codes) != len(sharing):
        return [(State.LANDED, f"its return value is of {len(codes)} sectors")] * len(sharing)
    kind = sharing[0].kind
    return [(_state(kind, code, alone=True), exits.words(code)) if code else (State.LANDED, "") for code in codes]


def _state(kind: Kind, code: int, *, alone: bool) -> State:
    return _final(kind) if alone and code not in _FAILED else State.FAILED


def _final(kind: Kind) -> State:
    # A message of this kind names a deadline, which has become immutable if it was late. Handed in again it gets another
    # one, and what is wrong with the sector itself is found when that is tried.
    return State.FAILED if kind is Kind.NON_INTERACTIVE else State.REFUSED


def by_order(submissions: Sequence[Submission]) -> dict[int, list[Submission]]:
    """Return what shares each order's message, by the number of sectors, as they stand in it."""
    shared: dict[int, list[Submission]] = {}
    for one in sorted(submissions, key=lambda one: one.sector.number):
        if one.order_id is not None:
            shared.setdefault(one.order_id, []).append(one)
    return shared
