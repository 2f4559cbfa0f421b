"""Faults and recoveries that are declared before their deadline. What is not the case is left out without a word."""

from damocles.chain import exits
from damocles.chain.upkeep import Declaration, DeclareFaults, DeclareFaultsRecovered
from damocles.devnode.actors import deadlines
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.rules import DEADLINES
from damocles.devnode.state import Partition, with_


def declare(draft: Draft, params: DeclareFaults) -> None:
    """Take the power of sectors; the recovery of one that recovers is taken back."""
    _check_all(draft, params.faults)
    for declaration in params.faults:
        partition = _find(draft, declaration, "fault")
        put = deadlines.faulted(partition, declaration.sectors, draft.epoch)
        deadlines.put_partition(draft, declaration.deadline, declaration.partition, put)


def recover(draft: Draft, params: DeclareFaultsRecovered) -> None:
    """Let faulty sectors have their power back with the next window PoSt."""
    _check_all(draft, params.recoveries)
    draft.repay()
    for declaration in params.recoveries:
        partition = _find(draft, declaration, "recovery")
        put = with_(partition, recovering=partition.recovering | declaration.sectors & partition.faulty)
        deadlines.put_partition(draft, declaration.deadline, declaration.partition, put)


def _check_all(draft: Draft, declarations: tuple[Declaration, ...]) -> None:
    for declaration in declarations:
        if declaration.deadline >= DEADLINES:
            where = f"deadline {declaration.deadline}, partition {declaration.partition}"
            refuse(f"failed to process {where}: invalid deadline {declaration.deadline}")
    draft.caller_is_of_miner()


def _find(draft: Draft, declaration: Declaration, what: str) -> Partition:
    index, at = declaration.deadline, declaration.partition
    if deadlines.is_late(draft, index):
        refuse(f"failed {what} declaration at deadline {index}: late fault or recovery declaration")
    verb = "faults" if what == "fault" else "recoveries"
    partitions = draft.miner.deadlines[index].partitions
    if at >= len(partitions):
        refuse(f"failed to declare {verb} for deadline {index}: no such partition {at}", exits.NOT_FOUND)
    if declaration.sectors - partitions[at].all:
        refuse(
            f"failed to declare {verb} for deadline {index}: failed to declare {verb} in partition {at}: failed {what}"
            " declaration: not all sectors are assigned to the partition"
        )
    return partitions[at]
