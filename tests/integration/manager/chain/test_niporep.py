"""Sectors with non-interactive proofs, on a devnode that accepts any proof: no pre-commit, no seed, one message a sector."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from damocles.chain import methods
from damocles.devnode.node import Node as Devnode
from damocles.lotus import layout
from damocles.manager.chain import lifetimes
from damocles.wire import commitments as cids
from damocles.wire import seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealProof, SectorID, SectorSize

from .provider import ADDRESS, Provider, running

PROOF = SealProof(15)
NI = {"Sealing": {"UseNonInteractivePoRep": True, "SealingSectorDeadlineDelayNi": 4}}


@pytest.fixture
async def provider(devnode: Devnode, tmp_path: Path) -> AsyncIterator[Provider]:
    """Yield a manager whose miner seals so."""
    async with running(devnode, tmp_path, **NI) as made:
        yield made


async def _hand_in(provider: Provider, sector: SectorID, ticket: seal.Ticket | None = None) -> seal.Submitted:
    """Hand in a proof with its commitments, as a worker does."""
    drawn = await provider.commits.assign_ticket(sector)
    assert not (await provider.commits.wait_seed(sector, PROOF)).should_wait
    replica = Bytes32(bytes([sector.number, 2]) * 16)
    pre_commit = seal.PreCommit(replica, Bytes32(cids.zero_comm_d(SectorSize.KIB2)), ticket or drawn)
    return await provider.commits.submit_proof(sector, seal.Proof(bytes(13 * 192), pre_commit), hard_reset=True)


async def test_each_sector_is_proven_by_one_message(provider: Provider) -> None:
    """With its commitments, its pledge, and a deadline some ahead; two sectors share none, since theirs are aggregates."""
    sectors = [await provider.allocate() for _ in range(2)]
    for sector in sectors:
        assert seal.SubmitResult.ACCEPTED == (await _hand_in(provider, sector)).res
    async with provider.view() as view:
        current = layout.Cycle.of(await view.period(ADDRESS), view.epoch).current
    await provider.proven(*sectors)
    sent = [one.message for one in provider.landed_messages()]
    assert [methods.PROVE_NI.number] * 2 == [message.method for message in sent]
    async with provider.view() as view:
        for message, sector in zip(sent, sectors, strict=True):
            params = methods.PROVE_NI.read_params(message.params)
            (one,) = params.sectors
            assert (sector.number, sector.number, 1000) == (one.sector_number, one.sealing_number, one.sealer_id)
            assert (15, 1, current + 4) == (
                params.seal_proof_type,
                params.aggregate_proof_type,
                params.proving_deadline,
            )
            assert message.value > 0
            assert current + 4 == (await view.location(ADDRESS, sector.number)).deadline
            found = await view.sector(ADDRESS, sector.number)
            assert found is not None
            assert one.sealed_cid == found.sealed_cid
            assert 537 * lifetimes.DAY_EPOCHS <= found.expiration - found.activation <= 540 * lifetimes.DAY_EPOCHS
    # Handed in again it is what has landed, and nothing is sent.
    assert seal.OnChainState.LANDED == (await provider.commits.poll_proof_state(sectors[0])).state
    assert 2 == len(provider.landed())


async def test_a_message_that_comes_too_late_for_its_deadline(provider: Provider, devnode: Devnode) -> None:
    """It is refused by the chain, and the sector is not given up: handed in again it gets another deadline."""
    sector = await provider.allocate()
    devnode.doom(methods.PROVE_NI.number, exit_code=16)
    await _hand_in(provider, sector)
    await provider.until(lambda: _has_failed(provider, sector))
    polled = await provider.commits.poll_proof_state(sector)
    assert "16" in (polled.desc or "")
    await _hand_in(provider, sector)
    await provider.proven(sector)


async def _has_failed(provider: Provider, sector: SectorID) -> bool:
    return (await provider.commits.poll_proof_state(sector)).state == seal.OnChainState.FAILED


@pytest.mark.parametrize("drop", [False, True], ids=["waits again", "is lost"])
async def test_a_reorganisation(provider: Provider, devnode: Devnode, drop: bool) -> None:
    """A receipt from a tipset that was taken back is not believed; one message lands in the end."""
    sector = await provider.allocate()
    await _hand_in(provider, sector)

    async def is_packed() -> bool:
        return (await provider.commits.poll_proof_state(sector)).state == seal.OnChainState.PACKED

    await provider.until(is_packed)
    await devnode.reorganise(2, drop=drop)
    await provider.chain.rounds.once()
    assert seal.OnChainState.PENDING == (await provider.commits.poll_proof_state(sector)).state
    await provider.proven(sector)
    assert 1 == len(provider.landed())


async def test_a_ticket_lasts_half_a_year(provider: Provider, devnode: Devnode) -> None:
    """There is no pre-commit that a day would be for; what is older is refused with the reason."""
    sector, head = await provider.allocate(), devnode.chain.head.height

    async def of(age: int) -> seal.Ticket:
        return seal.Ticket(await provider.chain.ticket(1000, head - age), head - age)

    old = await _hand_in(provider, sector, await of(lifetimes.NI_TICKET_MAX_AGE + 10))
    assert (seal.SubmitResult.REJECTED, True) == (old.res, "ticket expired" in (old.desc or ""))
    assert seal.SubmitResult.ACCEPTED == (await _hand_in(provider, sector, await of(lifetimes.TICKET_MAX_AGE + 10))).res
