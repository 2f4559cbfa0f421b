"""Execute messages: nonce, gas, value, then what the actor does; and what happens by itself at the end of an epoch."""

from collections.abc import Callable
from typing import Any

import msgspec

from damocles.chain import cbor, exits, methods, tuples
from damocles.chain.addresses import Protocol
from damocles.chain.amounts import Amount
from damocles.chain.messages import SEND, Message
from damocles.chain.methods import Method
from damocles.devnode import rules
from damocles.devnode.actors import (
    activation,
    deadlines,
    faults,
    lives,
    ownership,
    posts,
    power,
    registry,
    sealing,
    upgrades,
)
from damocles.devnode.actors.draft import Abort, Draft, Surroundings, refuse
from damocles.devnode.state import DATACAP, POWER, REGISTRY, REWARD, Account, State, with_

_SEND_GAS = 729_000
_REFUSED_GAS = 2_000_000  # and what the proofs cost that were looked at


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message: its receipt, the actor's words, and who paid what for gas, in attoFIL."""

    exit_code: int
    returned: bytes = b""
    gas_used: int = 0
    error: str = ""
    base_fee_burn: int = 0
    overestimation_burn: int = 0
    tip: int = 0
    refund: int = 0


Handler = Callable[[Draft, Any], Any]

# Gas as recorded, whatever is in the message; what grows with it, handlers add.
_MINER: dict[int, tuple[Method, Handler, int]] = {
    method.number: (method, handler, gas)
    for method, handler, gas in (
        (methods.CHANGE_WORKER, ownership.change_worker, 5_400_000),
        (methods.CHANGE_PEER_ID, ownership.change_peer_id, 3_900_000),
        (methods.SUBMIT_WINDOW_POST, posts.submit, 25_800_000),
        (methods.TERMINATE, lives.terminate, 44_000_000),
        (methods.DECLARE_FAULTS, faults.declare, 30_000_000),
        (methods.DECLARE_RECOVERED, faults.recover, 16_700_000),
        (methods.WITHDRAW, ownership.withdraw, 4_200_000),
        (methods.CHANGE_MULTIADDRS, ownership.change_multiaddrs, 3_900_000),
        (methods.COMPACT_PARTITIONS, deadlines.compact, 19_400_000),
        (methods.COMPACT_NUMBERS, lives.compact_numbers, 5_000_000),
        (methods.CONFIRM_WORKER, ownership.confirm_worker, 3_900_000),
        (methods.REPAY_DEBT, ownership.repay_debt, 3_000_000),
        (methods.CHANGE_OWNER, ownership.change_owner, 4_000_000),
        (methods.PRE_COMMIT, sealing.pre_commit, 11_000_000),
        (methods.CHANGE_BENEFICIARY, ownership.change_beneficiary, 4_000_000),
        (methods.EXTEND, lives.extend, 27_400_000),
        (methods.PROVE_COMMIT, activation.prove_commit, 37_300_000),
        (methods.PROVE_UPDATES, upgrades.prove_updates, 37_300_000),
        (methods.PROVE_NI, activation.prove_non_interactive, 37_300_000),
        (methods.SECTOR_LOCATION, lives.location, 3_000_000),
        (methods.NOMINAL_EXPIRATION, lives.nominal_expiration, 3_000_000),
        (methods.MAX_TERMINATION_FEE, lives.max_termination_fee, 3_500_000),
    )
}
_OTHERS: dict[tuple[int, int], tuple[Method, Handler, int]] = {
    (POWER, methods.CREATE_MINER.number): (methods.CREATE_MINER, power.create_miner, 40_600_000),
    **{(REGISTRY, method.number): (method, handler, gas) for method, handler, gas in registry.REGISTRY_METHODS},
    **{(DATACAP, method.number): (method, handler, gas) for method, handler, gas in registry.DATACAP_METHODS},
}


def execute(
    state: State, message: Message, around: Surroundings, *, message_bytes: int, doom: int | None = None
) -> tuple[State, Outcome]:
    """Execute a message of a block, and return the state after it.

    Its sender pays for gas whatever comes of it. A message whose sender, nonce or money does not allow it does nothing.
    With `doom` it fails with this exit code.

    Raises:
        Unverifiable: A proof in it cannot be checked here.
    """
    sender = state.id_of(message.sender)
    account = state.accounts.get(sender) if sender is not None else None
    if sender is None or account is None or account.key is None:
        return state, Outcome(exit_code=1, error="sender is no account on the chain")
    most = message.most_burnt
    if account.nonce != message.nonce or account.balance < most:
        return state, Outcome(exit_code=2, error="the sender's nonce or balance does not allow the message")
    paid = Draft(state, around)
    paid.put_account(sender, with_(account, balance=account.balance - most, nonce=account.nonce + 1))
    if doom is None:
        after, outcome = _attempt(paid.state, message, around, sender)
    else:
        after, outcome = paid.state, _refused(message, Abort(doom, "the devnode was told to fail this message"), 0)
    used = max(rules.storage_gas(message_bytes), outcome.gas_used)
    if used > message.gas_limit:
        after, used = paid.state, message.gas_limit
        outcome = Outcome(exit_code=exits.OUT_OF_GAS, error="message execution ran out of gas")
    return _settled(after, message, around, sender, outcome, used)


