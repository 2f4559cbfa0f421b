"""Which messages change a miner: its money, worker, control addresses, owner and beneficiary; and one that makes a miner.

Most have to come from the owner. Where an exit code 0 would do nothing, the act is refused here instead.
"""

from damocles.chain import methods, ownership
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.messages import SEND
from damocles.chain.upkeep import CompactSectorNumbers
from damocles.lotus.miners import Info
from damocles.lotus.view import View
from damocles.manager.upkeep.drafts import Draft, Plan, Refused, draft
from damocles.methods import acts
from damocles.wire.codec import Rows
from damocles.wire.sectors import SectorSize

# `RegisteredPoStProof` of window PoSts since network version 19: StackedDrgWindow2KiBV1_1 is 10.
_WINDOW_POST = 10


async def withdraw(act: acts.Withdraw, view: View) -> Plan:
    """Take out money, from the owner or the beneficiary."""
    miner = Address.of_id(act.miner)
    info, available = await view.info(miner), await view.available_balance(miner)
    amount = available if act.amount is None else act.amount
    if amount <= 0:
        raise Refused(f"there is nothing to withdraw: {available} of {miner} are available")
    notes = [f"{available} are available; what is withdrawn goes to the beneficiary {info.beneficiary}"]
    if amount > available:
        notes.append(f"{amount} are more than that: the chain pays out what there is, with exit code 0")
    sender = info.beneficiary if act.by_beneficiary else info.owner
    params = ownership.WithdrawBalance(amount)
    return Plan((await draft(view, "withdraw", miner, methods.WITHDRAW, params, sender=sender),), tuple(notes))


async def top_up(act: acts.TopUp, view: View) -> Plan:
    """Send the miner money, from any account."""
    miner = Address.of_id(act.miner)
    await view.info(miner)
    if act.amount <= 0:
        raise Refused("no amount to send")
    return Plan(
        (Draft(kind="top-up", to=miner, method=SEND, params=b"", value=act.amount, sender=act.sender),),
        (f"only the owner {(await view.info(miner)).owner} or the beneficiary gets it back, by `withdraw`",),
    )


async def repay_debt(act: acts.RepayDebt, view: View) -> Plan:
    """Pay the fee debt."""
    miner = Address.of_id(act.miner)
    funds, info = (await view.state(miner)).funds, await view.info(miner)
    if not (debt := funds.fee_debt):
        raise Refused(f"{miner} has no fee debt")
    # What is available has the debt taken off already; the actor pays out of what is locked as a reward first.
    own = funds.locked + max(0, await view.available_balance(miner) + debt)
    if not own + act.amount:
        raise Refused(f"{miner} has nothing to pay its debt of {debt} with: name an AMOUNT to send along")
    notes = [f"the debt is {debt}; what of it is not sent along is taken from what the miner has itself"]
    if own + act.amount < debt:
        notes.append(
            f"the miner has only {Amount(own)}: {Amount(debt - own - act.amount)} stay owed unless more is sent along"
        )
    made = await draft(view, "repay-debt", miner, methods.REPAY_DEBT, value=act.amount, sender=info.worker)
    return Plan((made,), tuple(notes))


async def set_control(act: acts.SetControl, view: View) -> Plan:
    """Replace the control addresses; the worker stays."""
    miner = Address.of_id(act.miner)
    info = await view.info(miner)
    wanted = [await view.id_of(one) for one in act.addresses]
    notes = [f"removes {one}" for one in info.control_addresses if one not in wanted]
    notes += [f"adds {one}" for one in wanted if one not in info.control_addresses]
    if not notes:
        raise Refused(f"{miner} has these control addresses already")
    made = await _change_worker(view, "set-control", miner, info, worker=info.worker, control=tuple(wanted))
    return Plan((made,), (*notes, "it is so at once, without a confirmation"))


async def propose_worker(act: acts.ProposeWorker, view: View) -> Plan:
    """Ask for another worker; the control addresses stay."""
    miner = Address.of_id(act.miner)
    info, wanted = await view.info(miner), await view.id_of(act.worker)
    if wanted == info.worker:
        pending = f"; {info.new_worker} stays pending, which this does not cancel" if info.new_worker else ""
        raise Refused(f"{wanted} is the worker of {miner} already{pending}")
    if info.new_worker == wanted:
        raise Refused(
            f"{wanted} was asked for already: confirm it from epoch {info.worker_change_epoch} on, with confirm-change-worker"
        )
    notes = [f"{wanted} can be confirmed 900 epochs after this has landed, with confirm-change-worker"]
    if info.new_worker:
        notes.append(f"it takes the place of {info.new_worker}, which is pending")
    made = await _change_worker(
        view, "propose-worker", miner, info, worker=wanted, control=tuple(info.control_addresses)
    )
    return Plan((made,), tuple(notes))


async def _change_worker(
    view: View, kind: str, miner: Address, info: Info, *, worker: Address, control: tuple[Address, ...]
) -> Draft:
    params = ownership.ChangeWorkerAddress(worker, Rows(control))
    return await draft(view, kind, miner, methods.CHANGE_WORKER, params, sender=info.owner)


