"""The way of a sector onto the simulated chain, over HTTP."""

import base64
from typing import Any

import anyio
import pytest

from damocles.manager import errors
from damocles.rpc import errors as rpc_errors
from damocles.wire import commitments, seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID, SectorSize, prover_id

from ..conftest import Clock, Manager, RecordedVerifier, Start

SECTOR = SectorID(10000, 1)
COMM_R = Bytes32(bytes(range(32)))
COMM_D = commitments.zero_comm_d(SectorSize.KIB2)
ALLOCATED = seal.AllocatedSector(SECTOR, 5)


async def allocate(manager: Manager) -> seal.Ticket:
    """Allocate the first sector and draw its ticket."""
    assert ALLOCATED == await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
    return await assign(manager)


async def assign(manager: Manager) -> seal.Ticket:
    """Draw a ticket for the first sector."""
    ticket: seal.Ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
    return ticket


async def pre_commit(
    manager: Manager, ticket: seal.Ticket, reset: bool = False, comm_r: Bytes32 = COMM_R, comm_d: Bytes32 = COMM_D
) -> seal.Submitted:
    """Submit a pre-commit of the first sector."""
    content = seal.PreCommit(comm_r, comm_d, ticket)
    submitted: seal.Submitted = await manager.call("SubmitPreCommit", ALLOCATED, content, reset, returns=seal.Submitted)
    return submitted


async def poll(manager: Manager, method: str) -> int:
    """Return the state that a poll gives."""
    polled: seal.Polled = await manager.call(method, SECTOR, returns=seal.Polled)
    return polled.state


async def prove(manager: Manager, proof: bytes = b"proof", reset: bool = False) -> seal.Submitted:
    """Submit a proof of the first sector."""
    submitted: seal.Submitted = await manager.call(
        "SubmitProof", SECTOR, seal.Proof(proof), reset, returns=seal.Submitted
    )
    return submitted


async def test_without_delays_everything_is_there_at_once(start: Start, verifier: RecordedVerifier) -> None:
    """By default a pre-commit has landed and the seed is there as soon as the pre-commit is submitted."""
    async with start() as manager:
        ticket = await allocate(manager)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await pre_commit(manager, ticket)
        assert seal.OnChainState.LANDED == await poll(manager, "PollPreCommitState")
        waited = await manager.call("WaitSeed", SECTOR, 5, returns=seal.WaitSeedResp)
        assert (False, 1000) == (waited.should_wait, waited.seed.epoch)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await prove(manager)
        assert seal.OnChainState.LANDED == await poll(manager, "PollProofState")


async def test_a_proof_is_verified_against_the_chain_own_values(start: Start, verifier: RecordedVerifier) -> None:
    """The verifier gets the landed commitments and the chain's randomness, nothing that the worker says with the proof."""
    async with start() as manager:
        ticket = await allocate(manager)
        await pre_commit(manager, ticket)
        seed = (await manager.call("WaitSeed", SECTOR, 5, returns=seal.WaitSeedResp)).seed
        await prove(manager, b"\x01\x02")
    (claim,) = verifier.claims
    assert "StackedDrg2KiBV1_1" == claim.registered_proof
    assert (COMM_R, COMM_D) == (claim.comm_r, claim.comm_d)
    assert (prover_id(10000), 1) == (claim.prover_id, claim.sector_id)
    assert (ticket.ticket, seed.seed, b"\x01\x02") == (claim.ticket, claim.seed, claim.proof)
    assert all(value[31] < 0x40 for value in (claim.ticket, claim.seed))


