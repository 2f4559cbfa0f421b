"""Sectors from allocation to proven, on a devnode that accepts any proof."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.devnode.helpers import WORKER, promise, send

from damocles.chain import methods, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.sealing import PoStPartition, PoStProof, PreCommitSectorBatch2, SubmitWindowedPoSt
from damocles.devnode import serving
from damocles.devnode.actors import registry
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus import miners
from damocles.manager.chain.submissions import Kind
from damocles.manager.errors import ManagerError
from damocles.wire import commitments, seal
from damocles.wire.codec import Blob, Bytes32, Rows
from damocles.wire.sectors import SectorID

from .provider import ADDRESS, MINER, PROOF, Provider, running

CLIENT = Address.of_id(102)
PIECE = commitments.unsealed_cid(b"\7" * 31 + b"\0")


def _batch(pre: int, prove: int) -> dict[str, Any]:
    return {
        "Commitment": {
            "Confidence": 2,
            "Pre": {"Batch": {"Threshold": pre}},
            "Prove": {"Batch": {"Threshold": prove}},
        }
    }


async def _seal(provider: Provider, sectors: Sequence[SectorID], comm_d: bytes | None = None) -> None:
    for sector in sectors:
        await provider.hand_in(sector, *([comm_d] if comm_d is not None else []))
    await provider.pre_committed(*sectors)
    for sector in sectors:
        await provider.prove(sector)
    await provider.proven(*sectors)


async def _allocation(provider: Provider, *, expires_in: int = 5000) -> seal.SectorPiece:
    """Let the client promise a piece to the provider; return it as a sector has it."""
    head = provider.devnode.chain.head.height
    request = registry.AllocationRequest(
        provider=MINER, data=PIECE, size_bytes=2048, term_min=518400, term_max=1_600_000, expiration=head + expires_in
    )
    params = registry.Transfer(
        to=Address.of_id(6),
        amount=Amount(2048 * 10**18),
        operator_data=Blob(tuples.encode(registry.AllocationRequests(Rows([request])))),
    )
    await send(provider.node, registry.TRANSFER, params, to=Address.of_id(7), sender=CLIENT)
    await provider.tick(2)
    async with provider.view() as view:
        number = max(await view.allocations(CLIENT))
    deal = seal.DealInfo(allocation_id=number, payload_bytes=2032, is_builtin_market=False, client=str(CLIENT))
    return seal.SectorPiece(seal.Piece(2048, PIECE), deal)


async def test_three_sectors_one_with_data(provider: Provider) -> None:
    """They share messages, since they come at once; the data is claimed, under its allocation's number."""
    piece = await _allocation(provider)
    full = await provider.allocate(piece)
    empty = [await provider.allocate() for _ in range(2)]
    await provider.hand_in(full, commitments.commitment_of(PIECE))
    for sector in empty:
        await provider.hand_in(sector)
    sectors = [full, *empty]
    await provider.pre_committed(*sectors)
    for sector in sectors:
        await provider.prove(sector)
    await provider.proven(*sectors)
    assert 1 + 2 == len(provider.landed())  # the first is of the client
    async with provider.view() as view:
        claim = await view.claim(ADDRESS, piece.deal.allocation_id)
        assert claim is not None
        assert (full.number, 2048) == (claim.sector, claim.size_bytes)
        found = await view.sector(ADDRESS, full.number)
        assert found is not None
        assert found.verified_deal_weight > 0
        # As long as the allocation wants it at least, and no longer than it may.
        assert 518400 <= found.expiration - claim.term_start <= 1_600_000


async def test_an_aggregate_of_four(devnode: Devnode, tmp_path: Path) -> None:
    """Four sectors share two messages, and the second one has one proof."""
    async with running(devnode, tmp_path, **_batch(4, 4)) as provider:
        sectors = [await provider.allocate() for _ in range(4)]
        await _seal(provider, sectors)
        orders = [await provider.order_of(sector, Kind.PROOF) for sector in sectors]
        assert 1 == len({order.id for order in orders})
        params = methods.PROVE_COMMIT.read_params(orders[0].wish.params)
        assert (4, 0, 1) == (len(params.activations), len(params.sector_proofs), params.aggregate_proof_type)
        assert "proof batch" == orders[0].wish.kind
        assert 2 == len(provider.landed())


