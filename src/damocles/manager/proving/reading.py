"""What the chain says of the deadlines of a miner at one tipset."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.lotus import miners
from damocles.lotus.layout import Cycle
from damocles.lotus.view import View
from damocles.manager.proving import mind
from damocles.wire import proving
from damocles.wire.sectors import SealProof


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A window at a head; `parts` are the partitions as the chain has them."""

    seen: mind.Seen
    parts: tuple[miners.Partition, ...]


def window(miner: int, cycle: Cycle, deadline: int) -> mind.Window:
    """Return the window of a deadline that is open, or opens next."""
    opens = cycle.opens(deadline)
    return mind.Window(
        miner=miner,
        deadline=deadline,
        challenge=opens - cycle.challenge_lookback,
        opens=opens,
        close=opens + cycle.window,
    )


def windows(miner: int, cycle: Cycle) -> Iterator[mind.Window]:
    """Yield the windows in which an epoch lies: that of the open deadline, and the next one's from its challenge on."""
    for ahead in range(cycle.challenge_lookback // cycle.window + 2):
        one = window(miner, cycle, (cycle.current + ahead) % cycle.count)
        if cycle.epoch > one.challenge:
            yield one


def to_prove(part: miners.Partition) -> Bitfield:
    """Return the sectors of a partition that a window PoSt is about."""
    return part.live - part.faulty | part.recovering & part.live


async def look(view: View, window: mind.Window) -> Look:
    """Return a window as it is at the view's head.

    Raises:
        errors.NodeError: The node gives no answer.
    """
    address = Address.of_id(window.miner)
    parts = tuple(await view.partitions(address, window.deadline))
    posted = Bitfield()
    if parts and view.epoch >= window.opens:
        posted = (await view.deadlines(address))[window.deadline].post_submissions
    seed = await view.window_challenge(address, window.challenge) if parts else b""
    seen = tuple(
        mind.Partition(members=to_prove(part), is_posted=number in posted) for number, part in enumerate(parts)
    )
    return Look(seen=mind.Seen(epoch=view.epoch, seed=seed, partitions=seen), parts=parts)


async def sectors(view: View, miner: int, numbers: Bitfield) -> dict[int, proving.Extended]:
    """Return what the chain has of sectors; raises as `look`."""
    found = await view.sectors(Address.of_id(miner), numbers) if numbers else ()
    return {
        one.number: proving.Extended(
            proof=one.seal_proof, number=one.number, key_cid=one.sector_key_cid, sealed_cid=one.sealed_cid
        )
        for one in found
    }


def proof_name(infos: Mapping[int, proving.Extended]) -> str:
    """Return the kind of window PoSt for sectors, which are all of one size."""
    return SealProof(next(iter(infos.values())).proof).window_name


def digest(seed: bytes, infos: Mapping[int, proving.Extended]) -> str:
    """Return what names a challenge, and sectors with their commitments."""
    named = hashlib.blake2b(seed, digest_size=16)
    for number, info in sorted(infos.items()):
        named.update(f" {number} {info.sealed_cid}".encode())
    return named.hexdigest()