async def test_messages_come_on_with_the_epochs(start: Start, clock: Clock) -> None:
    """A message is pending in the epoch it was sent in, then packed, then landed; the seed follows after its delay."""
    async with start(pre_commit_delay=2, challenge_delay=3, proof_delay=1) as manager:
        await pre_commit(manager, await allocate(manager))
        with pytest.raises(rpc_errors.RpcError, match=r"precommit info not found on chain\. sid: s-t010000-1"):
            await manager.call("WaitSeed", SECTOR, 5)
        states = []
        for epoch in (1000, 1001, 1002):
            clock.to_epoch(epoch)
            states.append(await poll(manager, "PollPreCommitState"))
        assert [seal.OnChainState.PENDING, seal.OnChainState.PACKED, seal.OnChainState.LANDED] == states
        waited = await manager.call("WaitSeed", SECTOR, 5, returns=seal.WaitSeedResp)
        assert seal.WaitSeedResp(True, 12, None) == waited
        clock.to_epoch(1005)
        waited = await manager.call("WaitSeed", SECTOR, 5, returns=seal.WaitSeedResp)
        assert 1005 == waited.seed.epoch
        await prove(manager)
        assert seal.OnChainState.PENDING == await poll(manager, "PollProofState")
        clock.to_epoch(1006)
        assert seal.OnChainState.LANDED == await poll(manager, "PollProofState")


async def test_a_reset_replaces_what_has_not_landed(start: Start, clock: Clock) -> None:
    """With hardReset another pre-commit takes the place of a pending one and counts from its own epoch."""
    other = Bytes32(bytes([1]) * 32)
    async with start(pre_commit_delay=2) as manager:
        ticket = await allocate(manager)
        await pre_commit(manager, ticket)
        clock.to_epoch(1001)
        assert seal.SubmitResult.ACCEPTED == (await pre_commit(manager, ticket, reset=True, comm_r=other)).res
        clock.to_epoch(1002)
        assert seal.OnChainState.PACKED == await poll(manager, "PollPreCommitState")
        clock.to_epoch(1003)
        record = await manager.call("FindSector", "online", SECTOR)
        assert {"/": str(commitments.sealed_cid(other))} == record["Pre"]["CommR"]
        assert seal.OnChainState.LANDED == await poll(manager, "PollPreCommitState")


async def test_a_sector_that_is_sealed_again_gets_the_ticket_of_its_pre_commit(start: Start, clock: Clock) -> None:
    """Before a pre-commit each ticket is a new one; while one is pending, and when it has landed, it stays the same."""
    async with start(pre_commit_delay=2) as manager:
        first = await allocate(manager)
        clock.to_epoch(1010)
        ticket = await assign(manager)
        assert ticket.epoch == first.epoch + 10
        await pre_commit(manager, ticket)
        for epoch in (1011, 1030):
            clock.to_epoch(epoch)
            assert ticket == await assign(manager)
        assert seal.OnChainState.LANDED == await poll(manager, "PollPreCommitState")
        assert seal.SubmitResult.ACCEPTED == (await pre_commit(manager, await assign(manager), reset=True)).res


async def test_landed_content_is_accepted_again_after_a_reset(start: Start) -> None:
    """The landed pre-commit once more is accepted even with hardReset, and other content is a mismatch."""
    async with start() as manager:
        ticket = await allocate(manager)
        await pre_commit(manager, ticket)
        assert seal.SubmitResult.ACCEPTED == (await pre_commit(manager, ticket, reset=True)).res
        other = await pre_commit(manager, ticket, reset=True, comm_r=Bytes32(bytes(31) + b"\x01"))
        assert seal.SubmitResult.MISMATCHED == other.res


async def test_wrong_comm_d_is_a_mismatch(start: Start) -> None:
    """CommD that is not that of an empty sector makes the worker pause and names both values."""
    async with start() as manager:
        submitted = await pre_commit(manager, await allocate(manager), comm_d=COMM_R)
    assert seal.SubmitResult.MISMATCHED == submitted.res
    assert COMM_R.hex() in str(submitted.desc)
    assert COMM_D.hex() in str(submitted.desc)


@pytest.mark.parametrize(
    ("epoch", "value", "desc"),
    [
        (-22501, b"", "ticket expired: seal height: -21601, head: 1000"),
        (101, b"", "bad ticket epoch: 101 is later than head 1000 - 900"),
        (99, b"", "bad ticket: the chain has another value for epoch 99"),
        (100, bytes(32), "bad ticket: the chain has another value for epoch 100"),
    ],
)
async def test_wrong_tickets_are_rejected(start: Start, epoch: int, value: bytes, desc: str) -> None:
    """A ticket that is too old, too new or not the chain's own is rejected with the reason."""
    async with start() as manager:
        ticket = await allocate(manager)
        submitted = await pre_commit(manager, seal.Ticket(value or ticket.ticket, epoch))
    assert seal.Submitted(seal.SubmitResult.REJECTED, desc) == submitted


