"""Steps in a sector's life: taken by the worker that has it, not by others that are let in as workers, nor by mistake."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from damocles.manager.serving import auth
from damocles.methods.rules import Scope
from damocles.rpc import core, errors
from damocles.rpc.admission import access
from damocles.wire import codec, commitments, control, exports, records, seal, wdpost
from damocles.wire.sectors import SectorID

from .conftest import Daemon, StartManager

SECTOR = SectorID(10000, 1)
ALLOCATED = seal.AllocatedSector(SECTOR, 5)
TICKET = seal.Ticket(bytes(32), 700)
CONTENT = seal.PreCommit(codec.Bytes32(b"\1" * 32), codec.Bytes32(bytes(32)), TICKET)
REPORT = seal.ReportStateReq(
    worker=seal.WorkerIdentifier("rust", "/store"), state_change=seal.StateChange("Empty", "Allocated", "None")
)
CID = codec.CID("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")

PROVEN = exports.Kept(
    format=1,
    state="offline",
    sector=msgspec.structs.replace(
        records.SectorState.fresh(SECTOR, 5),
        finalized=True,
        pre_commit=records.SubmittedPreCommit(
            commitments.sealed_cid(CONTENT.comm_r), commitments.unsealed_cid(CONTENT.comm_d), TICKET
        ),
    ),
    files=exports.Files(normal="persist"),
)

# All that a worker of the original calls about its sector, and the two that its command line calls as well.
STEPS: list[tuple[str, list[Any]]] = [
    ("AcquireDeals", [SECTOR, seal.AcquireDealsSpec()]),
    ("AssignTicket", [SECTOR]),
    ("SubmitPreCommit", [ALLOCATED, CONTENT, False]),
    ("SubmitPreCommit", [ALLOCATED, CONTENT, True]),
    ("SubmitPersistedEx", [SECTOR, "store", False]),
    ("SubmitPersisted", [SECTOR, "store"]),
    ("WaitSeed", [SECTOR, 5]),
    ("SubmitProof", [SECTOR, seal.Proof(b"proof"), False]),
    ("SubmitProof", [SECTOR, seal.Proof(b"proof"), True]),
    ("ReportState", [SECTOR, REPORT]),
    ("SubmitSnapUpProof", [SECTOR, seal.SnapUpProof(CONTENT.comm_r, CONTENT.comm_d, "store", [], b"proof")]),
    ("StoreReserveSpace", [SECTOR, 2048, []]),
    ("AcquireUnsealDest", [SECTOR, CID]),
    ("AchieveUnsealSector", [SECTOR, CID, ""]),
    ("ReportFinalized", [SECTOR]),
    ("ReportAborted", [SECTOR, "aborted via CLI"]),
]

Call = Callable[..., Any]


def caller(manager: Daemon, host: str, token: str | None = None) -> Call:
    """Return what calls a method from another machine, or from this one with a token, and returns its result."""

    async def call(method: str, *params: Any, returns: Any = Any) -> Any:
        body = codec.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        reply = await manager.service.answer(body, core.Call(peer=f"{host}:4711", token=token))
        answer = codec.decode(reply.body, dict[str, Any])
        if "error" in answer:
            raise errors.RpcError(answer["error"]["code"], answer["error"]["message"])
        return codec.decode(codec.encode(answer["result"]), returns)

    return call


async def code_of(call: Call, method: str, *params: Any) -> int:
    """Return the code with which a call fails, 0 if it does not."""
    try:
        await call(method, *params)
    except errors.RpcError as error:
        return error.code
    return 0


@pytest.fixture
async def manager(start_manager: StartManager) -> AsyncIterator[Daemon]:
    """A manager that lets the machines of a network in, one of them to operate."""
    admit = access.admitted(["10.0.0.0/24", "10.0.0.9=read,operate,worker"], auth.ADMITTED)
    async with start_manager(admit=admit) as running:
        yield running


async def state_of(manager: Daemon) -> exports.Kept:
    """Return all that is kept of the sector."""
    (kept,) = await manager.call("Damocles.SectorsExport", exports.Query(), returns=list[exports.Kept])
    return kept  # type: ignore[no-any-return]


class TestOfTheOriginal:
    @pytest.mark.parametrize(("method", "params"), STEPS, ids=[f"{name}-{params[-1]}"[:30] for name, params in STEPS])
    async def test_no_other_machine_takes_a_step(self, manager: Daemon, method: str, params: list[Any]) -> None:
        """What a worker calls about its sector is refused from another admitted address, and nothing is changed."""
        rust, other = caller(manager, "10.0.0.2"), caller(manager, "10.0.0.3")
        assert ALLOCATED == await rust("Venus.AllocateSector", seal.AllocateSectorSpec(), returns=seal.AllocatedSector)
        await rust("Venus.ReportState", SECTOR, REPORT)
        before = await state_of(manager)
        with pytest.raises(errors.RpcError) as raised:
            await other(f"Venus.{method}", *params)
        assert errors.Code.FORBIDDEN == raised.value.code
        assert raised.value.message.startswith(
            f"{SECTOR} is held by 10.0.0.2, not by admitted 10.0.0.3: Venus.{method}"
        )
        assert "--admit 10.0.0.3=read,operate,worker" in raised.value.message
        assert before == await state_of(manager)

    async def test_its_own_machine_takes_every_step(self, manager: Daemon) -> None:
        """From the address that was given the sector each call gets the method's own answer, over whatever port."""
        rust = caller(manager, "10.0.0.2")
        await rust("Venus.AllocateSector", seal.AllocateSectorSpec())
        for method, params in STEPS:
            assert await code_of(caller(manager, "[::ffff:10.0.0.2]"), f"Venus.{method}", *params) not in {
                401,
                403,
                11409,
            }
        kept = await state_of(manager)
        assert ("offline", "10.0.0.2:4711") == (kept.state, kept.attempt.given_to if kept.attempt else None)

    async def test_loopback_is_one_machine(self, start_manager: StartManager) -> None:
        """A worker that finds its manager as `localhost` comes from either family."""
        async with start_manager(admit=access.admitted(["127.0.0.0/8", "::1"], auth.ADMITTED)) as manager:
            await caller(manager, "127.0.0.1")("Venus.AllocateSector", seal.AllocateSectorSpec())
            assert 0 == await code_of(caller(manager, "[::1]"), "Venus.ReportState", SECTOR, REPORT)

    async def test_anybody_reads(self, manager: Daemon) -> None:
        """Polls and questions of lists change nothing, and are nobody's in particular."""
        await caller(manager, "10.0.0.2")("Venus.AllocateSector", seal.AllocateSectorSpec())
        other = caller(manager, "10.0.0.3")
        for method in ("PollPreCommitState", "PollProofState", "FindSectorInAllStates"):
            assert 0 == await code_of(other, f"Venus.{method}", SECTOR)

    async def test_an_operator_ends_it_and_that_is_audited(self, manager: Daemon) -> None:
        """`sectors abort` is done for an address that may operate, though workers call the same method."""
        await caller(manager, "10.0.0.2")("Venus.AllocateSector", seal.AllocateSectorSpec())
        await caller(manager, "10.0.0.9")("Venus.ReportAborted", SECTOR, "aborted via CLI")
        assert "aborted via CLI" == (await state_of(manager)).sector.abort_reason
        (entry,) = await manager.call("Damocles.AuditList", control.AuditQuery(), returns=list[control.AuditEntry])
        assert ("admitted 10.0.0.9", "Venus.ReportAborted", True) == (entry.who, entry.what, entry.ok)

    async def test_a_machine_that_may_operate_seals_as_any_other(self, manager: Daemon) -> None:
        """Steps of a worker on a machine that may operate are not audited: they are in the sector's history."""
        rust = caller(manager, "10.0.0.9")
        await rust("Venus.AllocateSector", seal.AllocateSectorSpec())
        await rust("Venus.ReportState", SECTOR, REPORT)
        await rust("Venus.ReportAborted", SECTOR, "by itself")
        assert [] == await manager.call("Damocles.AuditList", control.AuditQuery(), returns=list[control.AuditEntry])

    async def test_tokens_for_workers_are_held_to_it_likewise(self, manager: Daemon) -> None:
        """A worker's token opens no sector of another machine, an operator's does."""
        await caller(manager, "10.0.0.2")("Venus.AllocateSector", seal.AllocateSectorSpec())
        worker, operator = await manager.create("w", Scope.WORKER), await manager.create("alice", Scope.OPERATE)
        elsewhere = caller(manager, "10.9.9.9", worker)
        assert errors.Code.FORBIDDEN == await code_of(elsewhere, "Venus.ReportAborted", SECTOR, "mistaken")
        assert 0 == await code_of(caller(manager, "10.9.9.9", operator), "Venus.ReportAborted", SECTOR, "meant")

    @pytest.mark.parametrize("last_known", [None, 1])
    async def test_it_cannot_be_claimed_from_elsewhere(self, manager: Daemon, last_known: int | None) -> None:
        """A claim is no way around: whoever gets the attempt may do everything."""
        await caller(manager, "10.0.0.2")("Venus.AllocateSector", seal.AllocateSectorSpec())
        params = (SECTOR, "thief", "/store", last_known, None, "id")
        assert errors.Code.STALE_ATTEMPT == await code_of(caller(manager, "10.0.0.3"), "Damocles.Claim", *params)
        assert 0 == await code_of(caller(manager, "10.0.0.2"), "Damocles.Claim", *params)