async def test_a_bad_pre_commit_goes_without_the_others(devnode: Devnode, tmp_path: Path) -> None:
    """A sector that makes the whole message fail is found, refused with the actor's words, and the rest goes on."""
    async with running(devnode, tmp_path, **_batch(3, 1)) as provider:
        sectors = [await provider.allocate() for _ in range(3)]
        # Somebody with the same key has used the number meanwhile.
        bad = sectors[1]
        taken = PreCommitSectorBatch2(Rows([promise(bad.number, devnode.chain.head.height)]))
        await send(provider.node, methods.PRE_COMMIT, taken, sender=WORKER)
        for sector in sectors:
            await provider.hand_in(sector)
        await provider.tick(2)
        await provider.pre_committed(sectors[0], sectors[2])
        polled = await provider.commits.poll_pre_commit_state(bad)
        assert seal.OnChainState.PERM_FAILED == polled.state
        assert "already allocated" in (polled.desc or "")
        assert 2 == len(provider.landed())


async def test_a_bad_proof_is_in_the_return_value(devnode: Devnode, tmp_path: Path) -> None:
    """With exit code 0 one sector of a batch may have failed: it is refused, and the other is proven."""
    async with running(devnode, tmp_path, **_batch(2, 2)) as provider:
        good, bad = [await provider.allocate() for _ in range(2)]
        for sector in (good, bad):
            await provider.hand_in(sector)
        await provider.pre_committed(good, bad)
        await provider.prove(good)
        await provider.prove(bad, b"")  # no proof at all, which the devnode does not take
        await provider.proven(good)
        polled = await provider.commits.poll_proof_state(bad)
        assert (seal.OnChainState.PERM_FAILED, True) == (polled.state, "exit code 16" in (polled.desc or ""))


async def test_a_stuck_message_is_replaced(provider: Provider, devnode: Devnode) -> None:
    """A message whose cap is below the base fee is signed anew, dearer, under the same nonce; one of them lands."""
    sector = await provider.allocate()
    await provider.hand_in(sector)
    await provider.tick()
    devnode.set_base_fee(10**8)
    await provider.tick()
    await provider.until(lambda: _is_signed_twice(provider, sector), 40)
    await provider.pre_committed(sector)
    order = await provider.order_of(sector, Kind.PRE_COMMIT)
    first, last = order.signed[0], order.signed[-1]
    assert (1, True) == (len({one.message.message.nonce for one in order.signed}), first.fees.cap < last.fees.cap)
    assert 1 == len(provider.landed())
    polled = await provider.commits.poll_pre_commit_state(sector)
    assert seal.OnChainState.LANDED == polled.state  # under the id that it got before there was any message


async def _is_signed_twice(provider: Provider, sector: SectorID) -> bool:
    return len((await provider.order_of(sector, Kind.PRE_COMMIT)).signed) > 1


@pytest.mark.parametrize("drop", [False, True], ids=["waits again", "is lost"])
async def test_reorganisations_after_each_message(provider: Provider, devnode: Devnode, drop: bool) -> None:
    """A receipt from a tipset that was taken back is not believed: the message lands once more, and no second one does."""
    sector = await provider.allocate()
    await provider.hand_in(sector)

    async def is_packed() -> bool:
        return (await poll(sector)).state == seal.OnChainState.PACKED

    for poll, then in (
        (provider.commits.poll_pre_commit_state, provider.pre_committed),
        (provider.commits.poll_proof_state, provider.proven),
    ):
        if poll == provider.commits.poll_proof_state:
            await provider.prove(sector)
        await provider.until(is_packed)
        await devnode.reorganise(2, drop=drop)
        await provider.chain.rounds.once()
        assert (await poll(sector)).state == seal.OnChainState.PENDING
        await then(sector)
    landed = provider.landed()
    assert (2, 2) == (len(landed), len(set(landed)))


async def test_numbers_that_the_chain_has_seen_are_not_given_out(provider: Provider, devnode: Devnode) -> None:
    """A sector of somebody else's keeps its number."""
    params = PreCommitSectorBatch2(Rows(promise(number, devnode.chain.head.height) for number in (1, 2)))
    await send(provider.node, methods.PRE_COMMIT, params)
    await provider.tick(2)
    assert 3 == (await provider.allocate()).number


async def test_an_expired_allocation_is_told_before_pc1_and_before_the_pre_commit(provider: Provider) -> None:
    """An allocation stays in the node's answers when it has expired; a sector with it gets no ticket and no message."""
    piece = await _allocation(provider, expires_in=8)
    sector = await provider.allocate(piece)
    ticket = await provider.commits.assign_ticket(sector)
    await provider.tick(10)
    with pytest.raises(ManagerError, match="allocation 1 of f0102 has expired at epoch"):
        await provider.commits.assign_ticket(sector)
    content = seal.PreCommit(b"\1" * 32, commitments.commitment_of(PIECE), ticket)  # type: ignore[arg-type]
    answer = await provider.commits.submit_pre_commit(seal.AllocatedSector(sector, PROOF), content, False)
    assert (seal.SubmitResult.REJECTED, True) == (answer.res, "has expired" in (answer.desc or ""))


