"""What concerns a miner as a whole: keys, money, where it is on the network."""

from damocles.chain import exits
from damocles.chain.addresses import Address, Protocol
from damocles.chain.amounts import Amount
from damocles.chain.ownership import (
    ChangeBeneficiary,
    ChangeMultiaddrs,
    ChangePeerID,
    ChangeWorkerAddress,
    WithdrawBalance,
)
from damocles.devnode import rules
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.state import BeneficiaryTerm, PendingBeneficiary, kind_of, with_
from damocles.wire.codec import Blob

_CONTROL_LIMIT = 10


def change_worker(draft: Draft, params: ChangeWorkerAddress) -> None:
    """Replace the control addresses now, and the worker when that is confirmed."""
    if len(params.new_control_addresses) > _CONTROL_LIMIT:
        refuse(f"control addresses length {len(params.new_control_addresses)} exceeds max {_CONTROL_LIMIT}")
    worker = _account(draft, params.new_worker)
    key = draft.state.account(worker).key
    if key is None or key.protocol is not Protocol.BLS:
        refuse(f"worker account {worker} must have BLS pubkey, was {key[0] if key else 0}")
    control = tuple(_account(draft, address, "control ") for address in params.new_control_addresses)
    draft.caller_is(draft.miner.owner)
    draft.change(control=control)
    if worker != draft.miner.worker and draft.miner.new_worker is None:
        draft.change(new_worker=worker, worker_change_epoch=draft.epoch + rules.FINALITY)


def _account(draft: Draft, address: Address, role: str = "") -> int:
    number = draft.resolve(address, role)
    if draft.state.account(number).key is None:
        kind = kind_of(draft.state, number)
        refuse(f"{role or 'worker '}actor type must be an account, was {kind}")
    return number


def confirm_worker(draft: Draft, _: None) -> None:
    """Let the new worker be the worker, if its time has come; else nothing happens."""
    miner = draft.miner
    draft.caller_is(miner.owner)
    if miner.new_worker is not None and draft.epoch >= miner.worker_change_epoch:
        draft.change(worker=miner.new_worker, new_worker=None, worker_change_epoch=-1)


def withdraw(draft: Draft, params: WithdrawBalance) -> Amount:
    """Send what is available, up to what is asked for, to the beneficiary."""
    if params.amount < 0:
        refuse(f"negative fund requested for withdrawal: {params.amount / 10**18:.18f}")
    miner = draft.miner
    draft.caller_is(miner.owner, miner.beneficiary)
    repay_debt_in_part(draft)
    miner = draft.miner
    amount = max(0, min(int(params.amount), miner.available))
    if miner.beneficiary != miner.owner:
        term = miner.term
        left = term.quota - term.used if term.expiration > draft.epoch else 0
        if left <= 0:
            refuse("beneficiary quota is used up or its term is over", exits.FORBIDDEN)
        amount = min(amount, left)
        draft.change(term=with_(term, used=term.used + amount))
    draft.move(draft.receiver, miner.beneficiary, amount)
    return Amount(amount)


def repay_debt(draft: Draft, _: None) -> None:
    """Pay what is owed for fees, as far as there is money."""
    draft.caller_is_of_miner()
    repay_debt_in_part(draft)


def repay_debt_in_part(draft: Draft) -> None:
    """Pay as much of the debt as there is money for."""
    miner = draft.miner
    paid = min(miner.fee_debt, max(0, miner.available + miner.fee_debt))
    draft.change(fee_debt=miner.fee_debt - paid)
    draft.burn(draft.receiver, paid)


def change_owner(draft: Draft, new: Address) -> None:
    """Propose an owner as the present one, or accept as the new one."""
    if new.protocol is not Protocol.ID:
        refuse("owner address must be an ID address")
    miner, number = draft.miner, draft.resolve(new)
    if miner.pending_owner is None or draft.sender == miner.owner:
        draft.caller_is(miner.owner)
        draft.change(pending_owner=None if number == miner.owner else number)
        return
    draft.caller_is(miner.pending_owner)
    if number != miner.pending_owner:
        refuse(f"expected confirmation of f0{miner.pending_owner}, got f0{number}")
    draft.change(owner=number, pending_owner=None)
    if miner.beneficiary == miner.owner:
        draft.change(beneficiary=number)


def change_beneficiary(draft: Draft, params: ChangeBeneficiary) -> None:
    """Propose a beneficiary as the owner, or approve as the present or the new one."""
    miner, who = draft.miner, draft.resolve(params.new_beneficiary)
    if draft.sender == miner.owner:
        if who != miner.owner and params.new_quota <= 0:
            refuse(f"beneficial quota {int(params.new_quota)} must bigger than 0")
        pending = PendingBeneficiary(
            who=who,
            quota=int(params.new_quota),
            expiration=params.new_expiration,
            # The owner as beneficiary gives up nothing, and an owner that gets it back has nothing to accept.
            by_beneficiary=miner.beneficiary == miner.owner or _is_over(draft),
            by_nominee=who == miner.owner,
        )
    else:
        found = miner.pending_beneficiary
        if found is None:
            refuse("no pending beneficiary term", exits.FORBIDDEN)
        if (found.who, found.quota, found.expiration) != (who, int(params.new_quota), params.new_expiration):
            refuse("proposal differs from what is pending")
        draft.caller_is(miner.beneficiary, found.who)
        pending = with_(
            found,
            by_beneficiary=found.by_beneficiary or draft.sender == miner.beneficiary,
            by_nominee=found.by_nominee or draft.sender == found.who,
        )
    if not (pending.by_beneficiary and pending.by_nominee):
        draft.change(pending_beneficiary=pending)
        return
    used = miner.term.used if pending.who == miner.beneficiary else 0
    term = BeneficiaryTerm(pending.quota, used, pending.expiration) if pending.who != miner.owner else BeneficiaryTerm()
    draft.change(beneficiary=pending.who, term=term, pending_beneficiary=None)


def _is_over(draft: Draft) -> bool:
    term = draft.miner.term
    return term.expiration <= draft.epoch or term.used >= term.quota


def change_peer_id(draft: Draft, params: ChangePeerID) -> None:
    """Change under which id the miner is on the network."""
    draft.caller_is_of_miner()
    draft.change(peer_id=params.new_id)


def change_multiaddrs(draft: Draft, params: ChangeMultiaddrs) -> None:
    """Change where the miner is on the network."""
    draft.caller_is_of_miner()
    draft.change(multiaddrs=tuple(Blob(one) for one in params.new_multiaddrs))