def simulate(state: State, message: Message, around: Surroundings) -> tuple[State, Outcome]:
    """Execute a message for its verdict alone: nonce, gas and fees are of no account. Raises as `execute`."""
    sender = state.id_of(message.sender)
    account = state.accounts.get(sender) if sender is not None else None
    if sender is None or account is None:
        return state, Outcome(exit_code=1, error="sender is no account on the chain")
    after, outcome = _attempt(state, message, around, sender)
    return after, with_(outcome, gas_used=max(outcome.gas_used, rules.storage_gas(len(tuples.encode(message)))))


def _attempt(state: State, message: Message, around: Surroundings, sender: int) -> tuple[State, Outcome]:
    draft = Draft(state, around, sender=sender, value=int(message.value))
    try:
        draft.receiver = _receiver(draft, message)
        if state.account(sender).balance < message.value:
            refuse("sender does not have funds to transfer", 6)
        draft.move(sender, draft.receiver, int(message.value))
        returned = _dispatch(draft, message)
    except Abort as abort:
        return state, _refused(message, abort, draft.gas_of_proofs)
    return draft.state, Outcome(exit_code=exits.OK, returned=returned, gas_used=draft.gas + draft.gas_of_proofs)


def _refused(message: Message, abort: Abort, gas_of_proofs: int) -> Outcome:
    code = abort.exit_code
    words = f"message failed with backtrace:\n00: {_shown(message)} -- {abort.text} ({code})\n (RetCode={code})"
    return Outcome(exit_code=code, gas_used=_REFUSED_GAS + gas_of_proofs, error=words)


def _receiver(draft: Draft, message: Message) -> int:
    number = draft.state.id_of(message.to)
    if number is not None:
        return number
    if message.to.protocol not in {Protocol.SECP256K1, Protocol.BLS} or message.method != SEND:
        raise Abort(5, "there is no actor at the address")
    number = draft.state.next_id
    ids = {**draft.state.ids, message.to.text(): number}
    draft.state = with_(draft.state, ids=ids, next_id=number + 1)
    draft.put_account(number, Account(message.to))
    return number


def _dispatch(draft: Draft, message: Message) -> bytes:
    if message.method == SEND:
        draft.gas = _SEND_GAS
        return b""
    found = _entry(draft.state, draft.receiver, message.method)
    if found is None:
        raise Abort(exits.NO_SUCH_METHOD, f"invalid method: {message.method}")
    method, handler, draft.gas = found
    try:
        params = method.read_params(message.params)
    except cbor.Malformed as exc:
        text = f"Serialization error for Cbor protocol: Msg({str(exc)!r})"
        raise Abort(exits.UNREADABLE, text) from exc
    returned = handler(draft, params)
    return b"" if method.returns is None else tuples.encode(returned, method.returns)


def _entry(state: State, receiver: int, number: int) -> tuple[Method, Handler, int] | None:
    return _MINER.get(number) if receiver in state.miners else _OTHERS.get((receiver, number))


def miner_method(number: int) -> Method | None:
    """Return a method of miners, `None` if they have none with that number."""
    found = _MINER.get(number)
    return None if found is None else found[0]


def method_of(state: State, receiver: int, number: int) -> Method | None:
    """Return a method of an actor, `None` if it has none with that number."""
    found = _entry(state, receiver, number)
    return None if found is None else found[0]


def _shown(message: Message) -> str:
    return f"{message.to} (method {message.method})"


def _settled(  # noqa: PLR0917, the parts of one sum
    state: State, message: Message, around: Surroundings, sender: int, outcome: Outcome, used: int
) -> tuple[State, Outcome]:
    """Give back what was set aside for gas and is not needed, burn the base fee, and tip the miner of the block."""
    limit = message.gas_limit
    wasted = rules.burnt_by_overestimation(used, limit)
    burnt, wasted_burn = used * around.base_fee, wasted * around.base_fee
    tip = limit * min(int(message.gas_premium), int(message.gas_fee_cap) - around.base_fee)
    refund = int(message.most_burnt) - burnt - wasted_burn - tip
    draft = Draft(state, around)
    account = draft.state.accounts[sender]
    draft.put_account(sender, with_(account, balance=account.balance + burnt + wasted_burn + tip + refund))
    draft.burn(sender, burnt + wasted_burn)
    draft.move(sender, REWARD, tip)
    return draft.state, with_(
        outcome, gas_used=used, base_fee_burn=burnt, overestimation_burn=wasted_burn, tip=tip, refund=refund
    )


def cost(outcome: Outcome) -> Amount:
    """Return what a message has cost beside its value."""
    return Amount(outcome.base_fee_burn + outcome.overestimation_burn + outcome.tip)


def end_epoch(state: State, around: Surroundings) -> State:
    """Return the state after what happens by itself at the end of an epoch; the same if that is nothing."""
    draft = Draft(state, around)
    for number in state.miners:
        draft.receiver = number
        sealing.expire_pre_commits(draft)
        deadlines.end_epoch(draft)
    return draft.state