async def test_a_base_fee_above_the_threshold(devnode: Devnode, tmp_path: Path) -> None:
    """Sectors wait for a lower base fee, and why is told; when it has come down they land."""
    table = _batch(1, 1)
    table["Commitment"]["Pre"]["Batch"]["MaxBaseFee"] = "1000 attoFIL"
    async with running(devnode, tmp_path, **table) as provider:
        sector = await provider.allocate()
        devnode.set_base_fee(5000)
        await provider.tick()
        await provider.hand_in(sector)
        await provider.tick(5)
        assert provider.landed() == []
        assert (await provider.commits.poll_pre_commit_state(sector)).state == seal.OnChainState.PENDING
        await provider.pre_committed(sector)


async def test_nobody_has_money(devnode: Devnode, tmp_path: Path) -> None:
    """A message that nobody can pay for waits, and an alert says who has too little; the sector is not given up."""
    table = _batch(1, 1)
    table["Commitment"]["Pre"]["MaxFee"] = "1 attoFIL"
    table["Commitment"]["Pre"]["Batch"]["MaxFee"] = "1 attoFIL"
    async with running(devnode, tmp_path, **table) as provider:
        sector = await provider.allocate()
        await provider.hand_in(sector)
        await provider.tick(3)
        polled = await provider.commits.poll_pre_commit_state(sector)
        assert (seal.OnChainState.PENDING, True) == (polled.state, "raise the limit" in (polled.desc or ""))
        (trouble,) = provider.chain.rounds.troubles.values()
        assert "raise the limit" in trouble


async def _post(provider: Provider, sector: SectorID) -> None:
    """Let the deadline of a sector come, and prove it, so that it becomes active."""

    async def period() -> miners.Period:
        async with provider.view() as view:
            return await view.period(ADDRESS)

    async with provider.view() as view:
        location = await view.location(ADDRESS, sector.number)
    while (now := await period()).index != location.deadline or now.current_epoch < now.open + 2:
        await provider.devnode.step()
    async with provider.view() as view:
        params = SubmitWindowedPoSt(
            deadline=location.deadline,
            partitions=Rows([PoStPartition(location.partition)]),
            proofs=Rows([PoStProof(10, Blob(bytes(192)))]),
            chain_commit_epoch=now.open,
            chain_commit_rand=Blob(await view.chain_commit(now.open)),
        )
    await send(provider.node, methods.SUBMIT_WINDOW_POST, params)
    await provider.tick(2)


async def test_an_upgrade(tmp_path: Path) -> None:
    """The proof of an upgrade waits for a deadline that is not open, lands, and claims its allocation."""
    rules = Rules(window_epochs=15)
    async with serving.serving(rules, accepts_any_proof=True) as devnode, running(devnode, tmp_path) as provider:
        await devnode.step(30)
        await _upgrade(provider)


async def _upgrade(provider: Provider) -> None:
    sector = await provider.allocate()
    await _seal(provider, [sector])
    await _post(provider, sector)
    piece = await _allocation(provider)
    comm_r = bytes([sector.number, sector.miner % 251]) * 16
    content = seal.SnapUpProof(
        comm_r=Bytes32(b"\5" * 31 + b"\0"),
        comm_d=commitments.commitment_of(PIECE),
        access_instance="persist",
        pieces=[PIECE],
        proof=bytes(192),
    )
    allocated = seal.AllocatedSector(sector, PROOF)
    await provider.chain.check_update(allocated, comm_r, content)
    send_update = partial(provider.chain.send_update, allocated=allocated, content=content, pieces=[piece])
    cid = await provider.database.write(send_update)

    await provider.tick()
    polled = await provider.chain.message(cid)
    assert (seal.OnChainState.PENDING, True) == (polled.state, "is open or the next one" in (polled.desc or ""))

    async def has_landed() -> bool:
        polled = await provider.chain.message(cid)
        assert polled.state < seal.OnChainState.NOT_FOUND, polled
        return polled.state == seal.OnChainState.LANDED

    await provider.until(has_landed)
    async with provider.view() as view:
        found = await view.sector(ADDRESS, sector.number)
        assert found is not None
        assert found.sealed_cid == commitments.sealed_cid(content.comm_r)
        assert await view.claim(ADDRESS, piece.deal.allocation_id) is not None
    assert cid == await provider.database.write(send_update)
    assert await has_landed()
