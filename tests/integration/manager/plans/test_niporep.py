"""Non-interactive proofs, over HTTP: no pre-commit, the commitments come with the proof."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from damocles.manager import daemon
from damocles.manager.sectors import ledger
from damocles.rpc import address
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.testing import simulated_chain
from damocles.wire import commitments, records, seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealFamily, SealProof, SectorID, SectorSize

from ..conftest import Clock, Manager, RecordedVerifier

SECTOR = SectorID(10000, 1)
COMM_R = Bytes32(bytes(range(32)))
COMM_D = commitments.zero_comm_d(SectorSize.KIB2)


@asynccontextmanager
async def serving(home: Path, verifier: RecordedVerifier, clock: Clock) -> AsyncIterator[Manager]:
    """Run a manager that hands out non-interactive sectors."""
    proof = SealProof.of(SectorSize.KIB2, SealFamily.NON_INTERACTIVE)
    settings = daemon.Settings(
        home=home,
        chain=simulated_chain.Source(miner=ledger.Miner(id=10000, proof=proof)),
        listen=address.Endpoint("127.0.0.1", 0),
    )
    async with daemon.serve(settings, verifier, clock) as bound:
        url, token = bound.url(address.MANAGER_PATH), tokens.read_file(home / "token")
        async with client.connect(url, token=token) as rpc:
            yield Manager(url, rpc, token)


async def prove(manager: Manager, pre_commit: seal.PreCommit | None, proof: bytes = b"proof") -> seal.Submitted:
    """Submit a proof of the first sector."""
    answer: seal.Submitted = await manager.call(
        "SubmitProof", SECTOR, seal.Proof(proof, pre_commit), False, returns=seal.Submitted
    )
    return answer


async def test_a_proof_lands_with_its_commitments(tmp_path: Path, verifier: RecordedVerifier, clock: Clock) -> None:
    """The seed is there at once, the proof is verified for what came with it, and then the sector is on the chain."""
    async with serving(tmp_path, verifier, clock) as manager:
        allocated = await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
        assert allocated.proof == 15
        ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
        waited = await manager.call("WaitSeed", SECTOR, 15, returns=seal.WaitSeedResp)
        assert (False, 999) == (waited.should_wait, waited.seed.epoch)
        pre_commit = seal.PreCommit(COMM_R, COMM_D, ticket)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await prove(manager, pre_commit)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await prove(manager, pre_commit)
        assert seal.SubmitResult.MISMATCHED == (await prove(manager, pre_commit, b"other")).res
        polled = await manager.call("PollProofState", SECTOR, returns=seal.Polled)
        assert seal.OnChainState.LANDED == polled.state
        (claim,) = verifier.claims
        assert ("StackedDrg2KiBV1_2_Feat_NonInteractivePoRep", COMM_R, COMM_D, ticket.ticket) == (
            *(claim.registered_proof, claim.comm_r, claim.comm_d, claim.ticket),
        )
        record = await manager.call("FindSectorInAllStates", SECTOR, returns=records.SectorState)
        assert (
            records.SubmittedPreCommit(commitments.sealed_cid(COMM_R), commitments.unsealed_cid(COMM_D), ticket)
            == record.pre_commit
        )
        assert seal.Proof(b"proof") == record.submitted_proof


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("nothing", "a non-interactive proof needs CommR, CommD and ticket with it"),
        ("comm_d", "but a sector without deals has"),
        ("ticket", "bad ticket"),
        ("proof", "invalid proof"),
    ],
)
async def test_proofs_that_are_refused(
    tmp_path: Path, verifier: RecordedVerifier, clock: Clock, change: str, reason: str
) -> None:
    """What a pre-commit would be refused for is found with the proof; nothing lands."""
    async with serving(tmp_path, verifier, clock) as manager:
        await manager.call("AllocateSector", {})
        ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
        other = seal.Ticket(bytes(32), ticket.epoch)
        pre_commit = seal.PreCommit(
            COMM_R, COMM_R if change == "comm_d" else COMM_D, other if change == "ticket" else ticket
        )
        verifier.answer = change != "proof"
        refused = await prove(manager, None if change == "nothing" else pre_commit)
        assert (seal.SubmitResult.REJECTED, True) == (refused.res, reason in (refused.desc or "")), refused
        polled = await manager.call("PollProofState", SECTOR, returns=seal.Polled)
        assert seal.OnChainState.FAILED == polled.state
