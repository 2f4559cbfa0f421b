"""A manager and its own devnode in one process: what `mock` is, with a verifier that believes everything."""

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from damocles import methods
from damocles.chain.amounts import Amount
from damocles.cli.connecting import own_devnode
from damocles.cli.connecting.own_devnode import OwnDevnode
from damocles.manager import daemon, errors
from damocles.manager.sectors import deals
from damocles.methods import acts
from damocles.rpc import address
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.stores import persist
from damocles.testing import postgres
from damocles.testing.believing import Believing
from damocles.wire import commitments, seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealFamily, SealProof, SectorID, SectorSize

from ..conftest import Manager

COMM_R, NEW = Bytes32(bytes(range(32))), Bytes32(b"\7" * 32)
EMPTY = commitments.zero_comm_d(SectorSize.KIB2)
SECTOR = SectorID(10000, 1)
PROOF = bytes([1]) * 192


@asynccontextmanager
async def mock(
    base: Path, family: SealFamily = SealFamily.V1_1, *, challenge_delay: int = 1, database: str | None = None
) -> AsyncIterator[Manager]:
    """Run it in a home, with a market of two deals of half a sector each."""
    market, stored = base / "market", base / "persist"
    if not market.exists():
        market.mkdir(parents=True)
        persist.init(stored)
        for number in (1, 2):
            cid = str(commitments.unsealed_cid(bytes([number]) * 32))
            deals.add(market, deals.Offer(cid=cid, size_bytes=1024, payload_bytes=1000, deal_id=number))
    settings = daemon.Settings(
        home=base / "home",
        chain=OwnDevnode(
            miner=10000, proof=SealProof.of(SectorSize.KIB2, family), challenge_delay=challenge_delay, block_seconds=60
        ),
        listen=address.Endpoint("127.0.0.1", 0),
        database=database,
        deals=market,
    )
    async with daemon.serve(settings, Believing(), time.time) as bound:
        url, token = bound.url(address.MANAGER_PATH), tokens.read_file(base / "home" / "token")
        async with client.connect(url, token=token) as rpc:
            yield Manager(url, rpc, token)