@pytest.mark.parametrize("sector", [SectorID(10000, 7), SectorID(2**64 - 1, 2**64 - 1)])
async def test_any_number_of_the_wire_may_be_asked_for(start: Start, sector: SectorID) -> None:
    """A sector that was never allocated is told as such, however large its numbers are; one that nobody can allocate, too."""
    content = seal.PreCommit(COMM_R, COMM_D, seal.Ticket(bytes(32), 2**63 - 1))
    allocated = {"ID": {"Miner": sector.miner, "Number": sector.number}, "ProofType": 5}
    calls: dict[str, list[Any]] = {
        "AssignTicket": [sector],
        "SubmitProof": [sector, seal.Proof(b"proof"), True],
        "StoreReserveSpace": [sector, 2**64 - 1, ["a"]],
        "ReportFinalized": [sector],
    }
    async with start() as manager:
        for method, params in calls.items():
            with pytest.raises(rpc_errors.RpcError, match="error code 11001: sector state not found"):
                await manager.call(method, *params)
        refusal = "sector state not found" if sector.number < 2**63 else "is more than the chain can count"
        with pytest.raises(rpc_errors.RpcError, match=refusal):
            await manager.call("SubmitPreCommit", allocated, content, True)
        assert not await manager.call("StoreReleaseReserved", sector)


async def test_an_invalid_proof_is_rejected(start: Start, verifier: RecordedVerifier) -> None:
    """A proof that does not verify is rejected with the chain's reason, and nothing of it stays."""
    verifier.answer = False
    async with start() as manager:
        await pre_commit(manager, await allocate(manager))
        rejected = seal.Submitted(seal.SubmitResult.REJECTED, "invalid proof (compute error?)")
        assert rejected == await prove(manager)
        assert "Proof" not in await manager.call("FindSector", "online", SECTOR)
        verifier.answer = True
        assert seal.SubmitResult.ACCEPTED == (await prove(manager, b"better")).res


async def test_a_proof_that_cannot_be_checked_now_may_come_again(start: Start, verifier: RecordedVerifier) -> None:
    """Without a verifying key the call fails with code 1, so that the worker tries again, and later it is accepted."""
    async with start() as manager:
        await pre_commit(manager, await allocate(manager))
        verifier.answer = errors.Unverifiable("no key at x.vk; get it with: …")
        with pytest.raises(rpc_errors.RpcError, match=r"no key at x\.vk") as raised:
            await prove(manager)
        assert 1 == raised.value.code
        verifier.answer = True
        assert seal.SubmitResult.ACCEPTED == (await prove(manager)).res


async def test_the_same_proof_is_verified_once(start: Start, verifier: RecordedVerifier) -> None:
    """The same proof again is accepted from the record; another one without reset is a mismatch."""
    async with start() as manager:
        await pre_commit(manager, await allocate(manager))
        answers = [await prove(manager), await prove(manager), await prove(manager, b"other")]
    assert [1, 1, 3] == [answer.res for answer in answers]
    assert 1 == len(verifier.claims)


async def test_calls_at_once_get_numbers_of_their_own(start: Start) -> None:
    """Thirty allocations at the same time give the numbers 1 to 30, each once."""
    numbers: list[int] = []

    async def allocate_one(manager: Manager) -> None:
        allocated: Any = await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
        numbers.append(allocated.id.number)

    async with start() as manager, anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(allocate_one, manager)
    assert list(range(1, 31)) == sorted(numbers)


async def test_proof_bytes_are_kept_as_sent(start: Start) -> None:
    """An accepted proof stands in the record in base64, with the message ids of both submissions."""
    async with start() as manager:
        await pre_commit(manager, await allocate(manager))
        await prove(manager, b"\x00\xff")
        record = await manager.call("FindSectorInAllStates", SECTOR)
    assert base64.b64encode(b"\x00\xff").decode() == record["Proof"]["Proof"]
    ids = [record["MessageInfo"][name]["/"] for name in ("PreCommitCid", "CommitCid")]
    assert all(one.startswith("bafk4bzaci") for one in ids)
    assert ids[0] != ids[1]