class TestOfOurs:
    async def test_a_sector_under_an_attempt_takes_no_call_without_one(self, manager: Daemon) -> None:
        """Neither the machine that has it nor another one ends it past its attempt; under it, all is as it was."""
        ours = caller(manager, "10.0.0.2")
        claimed = await ours("Damocles.Allocate", seal.AllocateSectorSpec(), "id", returns=control.Claimed)
        for host in ("10.0.0.2", "10.0.0.3"):
            with pytest.raises(
                errors.RpcError, match="is held by one of our stores under an attempt, not by admitted"
            ) as raised:
                await caller(manager, host)("Venus.ReportAborted", SECTOR, "aborted via CLI")
            assert errors.Code.FORBIDDEN == raised.value.code
        attempt = await ours("Damocles.Claim", SECTOR, "ours", "/store", claimed.attempt, None, "id")
        with pytest.raises(errors.RpcError, match="is held by ours under an attempt"):
            await caller(manager, "10.0.0.3")("Venus.ReportAborted", SECTOR, "aborted via CLI")
        await ours("Damocles.As", SECTOR, attempt, "Venus.ReportAborted", [SECTOR, "by its worker"], "id")
        assert "by its worker" == (await state_of(manager)).sector.abort_reason


class TestWindowPoSts:
    @pytest.fixture
    async def job(self, manager: Daemon) -> str:
        """A window PoSt that was lent to a worker of the original at 10.0.0.2."""
        await manager.call("Damocles.SectorsImportBatch", exports.Batch(id="x", lines=[exports.Numbered(1, PROVEN)]))
        await manager.call("Damocles.SectorsImport", exports.Import(id="x", count=1))
        await manager.call("Damocles.MockWdPoSt")
        lend = ("Venus.WdPoStAllocateJobs", wdpost.AllocateSpec(), 1, "rust")
        (lent,) = await caller(manager, "10.0.0.2")(*lend, returns=list[wdpost.Job])
        return lent.id  # type: ignore[no-any-return]

    async def test_no_other_machine_has_a_say(self, manager: Daemon, job: str) -> None:
        """An error or faults of another machine would cost the job a try, a heartbeat would keep it from others."""
        other = caller(manager, "10.0.0.3")
        for params in ([job, None, "no GPU"], [job, wdpost.Output(None, [1]), ""]):
            with pytest.raises(errors.RpcError, match=r"^key not found$"):
                await other("Venus.WdPoStFinishJob", *params)
        with pytest.raises(errors.RpcError, match=r"^key not found$"):
            await other("Venus.WdPoStHeartbeatJobs", [job], "rust")
        (listed,) = (await manager.call("Venus.WdPoStAllJobs", returns=wdpost.Listed)).jobs
        assert ("running", 1) == (listed.state, listed.tries)

    async def test_its_own_machine_and_an_operator_do(self, manager: Daemon, job: str) -> None:
        """The machine that has the job may say that it cannot be proved, and so may an operator."""
        await caller(manager, "10.0.0.2")("Venus.WdPoStHeartbeatJobs", [job], "rust")
        await caller(manager, "10.0.0.9")("Venus.WdPoStFinishJob", job, None, "by hand")
        await caller(manager, "10.0.0.2")("Venus.WdPoStFinishJob", job, None, "no GPU")


