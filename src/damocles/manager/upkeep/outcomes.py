"""What messages have done: exit code 0 often means nothing, so the state, or the return value, is read afterwards.

Each function takes the parameters of a message that was executed with exit code 0, and what it returned.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from damocles.chain import cbor, exits, methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.messages import SEND
from damocles.lotus import layout
from damocles.lotus.layout import Layout
from damocles.lotus.view import View
from damocles.manager.outbox.orders import Order
from damocles.methods.acts import Outcome

_Said = tuple[bool, list[str]]


async def outcome(order: Order, view: View) -> Outcome:
    """Return what an order that landed has done, by the chain as it is at the view."""
    receipt = order.receipt
    assert receipt is not None
    if receipt.exit_code != exits.OK:
        return Outcome(order=order.id, done=False, lines=(f"nothing: {exits.words(receipt.exit_code)}",))
    wish = order.wish
    known = {methods.CREATE_MINER.number: methods.CREATE_MINER} if wish.to == methods.POWER_ACTOR else methods.OF_MINER
    method = known.get(wish.method)
    if wish.method == SEND:
        done, lines = True, [f"{wish.to} has {wish.value} more"]
    elif method is None or method.name not in _READERS:
        done, lines = True, ["exit code 0; nothing is known of how to see what it did"]
    else:
        try:
            params, returned = method.read_params(wish.params), method.read_return(receipt.returned)
        except cbor.Malformed as error:
            return Outcome(order=order.id, done=False, lines=(f"its answer cannot be read: {error}",))
        done, lines = await _READERS[method.name](view, wish.to, params, returned)
    return Outcome(order=order.id, done=done, lines=tuple(lines))


async def _extended(view: View, miner: Address, params: Any, _: Any) -> _Said:
    wanted = {}
    for one in params.extensions:
        for number in (*one.sectors, *(named.sector_number for named in one.sectors_with_claims)):
            wanted[number] = one.new_expiration
    ends = {one.number: one.expiration for one in await view.sectors(miner) if one.number in wanted}
    short = Bitfield(number for number, new in wanted.items() if ends.get(number, 0) < new)
    done = len(wanted) - short.count
    lines = [f"{done} of {len(wanted)} sectors live as long as was wanted"]
    return not short, lines + ([f"not extended: {_text(short)}"] if short else [])


async def _layout_of(view: View, miner: Address, declared: Any) -> tuple[Layout, Bitfield]:
    """Return the deadlines of declarations, and all sectors that they name."""
    seen = await layout.read(view, miner, sorted({one.deadline for one in declared}))
    named = Bitfield()
    for one in declared:
        named |= one.sectors
    return seen, named


async def _terminated(view: View, miner: Address, params: Any, returned: Any) -> _Said:
    seen, named = await _layout_of(view, miner, params.terminations)
    alive = named
    for part in seen.partitions.values():
        alive -= part.all - part.live
    compacted = alive - _all(seen)
    alive -= compacted
    lines = [f"{named.count - alive.count} of {named.count} sectors are terminated"]
    if not returned.done:
        lines.append("the fees of some are charged later, by the chain itself")
    return not alive, lines + ([f"still alive: {_text(alive)}"] if alive else [])


def _all(seen: Layout) -> Bitfield:
    found = Bitfield()
    for part in seen.partitions.values():
        found |= part.all
    return found


async def _recovered(view: View, miner: Address, params: Any, _: Any) -> _Said:
    seen, named = await _layout_of(view, miner, params.recoveries)
    faulty, recovering = Bitfield(), Bitfield()
    for part in seen.partitions.values():
        faulty |= part.faulty & named
        recovering |= part.recovering & named
    lost = faulty - recovering
    healthy = named - faulty
    lines = [
        f"{recovering.count} of {named.count} sectors are declared recovered, and count from their next window PoSt on"
    ]
    if healthy:
        lines.append(f"not faulty (any more): {_text(healthy)}")
    return not lost, lines + ([f"still faulty and not declared: {_text(lost)}"] if lost else [])


async def _faulty(view: View, miner: Address, params: Any, _: Any) -> _Said:
    seen, named = await _layout_of(view, miner, params.faults)
    faulty = Bitfield()
    for part in seen.partitions.values():
        faulty |= (part.faulty - part.recovering) & named
    left = named - faulty
    lines = [f"{faulty.count} of {named.count} sectors are faulty"]
    return not left, lines + ([f"not faulty: {_text(left)}"] if left else [])


async def _compacted(view: View, miner: Address, params: Any, _: Any) -> _Said:
    seen = await layout.read(view, miner, [params.deadline])
    dead = sum((part.all - part.live).count for _, part in seen.of_deadline(params.deadline))
    count = len(seen.partitions)
    lines = [f"deadline {params.deadline} has {count} partitions, with {dead} dead sectors"]
    return not dead, lines


async def _withdrawn(_: View, __: Address, params: Any, returned: Amount) -> _Said:
    text = f"{returned} were paid out"
    if returned < params.amount:
        return False, [f"{text}, of {params.amount} that were asked for: there was no more"]
    return True, [text]


async def _worker_changed(view: View, miner: Address, params: Any, _: Any) -> _Said:
    info = await view.info(miner)
    control = [await view.id_of(one) for one in params.new_control_addresses]
    worker = await view.id_of(params.new_worker)
    lines = [f"control addresses: {', '.join(map(str, info.control_addresses)) or 'none'}"]
    if info.worker == worker:
        lines.append(f"worker: {info.worker}")
    elif info.new_worker == worker:
        lines.append(f"{worker} is pending, and can be confirmed from epoch {info.worker_change_epoch} on")
    else:
        lines.append(f"the worker is {info.worker}, and {worker} is not pending")
    return set(control) == set(info.control_addresses) and worker in {info.worker, info.new_worker}, lines


async def _worker_confirmed(view: View, miner: Address, _: Any, __: Any) -> _Said:
    info = await view.info(miner)
    if info.new_worker:
        return False, [f"nothing: {info.new_worker} is still pending until epoch {info.worker_change_epoch}"]
    return True, [f"the worker is {info.worker}"]


async def _owner_changed(view: View, miner: Address, wanted: Address, _: Any) -> _Said:
    info = await view.info(miner)
    if info.owner == wanted:
        return True, [f"the owner is {info.owner}"]
    if info.pending_owner == wanted:
        return True, [
            f"{wanted} is pending: it confirms with its own key (confirm-owner); until then it is {info.owner}"
        ]
    return False, [f"the owner is {info.owner}, and {wanted} is not pending"]


async def _beneficiary_changed(view: View, miner: Address, params: Any, _: Any) -> _Said:
    info = await view.info(miner)
    if info.beneficiary == params.new_beneficiary and info.pending_beneficiary is None:
        return True, [f"the beneficiary is {info.beneficiary}"]
    if (pending := info.pending_beneficiary) is None:
        return False, [f"the beneficiary is {info.beneficiary}, and no change is pending"]
    missing = [
        who
        for who, has in (
            (f"the beneficiary {info.beneficiary}", pending.approved_by_beneficiary),
            (f"the new one {pending.new_beneficiary}", pending.approved_by_nominee),
        )
        if not has
    ]
    return True, [
        f"the change waits for the approval of {' and '.join(missing) or 'nobody'} (confirm-change-beneficiary)"
    ]


async def _repaid(view: View, miner: Address, _: Any, __: Any) -> _Said:
    debt = (await view.state(miner)).funds.fee_debt
    return not debt, [f"the fee debt is {debt}"]


async def _numbers_given_up(view: View, miner: Address, params: Any, _: Any) -> _Said:
    left = params.numbers - await view.allocated_numbers(miner)
    return not left, [f"{params.numbers.count - left.count} of {params.numbers.count} numbers are used up"]


async def _created(_: View, __: Address, ___: Any, returned: Any) -> _Said:
    return True, [f"miner actor: {returned.id_address} ({returned.robust_address})"]


_READERS: Mapping[str, Callable[[View, Address, Any, Any], Awaitable[_Said]]] = {
    methods.EXTEND.name: _extended,
    methods.TERMINATE.name: _terminated,
    methods.DECLARE_RECOVERED.name: _recovered,
    methods.DECLARE_FAULTS.name: _faulty,
    methods.COMPACT_PARTITIONS.name: _compacted,
    methods.WITHDRAW.name: _withdrawn,
    methods.CHANGE_WORKER.name: _worker_changed,
    methods.CONFIRM_WORKER.name: _worker_confirmed,
    methods.CHANGE_OWNER.name: _owner_changed,
    methods.CHANGE_BENEFICIARY.name: _beneficiary_changed,
    methods.REPAY_DEBT.name: _repaid,
    methods.COMPACT_NUMBERS.name: _numbers_given_up,
    methods.CREATE_MINER.name: _created,
}


def _text(numbers: Bitfield) -> str:
    return repr(numbers)[1:-1]