async def becomes(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds, though no epoch ends by itself meanwhile."""
    with anyio.fail_after(50):
        while not await condition():
            await anyio.sleep(0.02)


async def has_landed(manager: Manager, method: str) -> None:
    """Check that a worker's first question finds its message landed: the next comes after its polling interval of minutes."""
    polled = await manager.call(method, SECTOR, returns=seal.Polled)
    assert seal.OnChainState.LANDED == polled.state, polled


async def promised(manager: Manager, *, with_deals: bool = False) -> seal.AllocatedSector:
    """Bring the pre-commit of the sector onto the chain."""
    allocated: seal.AllocatedSector = await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
    comm_d = EMPTY
    if with_deals:
        pieces = await manager.call("AcquireDeals", SECTOR, {}, returns=list[seal.SectorPiece])
        comm_d = comm_d_of(pieces)
    ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
    content = seal.PreCommit(COMM_R, comm_d, ticket)
    answer = await manager.call("SubmitPreCommit", allocated, content, False, returns=seal.Submitted)
    assert seal.Submitted(seal.SubmitResult.ACCEPTED) == answer
    await has_landed(manager, "PollPreCommitState")
    return allocated


async def proven(manager: Manager, *, with_deals: bool = False) -> None:
    """Bring the sector onto the chain."""
    allocated = await promised(manager, with_deals=with_deals)
    await manager.call("SubmitPersistedEx", SECTOR, "persist", False)
    waited = await manager.call("WaitSeed", SECTOR, allocated.proof, returns=seal.WaitSeedResp)
    assert not waited.should_wait
    answer = await manager.call("SubmitProof", SECTOR, seal.Proof(PROOF), False, returns=seal.Submitted)
    assert seal.Submitted(seal.SubmitResult.ACCEPTED) == answer
    await has_landed(manager, "PollProofState")
    await manager.call("ReportFinalized", SECTOR)


def comm_d_of(pieces: list[seal.SectorPiece]) -> Bytes32:
    """Return CommD of a sector with pieces."""
    sizes = [(piece.piece.size_bytes, commitments.commitment_of(piece.piece.cid)) for piece in pieces]
    return commitments.comm_d(sizes, int(SectorSize.KIB2))


async def test_a_sector_with_data_of_nobody_lands_without_waiting_for_epochs(tmp_path: Path) -> None:
    """Deals that no chain knows are sealed all the same; pre-commit, seed and proof come on as they are handed in."""
    async with mock(tmp_path) as manager:
        await proven(manager, with_deals=True)


async def test_a_chain_that_is_slow_to_verify_a_proof_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine takes many seconds for it, and the worker must not find the message pending even so."""

    def slowly(_: object) -> Callable[[object], bool]:
        def verify(_: object) -> bool:
            time.sleep(6)
            return True

        return verify

    monkeypatch.setattr(own_devnode, "_verdict", slowly)
    async with mock(tmp_path) as manager:
        await proven(manager)


async def test_a_sector_is_upgraded_at_once(tmp_path: Path) -> None:
    """No deadline is waited for, and the upgrade lands as messages do."""
    async with mock(tmp_path) as manager:
        await proven(manager)
        await manager.call("SnapUpPreFetch", 10000, None)
        spec = seal.AllocateSnapUpSpec(seal.AllocateSectorSpec(), seal.AcquireDealsSpec())
        given = await manager.call("AllocateSanpUpSector", spec, returns=seal.AllocatedSnapUpSector)
        content = seal.SnapUpProof(
            comm_r=NEW,
            comm_d=comm_d_of(given.pieces),
            access_instance="persist",
            pieces=[piece.piece.cid for piece in given.pieces],
            proof=PROOF,
        )
        answer = await manager.call("SubmitSnapUpProof", SECTOR, content, returns=seal.Submitted)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == answer

        async def over() -> bool:
            found = await manager.call("FindSectorInAllStates", SECTOR)
            return found["UpgradeLandedEpoch"] is not None

        await becomes(over)


async def test_a_sector_without_pre_commit_lands_with_its_proof(tmp_path: Path) -> None:
    """A non-interactive proof brings its commitments."""
    async with mock(tmp_path, SealFamily.NON_INTERACTIVE) as manager:
        await manager.call("AllocateSector", {})
        ticket = await manager.call("AssignTicket", SECTOR, returns=seal.Ticket)
        proof = seal.Proof(PROOF, seal.PreCommit(COMM_R, EMPTY, ticket))
        answer = await manager.call("SubmitProof", SECTOR, proof, False, returns=seal.Submitted)
        assert seal.Submitted(seal.SubmitResult.ACCEPTED) == answer
        await has_landed(manager, "PollProofState")


async def test_the_chain_goes_on_where_it_was_also_with_another_delay_of_seeds(tmp_path: Path) -> None:
    """What has landed is there after a start, and the seed is as far away as is said now."""
    async with mock(tmp_path) as manager:
        allocated = await promised(manager)
    async with mock(tmp_path, challenge_delay=1000) as manager:
        await has_landed(manager, "PollPreCommitState")
        waited = await manager.call("WaitSeed", SECTOR, allocated.proof, returns=seal.WaitSeedResp)
        assert waited.should_wait


async def test_what_an_operator_orders_lands_at_once(tmp_path: Path) -> None:
    """No head comes by itself for a minute, and none is waited for."""
    async with mock(tmp_path) as manager:
        await proven(manager)
        wanted = acts.AffairWanted(act=acts.Withdraw(miner=10000, amount=Amount(1)))
        answer = await manager.rpc.call(methods.chain.administer(wanted))

        async def landed() -> bool:
            (order,) = await manager.rpc.call(methods.chain.orders([*answer.orders]))
            return (order.state, order.exit_code) == ("landed", 0)

        await becomes(landed)


async def test_two_mocks_never_share_a_database(tmp_path: Path, postgres_server: postgres.Server) -> None:
    """Each has its own chain: also while there is no sector yet, and if the second one has a devnet already."""
    url = postgres_server.url(postgres_server.new())
    own = postgres_server.url(postgres_server.new())
    async with mock(tmp_path / "second", database=own):
        pass
    async with mock(tmp_path / "first", database=url):
        for name in ("second", "third"):
            with pytest.raises(
                errors.StartError, match=r"that of another devnode, of the mock whose home is .*first/home"
            ):
                async with mock(tmp_path / name, database=url):
                    pass
    assert not (tmp_path / "third" / "home" / "devnode").exists()
    async with mock(tmp_path / "first", database=url) as manager:
        await proven(manager)


async def test_a_database_that_is_not_there_at_the_start_is_told_so(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    """Nothing goes on by itself of a manager that has not started."""
    with pytest.raises(
        errors.StartError,
        match=r'^postgresql://.* cannot be used: .*"nosuch" does not exist; put that right, and start the manager again$',
    ):
        async with mock(tmp_path, database=postgres_server.url("nosuch")):
            pass


async def test_a_devnet_that_was_deleted_is_replaced_while_no_sector_is_on_it(tmp_path: Path) -> None:
    """Nobody else can be on a database in a file."""
    for _ in range(2):
        async with mock(tmp_path):
            shutil.rmtree(tmp_path / "home" / "devnode")
    async with mock(tmp_path) as manager:
        await proven(manager)
    async with mock(tmp_path / "other"):
        pass
    shutil.rmtree(tmp_path / "home" / "devnode")
    (tmp_path / "other" / "home" / "devnode").rename(tmp_path / "home" / "devnode")
    with pytest.raises(errors.StartError, match="that of another devnode"):
        async with mock(tmp_path):
            pass
