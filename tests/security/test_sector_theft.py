"""A sector belongs to the store that it was handed out to: with another worker's token, or the same, nobody gets it."""

import dataclasses
from typing import Any

import msgspec
import pytest
import structlog.testing
from tests.integration.access.conftest import Daemon, StartManager
from tests.integration.access.test_holders import ALLOCATED, CONTENT, REPORT, STEPS

from damocles.manager.callers import holders
from damocles.methods import rules
from damocles.rpc import errors, limits
from damocles.rpc.admission import access
from damocles.wire import control, seal

from .callers import OTHER, SECTOR, Caller, admin, allocated, bound, kept, shared

STORE = "9f0c3f62-0a51-4b9e-93ac-000000000001"  # identity of the store that has the sector, which nobody else knows
INVALID, FORBIDDEN, STALE = errors.Code.INVALID_PARAMS, errors.Code.FORBIDDEN, errors.Code.STALE_ATTEMPT
MINE = msgspec.structs.replace(REPORT, worker=seal.WorkerIdentifier("gpu1", "/store"))
ENDS: list[tuple[str, list[Any]]] = [
    ("Venus.ReportFinalized", [SECTOR]),
    ("Venus.ReportAborted", [SECTOR, "mine"]),
    ("Venus.AssignTicket", [SECTOR]),
    ("Venus.ReportState", [SECTOR, REPORT]),
    ("Venus.SubmitPreCommit", [ALLOCATED, CONTENT, True]),
]


async def pair(manager: Daemon, kind: str) -> tuple[Caller, Caller]:
    """Return the worker that gets the sector, and a thief: each with a token of its own, or with the one of all."""
    if kind == "shared":
        return shared(manager), shared(manager)
    return await bound(manager, "gpu1"), await bound(manager, "evil")


@pytest.mark.parametrize("kind", ["bound", "shared"])
class TestThief:
    async def test_a_claim_is_refused_at_the_first_try(self, start_manager: StartManager, kind: str) -> None:
        """From the moment of its allocation, before it was claimed by anybody, whatever number is guessed."""
        async with start_manager() as manager:
            ours, thief = await pair(manager, kind)
            attempt = (await allocated(ours, STORE)).attempt
            before = await kept(manager)
            assert 0 != await thief.code("Damocles.Claim", SECTOR, "evil", "/evil", None, None)
            for last_known in (None, 0, 1, 2, 10**6):
                params = (SECTOR, "evil", "/evil", last_known, None)
                assert STALE == await thief.code("Damocles.Claim", *params, "evil store")
                assert STALE == await thief.code("Damocles.Claim", *params, holders.of_store(STORE))
            if kind == "shared":
                assert STALE == await thief.code("Damocles.Claim", SECTOR, "gpu1", "/store", 1, None, "evil store")
            assert before == await kept(manager)
            await ours("Damocles.As", SECTOR, attempt, "Venus.ReportState", [SECTOR, MINE], STORE)

    @pytest.mark.parametrize("claims", [0, 2])
    async def test_no_call_goes_under_a_guessed_attempt(
        self, start_manager: StartManager, kind: str, claims: int
    ) -> None:
        """The number of the attempt is no key: it is small, and stands in lists."""
        async with start_manager() as manager:
            ours, thief = await pair(manager, kind)
            attempt = (await allocated(ours, STORE)).attempt
            for _ in range(claims):
                attempt = await ours("Damocles.Claim", SECTOR, "gpu1", "/store", attempt, None, STORE)
            before = await kept(manager)
            for method, params in ENDS:
                assert FORBIDDEN == await thief.code(method, *params)
                for guess in (0, 1, 2, 3, 4, 999):
                    assert 0 != await thief.code("Damocles.As", SECTOR, guess, method, params)
                    assert STALE == await thief.code("Damocles.As", SECTOR, guess, method, params, "evil store")
            assert before == await kept(manager)
            await ours("Damocles.As", SECTOR, attempt, "Venus.ReportState", [SECTOR, MINE], STORE)

    async def test_the_key_is_told_to_nobody(self, start_manager: StartManager, kind: str) -> None:
        """Neither refusals nor lists, exports, histories and logs have the identity of a store."""
        async with start_manager() as manager:
            ours, thief = await pair(manager, kind)
            with structlog.testing.capture_logs() as logs:
                attempt = (await allocated(ours, STORE)).attempt
                said = [await thief.refusal("Venus.ReportAborted", SECTOR, "x")]
                attempt = await ours("Damocles.Claim", SECTOR, "gpu1", "/store", attempt, None, STORE)
                await ours("Damocles.As", SECTOR, attempt, "Venus.AssignTicket", [SECTOR], STORE)
                said += [await thief.refusal("Venus.ReportAborted", SECTOR, "x")]
                said += [await thief.refusal("Damocles.Claim", SECTOR, "evil", "/e", 1, None, "x")]
                said += [await thief.refusal("Damocles.As", SECTOR, attempt, "Venus.AssignTicket", [SECTOR], "x")]
            told = [await admin(manager)("Venus.ListSectors", state, 0) for state in ("online", "offline")]
            told += [await admin(manager)("Damocles.SectorHistory", str(SECTOR))]
            assert STORE not in f"{said} {logs} {told} {await kept(manager)}"


