"""Whose files are needed: a sector's, as long as it lives on the chain, or might after a reorganisation."""

from damocles.chain import methods, upkeep
from damocles.chain.bitfields import Bitfield
from damocles.wire.codec import Rows
from damocles.wire.sectors import SectorID

from ...devnode.helpers import MINER, done, proved, view
from .provider import Provider


async def test_files_are_needed_until_an_end_is_final(provider: Provider) -> None:
    """A terminated sector has its record on the chain for long; 900 epochs after its end nobody can bring it back."""
    devnode, lotus = provider.devnode, provider.node
    sector, other = SectorID(MINER.id, 1), SectorID(MINER.id, 2)
    await proved(devnode, lotus, 1)
    assert await provider.chain.lives(sector)
    assert not await provider.chain.lives(other)
    place = await (await view(lotus)).location(MINER, 1)
    end = upkeep.TerminateSectors(Rows([upkeep.Declaration(place.deadline, place.partition, Bitfield([1]))]))
    assert (await done(devnode, lotus, methods.TERMINATE, end)).receipt.exit_code == 0
    assert await (await view(lotus)).sector(MINER, 1) is not None
    assert await provider.chain.lives(sector)
    await devnode.step(900)
    assert not await provider.chain.lives(sector)
