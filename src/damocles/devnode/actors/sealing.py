"""Pre-commits: what is promised, and what becomes of promises that are not kept."""

from damocles.chain import exits
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import PreCommit, PreCommitSectorBatch2
from damocles.devnode import rules
from damocles.devnode.actors.draft import Draft, refuse, shown
from damocles.devnode.state import PreCommitted, sector_bytes
from damocles.wire import commitments
from damocles.wire.sectors import SealFamily, SealProof

_GAS = 2_500_000
_UNSEALED, _SEALED = "baga6ea4sea", "bagboea4b5abc"
_FAMILIES = {SealFamily.V1_1, SealFamily.SYNTHETIC}


def pre_commit(draft: Draft, params: PreCommitSectorBatch2) -> None:
    """Take the deposits of sectors that are to be proved later, all or none."""
    if not params.sectors:
        refuse("batch empty")
    if len(params.sectors) > rules.BATCH_LIMIT:
        refuse(f"batch of {len(params.sectors)} too large, max {rules.BATCH_LIMIT}")
    numbers: set[int] = set()
    for sector in params.sectors:
        if sector.sector_number in numbers:
            refuse(f"duplicate sector number {sector.sector_number}")
        numbers.add(sector.sector_number)
        _check(draft, sector)
    draft.caller_is_of_miner()
    draft.repay()
    allocate(draft, numbers)
    miner = draft.miner
    each = rules.deposit(draft.miner.sector_bytes)
    if miner.available < each * len(numbers):
        have, need = (f"{amount / 10**18:.18f}" for amount in (miner.available, each * len(numbers)))
        refuse(f"insufficient funds {have} for pre-commit deposit: {need}", exits.INSUFFICIENT_FUNDS)
    made = {sector.sector_number: PreCommitted(sector, each, draft.epoch) for sector in params.sectors}
    draft.gas += _GAS * len(numbers)
    draft.change(deposits=miner.deposits + each * len(numbers), pre_committed=miner.pre_committed | made)


def allocate(draft: Draft, numbers: set[int]) -> None:
    """Use up sector numbers, none of which may have been used before."""
    wanted = Bitfield(numbers)
    used = wanted & draft.miner.allocated
    if used:
        refuse(f"sector numbers {shown(used)} already allocated")
    draft.change(allocated=draft.miner.allocated | wanted)


def check_expiration(epoch: int, activation: int, expiration: int) -> None:
    """Refuse a life that is too short, or longer than the chain allows."""
    if expiration < activation:
        refuse(f"sector expiration {expiration} must be after activation {activation}")
    if expiration - activation < rules.LEAST_LIFE:
        refuse(
            f"invalid expiration {expiration}, total sector lifetime ({expiration - activation}) must exceed {rules.LEAST_LIFE} after activation {activation}"
        )
    if expiration > epoch + rules.LONGEST_EXTENSION:
        refuse(
            f"invalid expiration {expiration}, cannot be more than {rules.LONGEST_EXTENSION} past current epoch {epoch}"
        )


def prove_within(draft: Draft) -> int:
    """Return how many epochs after its pre-commit a sector may be proved."""
    return rules.PROVE_WITHIN + draft.rules.challenge_delay


def _check(draft: Draft, sector: PreCommit) -> None:
    if not 0 <= sector.sector_number < rules.NUMBER_LIMIT:
        refuse(f"sector number {sector.sector_number} out of range 0..{rules.NUMBER_LIMIT - 1}")
    proof = sector.seal_proof
    if (
        not 0 <= proof < 20
        or SealProof(proof).family not in _FAMILIES
        or sector_bytes(proof) != draft.miner.sector_bytes
    ):
        refuse(f"unsupported seal proof type {proof}")
    if not sector.sealed_cid.startswith(_SEALED):
        refuse("sealed CID had wrong prefix")
    if sector.unsealed_cid is not None and not sector.unsealed_cid.startswith(_UNSEALED):
        refuse("unsealed CID had wrong prefix")
    check_ticket(draft, sector.seal_rand_epoch, rules.TICKET_LOOKBACK)
    check_expiration(draft.epoch, draft.epoch + prove_within(draft), sector.expiration)
    if sector.deal_ids:
        refuse(f"no such deal {sector.deal_ids[0]}", exits.NOT_FOUND)


def check_ticket(draft: Draft, epoch: int, lookback: int) -> None:
    """Refuse a ticket that has not been drawn yet, or too long ago."""
    if epoch >= draft.epoch:
        refuse(f"seal challenge epoch {epoch} must be before now {draft.epoch}")
    if epoch < draft.epoch - lookback:
        refuse(f"seal challenge epoch {epoch} too old, must be after {draft.epoch - lookback}")


def comm_d_of(draft: Draft, cid: str | None) -> bytes:
    """Return CommD of a pre-commit: that of zeros if it names none."""
    if cid is None:
        return commitments.zero_comm_d(draft.miner.sector_bytes)
    return commitments.commitment_of(cid)


def expire_pre_commits(draft: Draft) -> None:
    """Burn the deposits of sectors that were not proved in time."""
    miner = draft.miner
    if not miner.pre_committed:
        return
    last = draft.epoch - prove_within(draft)
    late = {number: found for number, found in miner.pre_committed.items() if found.epoch < last}
    if not late:
        return
    burnt = sum(found.deposit for found in late.values())
    kept = {number: found for number, found in miner.pre_committed.items() if number not in late}
    draft.change(pre_committed=kept, deposits=miner.deposits - burnt)
    draft.burn(draft.receiver, burnt)
