"""Change a miner on the chain: `util sealer actor withdraw|…`, `util miner create`."""

from typing import Annotated

from cyclopts import Parameter, validators

from damocles.cli.connecting import manager_at
from damocles.cli.of_chain import acting, words
from damocles.cli.terminal import exits
from damocles.methods import acts
from damocles.wire.sectors import SectorSize

Money = Annotated[str, Parameter(help="An amount: 1.5, 1.5 FIL, 100 nanoFIL.")]
Account = Annotated[str, Parameter(help="An address, f0…, f1…, f2… or f3….")]


def withdraw(
    amount: Annotated[str | None, Parameter(help="1.5, 1.5 FIL, 100 nanoFIL; default: everything.")] = None,
    /,
    *,
    miner: words.Actor = None,
    beneficiary: Annotated[bool, Parameter(name="--beneficiary", help="Send it from the beneficiary.")] = False,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Withdraw money from the miner to its beneficiary."""
    act = acts.Withdraw(
        miner=words.miner(miner, at).id,
        amount=acting.amount(amount, "AMOUNT") if amount is not None else None,
        by_beneficiary=beneficiary,
    )
    return acting.perform(act, how, at)


def add_balance(
    sender: Account,
    amount: Money,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Send the miner money from an account."""
    (who,) = acting.addresses([sender], "SENDER")
    act = acts.TopUp(miner=words.miner(miner, at).id, sender=who, amount=acting.amount(amount, "AMOUNT"))
    return acting.perform(act, how, at)


def repay_debt(
    amount: Annotated[
        str | None, Parameter(help="How much to send along; by default the miner pays from its own balance.")
    ] = None,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Pay the miner's fee debt."""
    act = acts.RepayDebt(miner=words.miner(miner, at).id, amount=acting.amount(amount or "0", "AMOUNT"))
    return acting.perform(act, how, at)


def set_control(
    *addresses: Account,
    miner: words.Actor = None,
    none: Annotated[bool, Parameter(name="--none", help="Remove all of them.")] = False,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Replace all control addresses of the miner; the worker stays."""
    if bool(addresses) == none:
        raise exits.WrongUsage("name all new control addresses, or pass --none")
    act = acts.SetControl(miner=words.miner(miner, at).id, addresses=tuple(acting.addresses(addresses, "ADDRESSES")))
    return acting.perform(act, how, at)


def propose_worker(
    worker: Account,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Propose another worker; it can be confirmed 900 epochs later."""
    (who,) = acting.addresses([worker], "WORKER")
    return acting.perform(acts.ProposeWorker(miner=words.miner(miner, at).id, worker=who), how, at)


def confirm_worker(
    worker: Account,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Confirm the proposed worker."""
    (who,) = acting.addresses([worker], "WORKER")
    return acting.perform(acts.ConfirmWorker(miner=words.miner(miner, at).id, worker=who), how, at)


def set_owner(
    owner: Account,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Offer the miner to another owner, from the present one; the new one takes it over with `confirm-owner`."""
    (who,) = acting.addresses([owner], "OWNER")
    return acting.perform(acts.ProposeOwner(miner=words.miner(miner, at).id, owner=who), how, at)


def confirm_owner(
    owner: Account,
    /,
    *,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Take over a miner that was offered, from the new owner."""
    (who,) = acting.addresses([owner], "OWNER")
    return acting.perform(acts.ConfirmOwner(miner=words.miner(miner, at).id, owner=who), how, at)


def propose_beneficiary(
    beneficiary: Account,
    quota: Money,
    expiration: Annotated[int, Parameter(validator=validators.Number(gte=0), help="The epoch at which it ends.")],
    /,
    *,
    miner: words.Actor = None,
    overwrite_pending_change: Annotated[
        bool, Parameter(name="--overwrite-pending-change", help="Even if a change is pending.")
    ] = False,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Let another address receive what is withdrawn, up to a quota and until an epoch; the owner with 0 and 0 ends that."""
    (who,) = acting.addresses([beneficiary], "BENEFICIARY")
    act = acts.ProposeBeneficiary(
        miner=words.miner(miner, at).id,
        beneficiary=who,
        quota=acting.amount(quota, "QUOTA"),
        expiration=expiration,
        overwrites=overwrite_pending_change,
    )
    return acting.perform(act, how, at)


def confirm_beneficiary(
    *,
    miner: words.Actor = None,
    existing_beneficiary: Annotated[
        bool, Parameter(name="--existing-beneficiary", help="Approve as the present beneficiary.")
    ] = False,
    new_beneficiary: Annotated[
        bool, Parameter(name="--new-beneficiary", help="Approve as the new beneficiary.")
    ] = False,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Approve the pending change of the beneficiary."""
    if existing_beneficiary == new_beneficiary:
        raise exits.WrongUsage("pass --existing-beneficiary or --new-beneficiary")
    act = acts.ConfirmBeneficiary(miner=words.miner(miner, at).id, by_new=new_beneficiary)
    return acting.perform(act, how, at)


def compact_allocated(
    *,
    mask_upto_n: Annotated[
        int,
        Parameter(name="--mask-upto-n", validator=validators.Number(gte=1), help="Renounce all numbers below this."),
    ],
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Renounce sector numbers for ever, so that the set of used ones takes less space on the chain."""
    act = acts.CompactNumbers(miner=words.miner(miner, at).id, below=mask_upto_n)
    return acting.perform(act, how, at)


def create(
    *,
    sender: Annotated[str, Parameter(name="--from", help="The account that pays, and the owner if none is named.")],
    sector_size: Annotated[str, Parameter(help="2KiB, 8MiB, 512MiB, 32GiB or 64GiB.")],
    owner: Annotated[str | None, Parameter(help="The owner.")] = None,
    worker: Annotated[str | None, Parameter(help="The worker, a BLS address; default: the owner.")] = None,
    deposit_margin_factor: Annotated[
        float,
        Parameter(validator=validators.Number(gte=1, lte=10), help="Which multiple of the required deposit to send."),
    ] = 1.01,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Create a miner. Its addresses on the network are set later, with `lotus-miner actor` or another tool."""
    payer, of, works = acting.addresses([sender, owner or sender, worker or owner or sender], "address")
    try:
        size = SectorSize.parse(sector_size)
    except ValueError as error:
        raise exits.WrongUsage(f"--sector-size: {error}") from error
    act = acts.CreateMiner(
        sender=payer,
        owner=of,
        worker=works,
        sector_bytes=int(size),
        margin_percent=round(deposit_margin_factor * 100),
    )
    return acting.perform(act, how, at)
