"""Where sectors are proved, and what happens when a deadline closes: missed proofs become faults, old sectors end."""

import msgspec

from damocles.chain import exits
from damocles.chain.bitfields import Bitfield
from damocles.chain.upkeep import CompactPartitions
from damocles.devnode import rules
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.rules import DEADLINES, Rules
from damocles.devnode.state import NOBODY, Deadline, Miner, Partition, with_


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The deadline of a miner at an epoch; `close` is the first epoch after it."""

    index: int
    period_start: int
    open: int
    close: int
    challenge: int


def window(of: Rules, miner: Miner, epoch: int) -> Window:
    """Return the deadline of a miner that is open at an epoch."""
    into = (epoch - miner.offset) % of.period_epochs
    index = into // of.window_epochs
    start = epoch - into
    opens = start + index * of.window_epochs
    return Window(
        index=index,
        period_start=start,
        open=opens,
        close=opens + of.window_epochs,
        challenge=opens - of.challenge_lookback,
    )


def opening(of: Rules, miner: Miner, epoch: int, index: int) -> int:
    """Return when a deadline opens that is open at an epoch, or else the next time."""
    now = window(of, miner, epoch)
    opens = now.period_start + index * of.window_epochs
    return opens if index >= now.index else opens + of.period_epochs


def is_mutable(draft: Draft, index: int) -> bool:
    """Return whether a deadline is neither open nor the next one; where none has to be proved, all are."""
    if not draft.rules.needs_posts:
        return True
    now = window(draft.rules, draft.miner, draft.epoch).index
    return index not in {now, (now + 1) % DEADLINES}


def is_late(draft: Draft, index: int) -> bool:
    """Return whether faults and recoveries of a deadline are declared too late."""
    return draft.epoch >= opening(draft.rules, draft.miner, draft.epoch, index) - draft.rules.declaration_cutoff


def rounded_up(of: Rules, miner: Miner, epoch: int, index: int) -> int:
    """Return the end of the deadline of an index that closes at an epoch or after: when sectors of it can end."""
    last = miner.offset + (index + 1) * of.window_epochs - 1
    return epoch + (last - epoch) % of.period_epochs


def put(draft: Draft, index: int, deadline: Deadline) -> None:
    """Put a deadline of the miner."""
    all_of_them = list(draft.miner.deadlines)
    all_of_them[index] = deadline
    draft.change(deadlines=tuple(all_of_them))


def put_partition(draft: Draft, index: int, at: int, partition: Partition) -> None:
    """Put a partition of a deadline of the miner."""
    deadline = draft.miner.deadlines[index]
    partitions = list(deadline.partitions)
    partitions[at] = partition
    put(draft, index, with_(deadline, partitions=tuple(partitions)))


def find(draft: Draft, index: int, at: int) -> Partition:
    """Return a partition; refuse a deadline or partition that is not there."""
    if index >= DEADLINES:
        refuse(f"deadline {index} not in range 0..{DEADLINES}")
    partitions = draft.miner.deadlines[index].partitions
    if at >= len(partitions):
        refuse(f"no such partition PartitionKey {{ deadline: {index}, partition: {at} }}", exits.NOT_FOUND)
    return partitions[at]


def assign(draft: Draft, number: int, deadline: int | None) -> None:
    """Give a new sector a place: in a deadline of one's choice, or in the one with room that has fewest sectors."""
    if deadline is None:
        free = [index for index in range(DEADLINES) if is_mutable(draft, index)]
        deadline = min(
            free, key=lambda index: (_is_full(draft, index), len(draft.miner.deadlines[index].partitions), index)
        )
    found = draft.miner.deadlines[deadline]
    new = Bitfield([number])
    partitions = list(found.partitions)
    if _is_full(draft, deadline):
        partitions.append(Partition())
    last = partitions[-1]
    unproven = last.unproven | new if draft.rules.needs_posts else last.unproven
    partitions[-1] = with_(last, all=last.all | new, live=last.live | new, unproven=unproven)
    put(draft, deadline, with_(found, partitions=tuple(partitions)))
    draft.change(cron_active=True)


def _is_full(draft: Draft, index: int) -> bool:
    partitions = draft.miner.deadlines[index].partitions
    return not partitions or partitions[-1].all.count >= draft.rules.partition_sectors


def faulted(partition: Partition, sectors: Bitfield, epoch: int) -> Partition:
    """Return a partition whose sectors are faulty from an epoch on; they recover no more."""
    new = sectors & partition.live
    since = dict.fromkeys(new - partition.faulty, epoch)
    return with_(
        partition,
        faulty=partition.faulty | new,
        recovering=partition.recovering - new,
        unproven=partition.unproven - new,
        faulty_since=partition.faulty_since | since,
    )