class TestHolder:
    async def test_an_attempt_is_good_for_its_own_sector(self, start_manager: StartManager) -> None:
        """Whoever has one sector cannot take a step with another one under its attempt."""
        async with start_manager(admit=access.admitted(["10.0.0.2=worker"], frozenset())) as manager:
            ours = await bound(manager, "evil")
            attempt = (await allocated(ours, "evil store")).attempt
            await Caller(manager, peer="10.0.0.2:1")("Venus.AllocateSector", seal.AllocateSectorSpec())
            before = await kept(manager)
            for method, params in STEPS:
                other = [seal.AllocatedSector(OTHER, 5) if params[0] == ALLOCATED else OTHER, *params[1:]]
                as_ours = ("Damocles.As", SECTOR, attempt, f"Venus.{method}", other, "evil store")
                assert INVALID == await ours.code(*as_ours), method
                assert STALE == await ours.code("Damocles.As", OTHER, 1, f"Venus.{method}", other, "evil store"), method
            assert before == await kept(manager)

    async def test_an_attempt_is_the_present_one(self, start_manager: StartManager) -> None:
        """Neither an older number nor one that was never given out will do, though it is the store that has the sector."""
        async with start_manager() as manager:
            ours = await bound(manager, "gpu1")
            first = (await allocated(ours, STORE)).attempt
            present = await ours("Damocles.Claim", SECTOR, "gpu1", "/store", first, None, STORE)
            ticket = ("Venus.AssignTicket", [SECTOR], STORE)
            for attempt, why in ((first, f"is over: attempt {present} belongs to gpu1"), (999, "was never issued")):
                refusal = await ours.refusal("Damocles.As", SECTOR, attempt, *ticket)
                assert refusal is not None
                assert STALE == refusal.code
                assert why in refusal.message
            await ours("Damocles.As", SECTOR, present, *ticket)

    async def test_calls_under_an_attempt_reach_no_other_method(self, start_manager: StartManager) -> None:
        """What is not about the sector, or not for workers, is refused there too, and nothing happens."""
        async with start_manager() as manager:
            ours = await bound(manager, "gpu1")
            attempt = (await allocated(ours, STORE)).attempt
            before = await kept(manager)
            for method, params, code in (
                ("Damocles.AuthCreate", ["mine", "admin"], FORBIDDEN),
                ("Venus.RemoveSector", [SECTOR], FORBIDDEN),
                ("Venus.WorkerPingInfoRemove", ["gpu1"], FORBIDDEN),
                ("Damocles.SectorAbort", [SECTOR], FORBIDDEN),
                ("Damocles.As", [SECTOR, attempt, "Venus.AssignTicket", [SECTOR], STORE], INVALID),
                ("Damocles.Claim", [SECTOR, "gpu1", "/", 1, None, STORE], INVALID),
                ("Venus.AllocateSector", [{}], INVALID),
                ("Venus.WorkerPing", [{"Name": "gpu2", "Dest": "127.0.0.1:1"}], INVALID),
                ("Venus.Nothing", [SECTOR], errors.Code.METHOD_NOT_FOUND),
            ):
                assert code == await ours.code("Damocles.As", SECTOR, attempt, method, params, STORE), method
            assert before == await kept(manager)
            assert [] == await admin(manager)("Venus.WorkerPingInfoList")

    async def test_a_store_that_was_moved_goes_on_with_another_worker_s_token(
        self, start_manager: StartManager
    ) -> None:
        """The key is in the store: with it, and the last attempt, a sector goes where its store goes, and not back."""
        async with start_manager() as manager:
            first, second = await bound(manager, "gpu1"), await bound(manager, "gpu2")
            known = (await allocated(first, STORE)).attempt
            moved = await second("Damocles.Claim", SECTOR, "gpu2", "/moved", known, None, STORE)
            ticket = ("Venus.AssignTicket", [SECTOR], STORE)
            assert STALE == await first.code("Damocles.As", SECTOR, known, *ticket)
            assert STALE == await first.code("Damocles.As", SECTOR, moved, *ticket)
            assert STALE == await first.code("Damocles.Claim", SECTOR, "gpu1", "/store", known, None, STORE)
            await second("Damocles.As", SECTOR, moved, *ticket)

    async def test_a_sector_of_nobody_is_the_first_store_s_that_claims_it(self, start_manager: StartManager) -> None:
        """One that was brought back by an operator is handed to a store by its first claim."""
        async with start_manager() as manager:
            ours, thief = await pair(manager, "bound")
            attempt = (await allocated(ours, STORE)).attempt
            await ours("Damocles.As", SECTOR, attempt, "Venus.ReportAborted", [SECTOR, "x"], STORE)
            await admin(manager)("Venus.RestoreSector", SECTOR, False)
            attempt = await ours("Damocles.Claim", SECTOR, "gpu1", "/store", None, None, STORE)
            for last_known in (None, attempt):
                params = (SECTOR, "evil", "/evil", last_known, None, "evil store")
                assert STALE == await thief.code("Damocles.Claim", *params)


