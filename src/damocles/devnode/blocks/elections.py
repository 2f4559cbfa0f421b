"""Who may make the block of an epoch, and what it has to prove. Pure, but for the library that chooses the sector."""

from collections.abc import Sequence

import msgspec

from damocles import proofs
from damocles.chain.addresses import Address
from damocles.chain.blocks import election
from damocles.chain.blocks.header import BeaconEntry
from damocles.devnode import tipsets
from damocles.devnode.chain import Chain
from damocles.devnode.state import WINDOW_PROOFS, Miner, Sector
from damocles.devnode.tipsets import TipSet
from damocles.wire.codec import Blob, Rows
from damocles.wire.sectors import SealProof, SectorSize

LOOKBACK_EPOCHS = 10  # behind the block, where power and sectors are looked at


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a miner needs for the block of an epoch on top of a tipset; powers are quality-adjusted."""

    number: int
    power: int
    network_power: int
    worker: Address
    sector_size: SectorSize
    challenged: Sequence[Sector]
    previous: BeaconEntry
    entries: Rows[BeaconEntry]
    is_eligible: bool


def entry(secret: bytes, epoch: int) -> BeaconEntry:
    """Return what the beacon says at an epoch."""
    return BeaconEntry(epoch, Blob(tipsets.beacon_entry(secret, epoch)))


def winning_type(miner: Miner) -> int:
    """Return the number of the winning PoSts of a miner."""
    return WINDOW_PROOFS.index(miner.window_post_proof)


def base(chain: Chain, miner: Address, epoch: int, parent: TipSet) -> Base | None:
    """Return what a miner needs; `None` if it has no sector that could be challenged, or is none. May take a while.

    Raises:
        tipsets.Forgotten: The state back then is not kept any more.
    """
    state = tipsets.state_of(chain.at(max(0, epoch - LOOKBACK_EPOCHS), parent))
    number = state.id_of(miner)
    found = None if number is None else state.miners.get(number)
    if number is None or found is None:
        return None
    provable = sorted(one for partition in found.partitions() for one in partition.live - partition.faulty)
    entries = Rows(entry(chain.secret, one) for one in range(parent.height + 1, epoch + 1))
    size = SectorSize(found.sector_bytes)
    if not provable or not entries:
        return None
    seed = election.challenge(entries[-1].data, epoch, miner)
    chosen = proofs.winning_challenge(SealProof.of(size).winning_name, seed, len(provable), number)
    power = state.power(number)
    key = tipsets.state_of(parent).account(found.worker).key
    assert key is not None
    return Base(
        number=number,
        power=power[1],
        network_power=state.total_power()[1],
        worker=key,
        sector_size=size,
        challenged=[found.sectors[provable[index]] for index in chosen],
        previous=entry(chain.secret, parent.height),
        entries=entries,
        is_eligible=power[0] >= found.sector_bytes and not found.fee_debt,
    )
