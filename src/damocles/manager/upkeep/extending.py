"""Which sectors can live how long, and the messages that make them. Pure, but for `extend`.

A sector lives five years at most, and can be extended to 1278 days from now. One with verified data has to name its claims:
those whose term goes on long enough are kept, others can be dropped only in the last 30 days of its life.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from damocles.chain import methods, upkeep
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.chain.upkeep import Claims, Extension
from damocles.lotus import layout
from damocles.lotus.layout import Place, Standing
from damocles.lotus.miners import Sector, VerifiedClaim
from damocles.lotus.view import View
from damocles.manager.upkeep.drafts import Plan, draft
from damocles.manager.upkeep.sectors import DECLARATIONS_MOST, SECTORS_MOST
from damocles.methods import acts
from damocles.wire.codec import Rows

REACH_EPOCHS = 1278 * 2880
LIFETIME_EPOCHS = 5 * 365 * 2880
_DROP_EPOCHS = 30 * 2880  # EndOfLifeClaimDropPeriod
_NOTES_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A sector, where it is and how it stands, and its claims by number."""

    sector: Sector
    place: Place
    standing: Standing
    claims: Mapping[int, VerifiedClaim]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """A sector with its new end, and what happens to its claims."""

    number: int
    place: Place
    expiration: int
    keeps: tuple[int, ...] = ()
    drops: tuple[int, ...] = ()


async def extend(act: acts.Extend, view: View) -> Plan:
    """Extend what can be extended; the rest is noted."""
    miner = Address.of_id(act.miner)
    seen = await layout.read(view, miner)
    claims = await view.claims(miner)
    places = {number: place for place, part in seen.partitions.items() for number in part.all}
    notes: list[str] = []
    known = [one for one in await view.sectors(miner) if one.number in places]
    if act.sectors is not None:
        if unknown := act.sectors - Bitfield(one.number for one in known):
            notes.append(f"sectors {repr(unknown)[1:-1]}: not on the chain")
        known = [one for one in known if one.number in act.sectors]
    candidates = [
        Candidate(
            sector=one,
            place=places[one.number],
            standing=layout.standing(seen.partitions[places[one.number]], one.number),
            claims={number: claim for number, claim in claims.items() if claim.sector == one.number},
        )
        for one in known
    ]
    extended, left_out = decide(act, candidates, view.epoch)
    notes += left_out if len(left_out) <= _NOTES_MOST else [*left_out[:_NOTES_MOST], f"and {len(left_out)} in all"]
    drafts = [
        await draft(view, "extend", miner, methods.EXTEND, upkeep.ExtendSectorExpiration2(Rows(some)))
        for some in messages(extended)
    ]
    if extended:
        last = max(one.expiration for one in extended)
        notes.append(
            f"extends {len(extended)} sectors, the last of them to epoch {last}; their pledges stay bound as long"
        )
    return Plan(tuple(drafts), tuple(notes))


def decide(act: acts.Extend, candidates: Iterable[Candidate], epoch: int) -> tuple[list[Extended], list[str]]:
    """Return which sectors are extended to what, and of the others why not; those that are not meant are left out silently."""
    extended: list[Extended] = []
    notes: list[str] = []
    for one in sorted(candidates, key=lambda one: (one.sector.expiration, one.sector.number)):
        sector = one.sector
        if act.sectors is None and not act.begins <= sector.expiration <= act.ends:
            continue
        if act.only_cc and (sector.deal_weight or sector.verified_deal_weight or one.claims):
            continue
        if act.most is not None and len(extended) >= act.most:
            notes.append(f"no more than {act.most} sectors were wanted: the others are left for later")
            break
        made = _extended(act, one, epoch, [known.expiration for known in extended[-1:]])
        if isinstance(made, Extended):
            extended.append(made)
        else:
            notes.append(f"sector {sector.number}: {made}")
    return extended, notes


def _extended(act: acts.Extend, one: Candidate, epoch: int, near: Iterable[int]) -> Extended | str:
    """Return a sector's new end, or why it has none."""
    sector = one.sector
    if one.standing is not Standing.ACTIVE:
        return f"{one.standing.value}: only active sectors can be extended"
    wanted = act.new_expiration if act.new_expiration is not None else sector.expiration + act.extension
    most = min(epoch + REACH_EPOCHS, sector.activation + LIFETIME_EPOCHS)
    new = min(wanted, most)
    new = next((end for end in near if 0 <= new - end <= act.tolerance and end > sector.expiration), new)
    if new <= sector.expiration:
        return f"it ends at {sector.expiration}, and could be extended to {most} now"
    short = {number for number, claim in one.claims.items() if claim.term_start + claim.term_max < new}
    if short:
        ends = min(one.claims[number].term_start + one.claims[number].term_max for number in short)
        if not act.drop_claims:
            return f"claims {sorted(short)} end at {ends}: extend it to that, have their terms extended, or drop them"
        if sector.expiration - epoch > _DROP_EPOCHS:
            return f"claims {sorted(short)} can be dropped only in its last 30 days, from {sector.expiration - _DROP_EPOCHS} on"
        if bound := [n for n in short if one.claims[n].term_start + one.claims[n].term_min > epoch]:
            return f"claims {sorted(bound)} are bound for longer than now"
    return Extended(
        number=sector.number,
        place=one.place,
        expiration=new,
        keeps=tuple(sorted(set(one.claims) - short)),
        drops=tuple(sorted(short)),
    )


def messages(extended: Iterable[Extended]) -> Iterator[list[Extension]]:
    """Yield the extensions of each message: by deadline, partition and new end."""
    groups: dict[tuple[Place, int], list[Extended]] = {}
    for one in extended:
        groups.setdefault((one.place, one.expiration), []).append(one)
    batch: list[Extension] = []
    count = 0
    for ((deadline, partition), expiration), some in sorted(groups.items()):
        if batch and (count + len(some) > SECTORS_MOST or len(batch) == DECLARATIONS_MOST):
            yield batch
            batch, count = [], 0
        batch.append(
            Extension(
                deadline=deadline,
                partition=partition,
                sectors=Bitfield(one.number for one in some if not (one.keeps or one.drops)),
                sectors_with_claims=Rows(
                    Claims(one.number, Rows(one.keeps), Rows(one.drops)) for one in some if one.keeps or one.drops
                ),
                new_expiration=expiration,
            )
        )
        count += len(some)
    if batch:
        yield batch
