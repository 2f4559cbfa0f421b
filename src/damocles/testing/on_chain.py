"""Sectors that are on a devnode's chain, though nobody sealed them there: how they came onto it is left out."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from damocles.chain.bitfields import Bitfield
from damocles.devnode import state
from damocles.devnode.node import Node
from damocles.devnode.rules import FIRST_MINER
from damocles.wire import commitments
from damocles.wire.sectors import SealProof

PROOF = SealProof(5)  # of 2KiB
Places: TypeAlias = Mapping[int, Sequence[Sequence[int]]]  # numbers of sectors by deadline and partition
_with = msgspec.structs.replace


def sector(number: int, comm_r: bytes, *, expiration: int = 1_000_000, verified_bytes: int = 0) -> state.Sector:
    """Return a sector of 2KiB without deals, proven at the chain's beginning for nothing; CommR has 32 bytes."""
    return state.Sector(
        number=number,
        seal_proof=int(PROOF),
        sealed_cid=commitments.sealed_cid(comm_r),
        unsealed_cid=None,
        activation=0,
        expiration=expiration,
        power_base_epoch=0,
        pledge=0,
        daily_fee=0,
        verified_bytes=verified_bytes,
    )


def put(devnode: Node, places: Places, comm_rs: Mapping[int, bytes]) -> None:
    """Put the first miner's sectors, with power, where they are to be; `comm_rs` are CommR by number."""
    head = devnode.chain.head
    assert head.state is not None
    miner = head.state.miners[FIRST_MINER]
    deadlines = list(miner.deadlines)
    for deadline, partitions in places.items():
        made = [state.Partition(all=Bitfield(some), live=Bitfield(some)) for some in partitions]
        deadlines[deadline] = _with(deadlines[deadline], partitions=tuple(made))
    sectors = {number: sector(number, comm_r) for number, comm_r in comm_rs.items()}
    after = _with(miner, sectors=sectors, deadlines=tuple(deadlines), cron_active=True)
    changed = _with(head, state=_with(head.state, miners={**head.state.miners, FIRST_MINER: after}))
    devnode.chain.known[head.key] = devnode.chain.head = changed
