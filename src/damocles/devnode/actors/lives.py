"""How long sectors live: extension, termination, and questions about both."""

from damocles.chain import exits, tuples
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.upkeep import (
    Claims,
    CompactSectorNumbers,
    ExtendSectorExpiration2,
    Extension,
    MaxTerminationFeeParams,
    Place,
    SectorLocation,
    SectorLocationParams,
    TerminateSectors,
    TerminateSectorsReturn,
)
from damocles.devnode import rules
from damocles.devnode.actors import deadlines
from damocles.devnode.actors.draft import Draft, refuse, shown
from damocles.devnode.rules import DEADLINES
from damocles.devnode.state import Partition, Sector, with_
from damocles.wire.codec import Blob

_GAS = 2_000_000
_DEAD, _LIVE, _FAULTY = 0, 1, 2


def extend(draft: Draft, params: ExtendSectorExpiration2) -> None:
    """Let active sectors live longer, all or none. No money moves."""
    draft.caller_is_of_miner()
    for extension in params.extensions:
        partition = deadlines.find(draft, extension.deadline, extension.partition)
        named = {declared.sector_number: declared for declared in extension.sectors_with_claims}
        for number in extension.sectors | Bitfield(named):
            _extend_one(draft, extension, partition, number, named.get(number))


def _extend_one(draft: Draft, extension: Extension, partition: Partition, number: int, declared: Claims | None) -> None:
    miner, new = draft.miner, extension.new_expiration
    sector = miner.sectors.get(number)
    key = f"PartitionKey {{ deadline: {extension.deadline}, partition: {extension.partition} }}"
    if sector is None or number not in partition.all:
        refuse(f"failed to load sectors: sector not found: {number}", exits.NOT_FOUND)
    kept_bytes = _kept_bytes(draft, sector, declared, new)
    if new < sector.expiration:
        refuse(f"cannot reduce sector {number} expiration to {new} from {sector.expiration}")
    if new > draft.epoch + rules.LONGEST_EXTENSION:
        refuse(
            f"invalid expiration {new}, cannot be more than {rules.LONGEST_EXTENSION} past current epoch {draft.epoch}"
        )
    failed = f"failed to replace sector expirations at {key}: "
    if number in partition.unproven:
        refuse(f"{failed}refusing to replace inactive sectors in {shown(Bitfield([number]))}", exits.ILLEGAL_STATE)
    if number in partition.faulty:
        refuse(
            f"{failed}failed to replace sector expirations: failed to remove replaced sectors: Invalid attempt to group"
            f" sector {number} with an early expiration",
            exits.ILLEGAL_STATE,
        )
    if number not in partition.live:
        refuse(
            f"{failed}failed to replace sector expirations: failed to remove replaced sectors: some sectors not found in"
            " expiration queue",
            exits.ILLEGAL_STATE,
        )
    life = new - draft.epoch
    plain = sector.data_bytes - sector.verified_bytes
    draft.gas += _GAS * (declared is not None)
    longer = with_(
        sector,
        expiration=new,
        power_base_epoch=draft.epoch,
        deal_weight=plain * life,
        verified_bytes=kept_bytes,
        data_bytes=plain + kept_bytes,
        verified_deal_weight=kept_bytes * life,
    )
    draft.change(sectors={**miner.sectors, number: longer})


def _kept_bytes(draft: Draft, sector: Sector, declared: Claims | None, new: int) -> int:
    """Return the verified bytes that a sector has after its extension, by the claims that are kept."""
    if declared is None:
        if sector.verified_bytes:
            refuse(
                f"claim missing from declaration for sector {sector.number} with non-zero verified deal weight"
                f" {sector.verified_deal_weight}"
            )
        return 0
    found = {}
    for number in (*declared.maintain, *declared.drop):
        claim = draft.registry.claims.get(number)
        if claim is None or claim.provider != draft.receiver or claim.sector != sector.number:
            refuse(f"failed to get claims for sector {sector.number}: invalid claims")
        found[number] = claim
    left = sector.expiration - draft.epoch
    if declared.drop and left > rules.CLAIM_DROP:
        refuse(
            f"attempt to drop claims with {left} epochs > end of life claim drop period {rules.CLAIM_DROP} remaining",
            exits.FORBIDDEN,
        )
    space = sum(found[number].size_bytes for number in (*declared.maintain, *declared.drop))
    if space != sector.verified_bytes:
        refuse(
            f"declared verified deal space in claims ({space}) does not match verified deal space"
            f" ({sector.verified_bytes}) for sector {sector.number}"
        )
    for number in declared.maintain:
        claim = found[number]
        if new > claim.term_start + claim.term_max:
            refuse(
                f"failed to extend sector {sector.number} to {new}: claim {number} only allows extension to"
                f" {claim.term_start + claim.term_max}",
                exits.FORBIDDEN,
            )
    return sum(found[number].size_bytes for number in declared.maintain)


def terminate(draft: Draft, params: TerminateSectors) -> TerminateSectorsReturn:
    """End live sectors for a fee, all or none."""
    draft.caller_is_of_miner()
    for declaration in params.terminations:
        index, at = declaration.deadline, declaration.partition
        if index >= DEADLINES:
            refuse(f"failed to process deadline {index}, partition {at}: invalid deadline {index}")
        if not deadlines.is_mutable(draft, index):
            refuse(f"cannot terminate sectors in immutable deadline {index}")
    for declaration in params.terminations:
        index, at = declaration.deadline, declaration.partition
        partitions = draft.miner.deadlines[index].partitions
        if at >= len(partitions):
            refuse(f"failed to terminate sectors in deadline {index}: failed to find partition {at}", exits.NOT_FOUND)
        if declaration.sectors - partitions[at].live:
            refuse(
                f"failed to terminate sectors in deadline {index}: failed to terminate sectors in partition {at}: can only"
                " terminate live sectors"
            )
        pledge = sum(draft.miner.sectors[number].pledge for number in declaration.sectors)
        deadlines.put_partition(draft, index, at, deadlines.without(partitions[at], declaration.sectors))
        draft.gas += _GAS * declaration.sectors.count
        draft.change(pledge=draft.miner.pledge - pledge)
        deadlines.pay(draft, rules.termination_fee(pledge))
    return TerminateSectorsReturn(done=True)


def compact_numbers(draft: Draft, params: CompactSectorNumbers) -> None:
    """Give up sector numbers for ever."""
    draft.caller_is_of_miner()
    draft.change(allocated=draft.miner.allocated | params.numbers)


def location(draft: Draft, params: SectorLocationParams) -> SectorLocation:
    """Return whether a sector lives, and where."""
    place = draft.miner.place_of(params.sector_number)
    if place is None:
        return SectorLocation(_DEAD, Blob(tuples.encode(Place(-1, -1))))
    partition = draft.miner.deadlines[place[0]].partitions[place[1]]
    number = params.sector_number
    status = _FAULTY if number in partition.faulty else _LIVE if number in partition.live else _DEAD
    return SectorLocation(status, Blob(tuples.encode(Place(*place))))


def nominal_expiration(draft: Draft, number: int) -> int:
    """Return when a sector ends if nothing happens, also of a dead one."""
    sector = draft.miner.sectors.get(number)
    if sector is None:
        refuse(f"sector {number} not found", exits.NOT_FOUND)
    return sector.expiration


def max_termination_fee(_: Draft, params: MaxTerminationFeeParams) -> Amount:
    """Return what the termination of a sector costs at most."""
    return Amount(rules.termination_fee(int(params.pledge)))