class TestEnds:
    async def test_a_sector_without_a_proof_is_not_finished(self, start_manager: StartManager) -> None:
        """Not even by the worker that has it: it would be a sector without value, in no list of what is at work."""
        async with start_manager() as manager:
            ours = await bound(manager, "gpu1")
            attempt = (await allocated(ours, STORE)).attempt
            refusal = await ours.refusal("Damocles.As", SECTOR, attempt, "Venus.ReportFinalized", [SECTOR], STORE)
            assert refusal is not None
            assert f"{SECTOR} is not proven on the chain: it cannot be finished, but aborted" == refusal.message
            assert ["online"] == [one.state for one in await kept(manager)]

    async def test_what_is_over_is_told_of_by_whoever_had_it(self, start_manager: StartManager) -> None:
        """A late report of another machine does not get into the history of a sector that is over."""
        admit = access.admitted(["10.0.0.0/24"], frozenset({rules.Scope.WORKER, rules.Scope.READ}))
        async with start_manager(admit=admit) as manager:
            rust, other = Caller(manager, peer="10.0.0.2:1"), Caller(manager, peer="10.0.0.3:1")
            await rust("Venus.AllocateSector", seal.AllocateSectorSpec())
            await rust("Venus.ReportAborted", SECTOR, "x")
            assert FORBIDDEN == await other.code("Venus.ReportState", SECTOR, REPORT)
            assert (await rust("Venus.ReportState", SECTOR, REPORT))["Finalized"]
            history = await admin(manager)("Damocles.SectorHistory", str(SECTOR), returns=control.SectorHistory)
            assert {"admitted 10.0.0.2"} == {entry.by for entry in history.entries}

    async def test_one_worker_is_given_only_so_many_sectors(
        self, start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Under made-up stores a token cannot take all numbers; others go on, and aborted ones make room."""
        monkeypatch.setattr(limits, "SECTORS_OF_A_WORKER", 5)
        async with start_manager() as manager:
            ours, thief = await pair(manager, "bound")
            for number in range(5):
                await allocated(thief, f"evil {number}")
            refusal = await thief.refusal("Damocles.Allocate", seal.AllocateSectorSpec(), "evil 6")
            assert refusal is not None
            assert "5 sectors are at work that evil was given, and it gets no more" in refusal.message
            await allocated(ours, STORE)
            await admin(manager)("Damocles.SectorAbort", SECTOR, "of nobody")
            await allocated(thief, "evil 6")

    async def test_nobody_reserves_more_than_a_sector_can_have(self, start_manager: StartManager) -> None:
        """A reservation that would fill every store is none."""
        async with start_manager() as manager:
            ours = await bound(manager, "gpu1")
            attempt = (await allocated(ours, STORE)).attempt

            async def reserve(size_bytes: int) -> Any:
                params = [SECTOR, size_bytes, ["persist"]]
                return await ours("Damocles.As", SECTOR, attempt, "Venus.StoreReserveSpace", params, STORE)

            assert None is await reserve(2**62)
            assert None is await reserve(2**63)
            assert "persist" == (await reserve(3 * 2048))["Name"]


class TestAttribution:
    async def test_log_and_history_have_token_and_address(self, start_manager: StartManager) -> None:
        """Each change of a worker is attributed to what the manager knows, and not to the name that the caller gives."""
        async with start_manager() as manager:
            ours = dataclasses.replace(await bound(manager, "gpu1", "token of gpu1"), peer="10.0.0.7:4711")
            with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
                attempt = (await allocated(ours, STORE)).attempt
                attempt = await ours("Damocles.Claim", SECTOR, "gpu1", "/store", attempt, None, STORE)
                for method, params in (
                    ("AssignTicket", [SECTOR]),
                    ("AssignTicket", [SECTOR]),
                    ("StoreReserveSpace", [SECTOR, 2048, ["persist"]]),
                    ("SubmitPersistedEx", [SECTOR, "persist", False]),
                    ("ReportState", [SECTOR, MINE]),
                    ("ReportAborted", [SECTOR, "x"]),
                ):
                    await ours("Damocles.As", SECTOR, attempt, f"Venus.{method}", params, STORE)
            told = [entry["event"] for entry in logs]
            assert {"sector allocated", "sector claimed", "space reserved", "sector persisted", "sector aborted"} <= {
                *told
            }
            assert {("token of gpu1", "10.0.0.7:4711")} == {(entry["by"], entry["peer"]) for entry in logs}
            history = await admin(manager)("Damocles.SectorHistory", str(SECTOR), returns=control.SectorHistory)
            assert {"token of gpu1 at 10.0.0.7"} == {entry.by for entry in history.entries}
            assert [
                *("Claim", "AssignTicket", "StoreReserveSpace", "SubmitPersistedEx", MINE.state_change.event),
                "ReportAborted",
            ] == [entry.event for entry in history.entries]
