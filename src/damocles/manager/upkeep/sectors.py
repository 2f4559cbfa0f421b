"""Which messages keep sectors up: extensions, declarations, terminations, compactions.

The actors refuse a message as a whole for one sector that does not fit, and answer others with exit code 0 that do nothing.
So what does not fit is left out here, with the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from damocles.chain import methods, upkeep
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.upkeep import Declaration
from damocles.lotus import layout, miners
from damocles.lotus.layout import Layout, Place
from damocles.lotus.view import View
from damocles.manager.upkeep.drafts import Draft, Plan, Refused, draft
from damocles.methods import acts
from damocles.text import units
from damocles.wire.codec import Rows

# Of one message.
SECTORS_MOST = 25_000
DECLARATIONS_MOST = 3_000

_NUMBERS_SHOWN = 10


async def recover(act: acts.Recover, view: View) -> Plan:
    """Declare what is faulty and not declared recovered yet, in deadlines that still take it."""
    miner = Address.of_id(act.miner)
    seen = await layout.read(view, miner, None if act.deadline is None else [act.deadline])
    found, notes = _chosen(seen, act.sectors, lambda part: part.faulty - part.recovering, "not faulty, or recovering")
    declared = _declarations(_in_time(seen, found, notes))
    made = [
        await draft(view, "recover", miner, methods.DECLARE_RECOVERED, upkeep.DeclareFaultsRecovered(Rows(some)))
        for some in _batches(declared)
    ]
    return _plan(made, notes)


async def declare_faulty(act: acts.DeclareFaulty, view: View) -> Plan:
    """Declare what is alive and not faulty; of a recovering sector it takes the recovery back."""
    miner = Address.of_id(act.miner)
    seen = await layout.read(view, miner)
    found, notes = _chosen(
        seen, act.sectors, lambda part: (part.live - part.faulty) | part.recovering, "not alive, or faulty already"
    )
    found = _in_time(seen, found, notes)
    for place, some in found.items():
        if back := some & seen.partitions[place].recovering:
            notes.append(f"{_text(back)}: declared recovered; this takes it back")
    made = [
        await draft(view, "declare-faulty", miner, methods.DECLARE_FAULTS, upkeep.DeclareFaults(Rows(some)))
        for some in _batches(_declarations(found))
    ]
    return _plan(made, notes)


async def terminate(act: acts.Terminate, view: View) -> Plan:
    """Terminate what is alive, in deadlines that are neither open nor next."""
    miner = Address.of_id(act.miner)
    seen = await layout.read(view, miner)
    found, notes = _chosen(seen, act.sectors, lambda part: part.live, "not alive (any more)")
    kept = {}
    for place, some in found.items():
        if seen.cycle.is_mutable(place[0]):
            kept[place] = some
        else:
            closes = seen.cycle.opens(place[0]) + seen.cycle.window
            notes.append(f"{_text(some)}: deadline {place[0]} is open or next: terminate them after epoch {closes}")
    made = [
        await draft(view, "terminate", miner, methods.TERMINATE, upkeep.TerminateSectors(Rows(some)))
        for some in _batches(_declarations(kept))
    ]
    if made:
        notes.append(await _fee(view, miner, Bitfield(number for some in kept.values() for number in some)))
    return _plan(made, notes)


async def _fee(view: View, miner: Address, numbers: Bitfield) -> str:
    """Return what a termination costs at most; the actor is asked once for sectors of the same power and pledge."""
    size = (await view.info(miner)).sector_size_bytes
    count: dict[tuple[int, Amount], int] = {}
    for sector in await view.sectors(miner, numbers):
        key = power(sector, size), sector.pledge
        count[key] = count.get(key, 0) + 1
    fee = 0
    for (power_bytes, pledge), times in count.items():
        fee += times * await view.max_termination_fee(miner, power_bytes, pledge)
    pledged = Amount(sum(pledge * times for (_, pledge), times in count.items()))
    return (
        f"terminates {numbers.count} sectors for ever; the fee is {Amount(fee)} at most as of now, of a pledge of {pledged}:"
        f" it is taken from vesting funds and the pledge first, then from the available {await view.available_balance(miner)}"
    )


def power(sector: miners.Sector, size_bytes: int) -> int:
    """Return the quality-adjusted power of a sector in bytes: tenfold as far as it has verified data.

    From `builtin.QAPowerForWeight` of go-state-types.
    """
    duration = sector.expiration - sector.power_base_epoch
    if duration <= 0:
        return size_bytes
    if sector.flags & _FULL_POWER:
        return 10 * size_bytes
    return size_bytes + 9 * int(sector.verified_deal_weight) // duration


_FULL_POWER = 2  # since actors v19: ten times the power whatever the data


async def compact_partitions(act: acts.CompactPartitions, view: View) -> Plan:
    """Remove dead sectors from the partitions that have some and no faulty ones."""
    miner = Address.of_id(act.miner)
    seen = await layout.read(view, miner, [act.deadline])
    parts = dict(seen.of_deadline(act.deadline))
    wanted = Bitfield(parts) if act.partitions is None else act.partitions
    if unknown := wanted - Bitfield(parts):
        raise Refused(f"deadline {act.deadline} has no partitions {_text(unknown)}: it has {len(parts)}")
    notes, chosen = [], []
    for number in wanted:
        dead = parts[number].all - parts[number].live
        if not dead and act.partitions is not None:
            notes.append(f"partition {number} has no dead sectors")
        elif dead and parts[number].faulty:
            notes.append(f"partition {number} has faulty sectors: recover or terminate them first")
        elif dead:
            chosen.append(number)
            notes.append(f"partition {number}: removes {dead.count} dead sectors ({_text(dead)}) and their records")
    if not chosen:
        return _plan([], notes)
    params = upkeep.CompactPartitions(act.deadline, Bitfield(chosen))
    notes.append("the live sectors of these partitions may move to others")
    return _plan([await draft(view, "compact-partitions", miner, methods.COMPACT_PARTITIONS, params)], notes)


def _chosen(
    seen: Layout, wanted: Bitfield | None, fit: Callable[[miners.Partition], Bitfield], otherwise: str
) -> tuple[dict[Place, Bitfield], list[str]]:
    """Return the wanted sectors that fit, by place, and notes on the others; all that fit if none are named."""
    found = {}
    left = wanted
    for place, part in seen.partitions.items():
        fitting = fit(part) if wanted is None else fit(part) & wanted
        if fitting:
            found[place] = fitting
            left = None if left is None else left - fitting
    return found, [f"{_text(left)}: {otherwise}"] if left else []


def _in_time(seen: Layout, found: Mapping[Place, Bitfield], notes: list[str]) -> dict[Place, Bitfield]:
    """Return what is in deadlines that take declarations; the others are noted."""
    kept = {}
    for place, some in found.items():
        if seen.cycle.takes_declarations(place[0]):
            kept[place] = some
        else:
            closes = seen.cycle.opens(place[0]) + seen.cycle.window
            notes.append(
                f"{_text(some)}: deadline {place[0]} opens too soon, declarations end {seen.cycle.declaration_cutoff} epochs"
                f" before: declare them after epoch {closes}"
            )
    return kept


def _declarations(found: Mapping[Place, Bitfield]) -> Sequence[Declaration]:
    return [Declaration(deadline, partition, some) for (deadline, partition), some in found.items()]


def _batches(declared: Iterable[Declaration]) -> Iterator[list[Declaration]]:
    """Yield as many declarations as go into a message."""
    batch: list[Declaration] = []
    count = 0
    for one in declared:
        if batch and (count + one.sectors.count > SECTORS_MOST or len(batch) == DECLARATIONS_MOST):
            yield batch
            batch, count = [], 0
        batch.append(one)
        count += one.sectors.count
    if batch:
        yield batch


def _plan(made: Sequence[Draft], notes: Sequence[str]) -> Plan:
    return Plan(tuple(made), tuple(notes))


def _text(numbers: Bitfield) -> str:
    """Return numbers for a note, the first ones of many."""
    spans = repr(numbers)[1:-1].split(", ")
    return f"sectors {units.some(spans, _NUMBERS_SHOWN)}" if spans != [""] else "no sectors"
