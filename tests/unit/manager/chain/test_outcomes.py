"""What came of a message that several sectors share."""

from damocles.chain.addresses import Address
from damocles.manager.chain import outcomes
from damocles.manager.chain.submissions import Kind, State, Submission
from damocles.manager.outbox import orders
from damocles.manager.outbox.node import Receipt
from damocles.wire import seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SealProof, SectorID


def _sharing(count: int, kind: Kind = Kind.PROOF) -> list[Submission]:
    return [
        Submission(
            id=number,
            cid=CID(f"b{number}"),
            kind=kind,
            sector=SectorID(1000, number),
            proof_type=SealProof(5),
            content=seal.Proof(b""),
            pieces=(),
            since_epoch=1,
            last_epoch=None,
            state=State.ORDERED,
            order_id=7,
            reason="",
            landed_epoch=None,
        )
        for number in range(1, count + 1)
    ]


def _order(state: orders.State, code: int | None = None, returned: bytes = b"", reason: str = "") -> orders.Order:
    wish = orders.Wish(miner=1000, kind="proof", to=Address.of_id(1000), method=34, params=b"")
    receipt = None if code is None else Receipt(epoch=9, exit_code=code, returned=returned, gas_used=1)
    return orders.Order(id=7, wish=wish, state=state, receipt=receipt, reason=reason)


def _states(order: orders.Order, sharing: list[Submission]) -> list[State]:
    return [state for state, _ in outcomes.of(order, sharing)]


def test_exit_code_0_with_a_failure() -> None:
    """Of a batch with exit code 0, the sectors that its return value names have failed, and no others."""
    order = _order(orders.State.LANDED, 0, bytes.fromhex("82018182 0010".replace(" ", "")))
    (bad, reason), good = outcomes.of(order, _sharing(2))
    assert (bad, good) == (State.REFUSED, (State.LANDED, ""))
    assert reason.startswith("exit code 16 (ErrIllegalArgument)")


def test_pre_commits_return_nothing() -> None:
    """Pre-commits with exit code 0 should be on the chain, all of them."""
    assert [State.LANDED] * 2 == _states(_order(orders.State.LANDED, 0), _sharing(2, Kind.PRE_COMMIT))


def test_what_money_mends_may_be_handed_in_again() -> None:
    """A sector fails for want of money or gas, and is refused for everything else; among several nobody knows whose fault."""
    assert [State.FAILED] == _states(_order(orders.State.LANDED, 19), _sharing(1))
    assert [State.REFUSED] == _states(_order(orders.State.LANDED, 16), _sharing(1))
    assert [State.FAILED] * 2 == _states(_order(orders.State.LANDED, 16), _sharing(2))


def test_refused_before_it_was_sent() -> None:
    """Several sectors whose message would fail wait again, so that the bad one is found; one alone is refused."""
    refused = _order(orders.State.REFUSED, reason="sector 1 not found")
    assert [State.WAITING] * 2 == _states(refused, _sharing(2))
    assert [(State.REFUSED, "sector 1 not found")] == outcomes.of(refused, _sharing(1))


def test_unreadable_return_values_prove_nothing() -> None:
    """A return value of another number of sectors, or none at all, leaves it to the chain's state."""
    for returned in (bytes.fromhex("820380"), b"\x82", b""):
        (state, reason), *_ = outcomes.of(_order(orders.State.LANDED, 0, returned), _sharing(2))
        assert (state, bool(reason)) == (State.LANDED, True)


def test_on_its_way() -> None:
    """Of an order that is not over nothing is known yet."""
    assert [State.ORDERED] == _states(_order(orders.State.SIGNED), _sharing(1))