async def confirm_worker(act: acts.ConfirmWorker, view: View) -> Plan:
    """Confirm the worker that is pending, once its time has come."""
    miner = Address.of_id(act.miner)
    info, wanted = await view.info(miner), await view.id_of(act.worker)
    if not info.new_worker:
        raise Refused(f"no change of the worker of {miner} is pending: the chain would answer 0 and do nothing")
    if info.new_worker != wanted:
        raise Refused(f"{info.new_worker} is pending as the worker of {miner}, and not {wanted}")
    if view.epoch < info.worker_change_epoch:
        raise Refused(
            f"{wanted} can be confirmed from epoch {info.worker_change_epoch} on, and it is {view.epoch}: until then the chain"
            " would answer 0 and do nothing"
        )
    made = await draft(view, "confirm-worker", miner, methods.CONFIRM_WORKER, sender=info.owner)
    return Plan((made,), (f"{wanted} takes the place of the worker {info.worker}, which pays for messages no more",))


async def propose_owner(act: acts.ProposeOwner, view: View) -> Plan:
    """Offer the miner to another owner; naming the owner itself takes an offer back."""
    miner = Address.of_id(act.miner)
    info, wanted = await view.info(miner), await view.id_of(act.owner)
    if wanted == info.owner and info.pending_owner is None:
        raise Refused(f"{wanted} is the owner of {miner} already")
    notes = (
        (f"takes the offer to {info.pending_owner} back",)
        if wanted == info.owner
        else (
            f"{wanted} is the owner once it confirms, with confirm-owner and its own key; then {info.owner} is not any more",
        )
    )
    return Plan((await draft(view, "propose-owner", miner, methods.CHANGE_OWNER, wanted, sender=info.owner),), notes)


async def confirm_owner(act: acts.ConfirmOwner, view: View) -> Plan:
    """Take over a miner that was offered."""
    miner = Address.of_id(act.miner)
    info, wanted = await view.info(miner), await view.id_of(act.owner)
    if info.pending_owner != wanted:
        raise Refused(f"{miner} is not offered to {wanted}, but to {info.pending_owner or 'nobody'}")
    made = await draft(view, "confirm-owner", miner, methods.CHANGE_OWNER, wanted, sender=wanted)
    return Plan((made,), (f"{wanted} takes the place of the owner {info.owner} for good",))


async def propose_beneficiary(act: acts.ProposeBeneficiary, view: View) -> Plan:
    """Offer what is withdrawn to a beneficiary; naming the owner ends that."""
    miner = Address.of_id(act.miner)
    info, wanted = await view.info(miner), await view.id_of(act.beneficiary)
    if info.pending_beneficiary is not None and not act.overwrites:
        raise Refused(
            f"a change to {info.pending_beneficiary.new_beneficiary} is pending: say --overwrite-pending-change"
        )
    if wanted == info.owner:
        if act.quota or act.expiration:
            raise Refused("for the owner as the beneficiary quota and expiration have to be 0")
    elif act.quota <= 0 or act.expiration <= view.epoch:
        raise Refused(f"a beneficiary takes a quota above 0, and an expiration after epoch {view.epoch}")
    params = ownership.ChangeBeneficiary(wanted, act.quota, act.expiration)
    made = await draft(view, "propose-beneficiary", miner, methods.CHANGE_BENEFICIARY, params, sender=info.owner)
    return Plan(
        (made,),
        (f"{wanted} has to approve it, and the present beneficiary {info.beneficiary} if that is not the owner",),
    )


async def confirm_beneficiary(act: acts.ConfirmBeneficiary, view: View) -> Plan:
    """Approve the change that is pending."""
    miner = Address.of_id(act.miner)
    info = await view.info(miner)
    pending = info.pending_beneficiary
    if pending is None:
        raise Refused(f"no change of the beneficiary of {miner} is pending")
    sender = pending.new_beneficiary if act.by_new else info.beneficiary
    params = ownership.ChangeBeneficiary(pending.new_beneficiary, pending.new_quota, pending.new_expiration)
    made = await draft(view, "confirm-beneficiary", miner, methods.CHANGE_BENEFICIARY, params, sender=sender)
    notes = (
        f"{sender} approves that {pending.new_beneficiary} gets up to {pending.new_quota} until epoch {pending.new_expiration}",
    )
    return Plan((made,), notes)


async def compact_numbers(act: acts.CompactNumbers, view: View) -> Plan:
    """Give up sector numbers."""
    miner = Address.of_id(act.miner)
    allocated = await view.allocated_numbers(miner)
    if act.below <= 0:
        raise Refused("no numbers to give up: say up to which")
    numbers = Bitfield.from_runs([0, act.below])
    fresh = numbers - allocated
    if not fresh:
        raise Refused(f"all numbers below {act.below} are used already")
    params = CompactSectorNumbers(numbers)
    made = await draft(view, "compact-numbers", miner, methods.COMPACT_NUMBERS, params)
    return Plan((made,), (f"gives up {fresh.count} numbers below {act.below} that were never used, for ever",))


async def create_miner(act: acts.CreateMiner, view: View) -> Plan:
    """Make a miner, with the deposit that the network asks for and a margin, since it moves."""
    if act.margin_percent < 100:
        raise Refused("the deposit has to be what the network asks for, at least: 100 percent")
    size = SectorSize(act.sector_bytes)
    asked = await view.creation_deposit()
    deposit = Amount(asked * act.margin_percent // 100)
    params = ownership.CreateMiner(
        owner=act.owner, worker=act.worker, window_post_proof_type=_WINDOW_POST + list(SectorSize).index(size)
    )
    made = await draft(
        view, "create-miner", methods.POWER_ACTOR, methods.CREATE_MINER, params, value=deposit, sender=act.sender
    )
    return Plan(
        (made,), (f"the network asks for a deposit of {asked}; {deposit} are sent, which vest in the new miner",)
    )