class TestImported:
    @pytest.fixture
    async def imported(self, manager: Daemon) -> None:
        """A sector in work that came from the original's manager: nobody knows where its worker is."""
        kept = exports.Kept(format=1, state="online", sector=records.SectorState.fresh(SECTOR, 5))
        await manager.call("Damocles.SectorsImportBatch", exports.Batch(id="x", lines=[exports.Numbered(1, kept)]))
        await manager.call("Damocles.SectorsImport", exports.Import(id="x", count=1))

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("ReportAborted", [SECTOR, "x"]),
            ("ReportFinalized", [SECTOR]),
            ("SubmitPreCommit", [ALLOCATED, CONTENT, True]),
        ],
    )
    async def test_it_is_not_ended_by_the_first_who_comes(
        self, manager: Daemon, imported: None, method: str, params: list[Any]
    ) -> None:
        """What ends it, or replaces what was submitted, comes from the one that reports it, or from an operator."""
        with pytest.raises(errors.RpcError, match="nobody has reported s-t010000-1 to this manager yet"):
            await caller(manager, "10.0.0.3")(f"Venus.{method}", *params)
        await caller(manager, "10.0.0.2")("Venus.ReportState", SECTOR, REPORT)
        assert errors.Code.FORBIDDEN == await code_of(caller(manager, "10.0.0.3"), f"Venus.{method}", *params)
        assert errors.Code.FORBIDDEN != await code_of(caller(manager, "10.0.0.2"), f"Venus.{method}", *params)

    async def test_the_first_to_work_on_it_has_it(self, manager: Daemon, imported: None) -> None:
        """Its worker goes on where it was, and is the only one from then on."""
        await caller(manager, "10.0.0.2")("Venus.StoreReserveSpace", SECTOR, 2048, [])
        other = await code_of(caller(manager, "10.0.0.3"), "Venus.ReportState", SECTOR, REPORT)
        assert errors.Code.FORBIDDEN == other
        await caller(manager, "10.0.0.2")("Venus.ReportState", SECTOR, REPORT)
