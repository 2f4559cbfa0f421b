"""Keep sectors up on the chain: `util sealer sectors extend|terminate`, `util sealer proving recover-faults|…`."""

from typing import Annotated

from cyclopts import Parameter, validators

from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import manager_at
from damocles.cli.of_chain import acting, words
from damocles.cli.terminal import exits
from damocles.methods import acts

Epochs = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Numbers = Annotated[tuple[str, ...], Parameter(help="Sectors: 7, 10-20 or 1,2,5-9.")]
Deadline = Annotated[
    int | None, Parameter(validator=validators.Number(gte=0, lt=48), help="Number of the deadline, 0 to 47.")
]


def extend(
    *sectors: Annotated[str, Parameter(help="Sectors: 7, 10-20 or 1,2,5-9; default: by --from and --to.")],
    miner: words.Actor = None,
    begins: Annotated[Epochs | None, Parameter(name="--from", help="Sectors that end at this epoch or later.")] = None,
    ends: Annotated[Epochs | None, Parameter(name="--to", help="Sectors that end at this epoch or earlier.")] = None,
    extension: Annotated[Epochs, Parameter(help="By how many epochs.")] = 1555200,
    new_expiration: Annotated[Epochs | None, Parameter(help="To this epoch, instead of --extension.")] = None,
    only_cc: Annotated[bool, Parameter(name="--only-cc", help="Only sectors without data.")] = False,
    drop_claims: Annotated[
        bool, Parameter(name="--drop-claims", help="Drop claims that end sooner, in a sector's last 30 days.")
    ] = False,
    tolerance: Annotated[Epochs, Parameter(help="Ends that differ by less share a message.")] = 20160,
    max_sectors: Annotated[Epochs | None, Parameter(help="At most this many, those that end soonest.")] = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Extend sectors, as far as the network and their claims allow.

    Without sectors, these are the sectors that end from --from on, up to --to; pass at least one of these.
    """
    if not sectors and begins is None and ends is None:
        raise exits.WrongUsage("no sectors are named: name some, or pass --from or --to")
    act = acts.Extend(
        miner=words.miner(miner, at).id,
        sectors=acting.numbers(sectors) if sectors else None,
        begins=begins or 0,
        ends=ends if ends is not None else 2**62,
        new_expiration=new_expiration,
        extension=extension,
        tolerance=tolerance,
        only_cc=only_cc,
        drop_claims=drop_claims,
        most=max_sectors,
    )
    return acting.perform(act, how, at)


def terminate(
    *sectors: Annotated[str, Parameter(help="Sectors: 7, 10-20 or 1,2,5-9.")],
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """End sectors before their time, for a fee that can be more than their pledge."""
    act = acts.Terminate(miner=words.miner(miner, at).id, sectors=_some(sectors))
    return acting.perform(act, how, at)


def recover_faults(
    *sectors: Annotated[str, Parameter(help="Sectors: 7, 10-20 or 1,2,5-9; default: all faulty ones.")],
    miner: words.Actor = None,
    deadline: Deadline = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Declare faulty sectors recovered; they count again from their next window PoSt on.

    It costs only gas and needs no --really-do-it.
    """
    act = acts.Recover(
        miner=words.miner(miner, at).id, sectors=acting.numbers(sectors) if sectors else None, deadline=deadline
    )
    return acting.perform(act, how, at, confirmed=True)


def declare_faults(
    *sectors: Annotated[str, Parameter(help="Sectors: 7, 10-20 or 1,2,5-9.")],
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Declare sectors faulty whose files are gone; they lose their power at once, and end after 42 days."""
    act = acts.DeclareFaulty(miner=words.miner(miner, at).id, sectors=_some(sectors))
    return acting.perform(act, how, at)


def compact_partitions(
    *,
    deadline: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=48), help="Number of the deadline.")],
    partitions: Annotated[list[str] | None, Parameter(help="Partitions; default: all that have dead sectors.")] = None,
    miner: words.Actor = None,
    how: acting.How = acting.USUAL,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Remove dead sectors and their records from the partitions of a deadline.

    The chain takes it half a day after the deadline has closed.
    """
    chosen = acting.numbers(partitions) if partitions else None
    act = acts.CompactPartitions(miner=words.miner(miner, at).id, deadline=deadline, partitions=chosen)
    return acting.perform(act, how, at)


def _some(sectors: tuple[str, ...]) -> Bitfield:
    if not sectors:
        raise exits.WrongUsage("no sectors are named: name some, like 7 or 10-20")
    return acting.numbers(sectors)