def without(partition: Partition, sectors: Bitfield) -> Partition:
    """Return a partition in which sectors are dead."""
    return with_(
        partition,
        live=partition.live - sectors,
        faulty=partition.faulty - sectors,
        recovering=partition.recovering - sectors,
        unproven=partition.unproven - sectors,
        faulty_since={number: since for number, since in partition.faulty_since.items() if number not in sectors},
    )


def end_epoch(draft: Draft) -> None:
    """Close the deadline of the miner that ends with this epoch, if one does."""
    miner = draft.miner
    if not miner.cron_active:
        return
    now = window(draft.rules, miner, draft.epoch)
    if draft.epoch != now.close - 1:
        return
    deadline = miner.deadlines[now.index]
    partitions = []
    released = 0
    for at, partition in enumerate(deadline.partitions):
        missed = partition.live if draft.rules.needs_posts and at not in deadline.posted else NOBODY
        after = faulted(partition, missed, draft.epoch) if missed else partition
        over = Bitfield(number for number in after.live if _is_over(draft, after, number))
        released += sum(miner.sectors[number].pledge for number in over)
        partitions.append(without(after, over) if over else after)
    fees = sum(miner.sectors[number].daily_fee for partition in partitions for number in partition.live)
    put(draft, now.index, with_(deadline, partitions=tuple(partitions), posted=NOBODY))
    draft.change(pledge=draft.miner.pledge - released)
    pay(draft, fees)
    if not any(partition.live for partition in draft.miner.partitions()):
        draft.change(cron_active=False)


def _is_over(draft: Draft, partition: Partition, number: int) -> bool:
    since = partition.faulty_since.get(number)
    if since is not None and draft.epoch >= since + rules.FAULT_MAX_AGE:
        return True
    return draft.epoch >= draft.miner.sectors[number].expiration


def pay(draft: Draft, amount: int) -> None:
    """Burn a fee: out of what is locked first, then out of what is available; what is lacking becomes a debt."""
    miner = draft.miner
    of_locked = min(miner.locked, amount)
    rest = min(amount - of_locked, max(0, miner.available))
    draft.change(locked=miner.locked - of_locked, fee_debt=miner.fee_debt + amount - of_locked - rest)
    draft.burn(draft.receiver, of_locked + rest)


def compact(draft: Draft, params: CompactPartitions) -> None:
    """Forget the dead sectors of partitions; the live ones stay together in as few as they need."""
    if params.deadline >= DEADLINES:
        refuse(f"invalid deadline {params.deadline}")
    draft.caller_is_of_miner()
    index, miner = params.deadline, draft.miner
    opens = opening(draft.rules, miner, draft.epoch, index)
    closed = opens - draft.rules.period_epochs + draft.rules.window_epochs
    if not is_mutable(draft, index) or draft.epoch < closed + draft.rules.dispute_window:
        refuse(
            f"cannot compact deadline {index} during its challenge window, or the prior challenge window,\n"
            f"                    or before {draft.rules.dispute_window} epochs have passed since its last challenge window ended",
            exits.FORBIDDEN,
        )
    deadline = miner.deadlines[index]
    chosen = list(params.partitions) if params.partitions.count <= len(deadline.partitions) else None
    where = f"failed to remove partitions from deadline {index}"
    if chosen is None:
        refuse(f"{where}: partitions to remove exceeds total")
    for at in chosen:
        if at >= len(deadline.partitions):
            refuse(f"{where}: partition index {at} out of range [0, {len(deadline.partitions)})")
        if deadline.partitions[at].faulty:
            refuse(f"{where}: while removing partitions: cannot remove partition {at}: has faults")
        if deadline.partitions[at].unproven:
            refuse(f"{where}: while removing partitions: cannot remove partition {at}: has unproven sectors")
    kept = [partition for at, partition in enumerate(deadline.partitions) if at not in chosen]
    moved = Bitfield(number for at in chosen for number in deadline.partitions[at].live)
    dead = Bitfield(number for at in chosen for number in deadline.partitions[at].all) - moved
    for number in moved:
        if not kept or kept[-1].all.count >= draft.rules.partition_sectors:
            kept.append(Partition())
        one = Bitfield([number])
        kept[-1] = with_(kept[-1], all=kept[-1].all | one, live=kept[-1].live | one)
    put(draft, index, with_(deadline, partitions=tuple(kept)))
    draft.change(sectors={number: sector for number, sector in miner.sectors.items() if number not in dead})
