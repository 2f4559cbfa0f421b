"""The manager as a worker sees it: its SealerAPI, with errors as failure levels.

Error code 11001 (no such sector in progress) aborts the sector if the manager's record of it is closed. If it has no record
at all, it may be the wrong manager or have lost its database, and an operator has to look, where the original aborts.
Everything else is worth another try, and while the manager cannot be reached, any number of them.
"""

import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import UnionType
from typing import Any, Protocol, TypeVar, overload

import msgspec
import structlog

from damocles import failpoints
from damocles.rpc import errors, messages
from damocles.sealing import failures
from damocles.wire import codec, control, fleet, records, seal, sectors, wdpost

T = TypeVar("T")

_NEEDS_PROVER = ": the original's does if it was started with --worker-prover"
_NO_RECORD = "key not found"  # all that managers say of a sector, or of a window PoSt, that is not there
Given = TypeVar("Given", seal.AllocatedSnapUpSector, seal.SectorRebuildInfo, seal.SectorUnsealInfo)

log = structlog.get_logger(__name__)


class Caller(Protocol):
    """Whatever sends a JSON-RPC request and decodes the result; raises `errors.CallError`."""

    @overload
    async def call(self, method: str, params: messages.Params, *, returns: None) -> None: ...
    @overload
    async def call(self, method: str, params: messages.Params, *, returns: type[T]) -> T: ...
    @overload
    async def call(self, method: str, params: messages.Params, *, returns: UnionType) -> Any: ...


# Hears of every call: the method's name without its namespace, the seconds it took, and whether there was no result.
Observe = Callable[[str, float, bool], None]

# Hears which call of its task has no answer yet, and None when it has one: what hangs must be shown while it does.
CALLING: ContextVar[Callable[[str | None], None]] = ContextVar("CALLING", default=lambda _: None)


def _shown(method: str, params: Sequence[Any]) -> str:
    return (params[2] if method == "Damocles.As" else method).removeprefix("Venus.")


def _no_answer(method: str, error: errors.CallError) -> failures.Temporary:
    """Return the failure of a call that the manager did not answer."""
    away = isinstance(error, errors.Unreachable | errors.Disconnected | errors.TimedOut)
    # A certificate that is not accepted, or a stranger's answer, is for a person to mend.
    kind = failures.Away if away and not isinstance(error, errors.Untrusted) else failures.Temporary
    return kind(f"rpc error: {method}: {error}")


def _disk_fails(method: str, error: errors.RpcError) -> failures.Away:
    """Return the failure of a call that the manager can keep nothing of now: as good as away, and pausing nobody."""
    return failures.Away(f"rpc error: {method}: the manager's disk fails: {error.message}")


def _given(method: str, given: msgspec.Raw, kind: type[Given]) -> Given:
    """Read the work that was handed out; what cannot be done is refused here, before anything of it is kept."""
    try:
        return codec.decode(given, kind)
    except msgspec.MsgspecError as error:
        raise failures.Temporary(
            f"rpc error: {method}: the manager handed out something that is not work: {error}"
        ) from error


class Manager:
    """Calls to `Venus.*`, under the attempt that this sealing thread has claimed for a sector.

    The original's manager knows no attempts: there the calls go as they are.
    """

    def __init__(self, caller: Caller, observe: Observe | None = None) -> None:
        self._caller = caller
        self._observe = observe
        self._attempts: dict[sectors.SectorID, int | None] = {}
        self._knows_claims = True
        self._unclaimed = "it was not asked"  # why there is no attempt
        self._store = ""  # without one no attempt is claimed

    def for_one_thread(self) -> "Manager":
        """Return the same without attempts: another thread of this worker may have the sector at another time."""
        return Manager(self._caller, self._observe)

    async def _call(self, method: str, *params: Any, returns: Any = None) -> Any:
        sector = seal.sector_in(params)
        if sector is None or sector not in self._attempts:
            return await self._send(f"Venus.{method}", list(params), returns)
        attempt = self._attempts[sector]
        if attempt is None:
            msg = f"{method}: the manager has not confirmed yet that {sector} is ours: {self._unclaimed}"
            raise failures.Away(msg)
        try:
            return await self._send(
                "Damocles.As", [sector, attempt, f"Venus.{method}", list(params), self._store], returns
            )
        except errors.RpcError:
            # Another manager has taken the place of the one that gave the attempt.
            self._knows_claims = False
            del self._attempts[sector]
        return await self._call(method, *params, returns=returns)

    async def _send(self, method: str, params: list[Any], returns: Any) -> Any:
        """Make a call and turn what goes wrong into a failure.

        Raises:
            errors.RpcError: The manager does not know this method of ours.
            failures.Failure: Anything else.
        """
        try:
            return await self._observed(method, params, returns)
        except errors.RpcError as error:
            shown = _shown(method, params)
            match error.code:
                case errors.Code.SECTOR_STATE_NOT_FOUND:
                    raise await self._missing(seal.sector_in(params), f"{shown}: {error.message}") from error
                case errors.Code.STALE_ATTEMPT:
                    raise failures.Stale(error.message) from error
                case errors.Code.DISK_FAILS:
                    raise _disk_fails(shown, error) from error
                case errors.Code.METHOD_NOT_FOUND if method.startswith("Damocles.") and "Venus." not in error.message:
                    raise
                case errors.Code.METHOD_NOT_FOUND:
                    hint = _NEEDS_PROVER if shown.startswith("WdPoSt") else ""
                    raise failures.NotServed(f"the manager does not serve {shown}{hint} ({error.message})") from error
                case _:
                    msg = f"rpc error: {shown}: {error.message}"
                    raise failures.Temporary(msg) from error

    async def _observed(self, method: str, params: list[Any], returns: Any) -> Any:
        """Make a call, show it while it has no answer, and measure it.

        Raises:
            errors.RpcError: The manager's own words.
            failures.Temporary: There is no answer.
        """
        shown = _shown(method, params)
        began, failed = time.monotonic(), True
        name, tell = shown.removeprefix("Damocles."), CALLING.get()
        tell(name)
        try:
            failpoints.reach(f"rpc.before:{shown}")
            result = await self._caller.call(method, params, returns=returns)
            failpoints.reach(f"rpc.after:{shown}")
        except errors.RpcError:
            raise
        except errors.CallError as error:
            failure = _no_answer(shown, error)
            if isinstance(failure, failures.Away):
                self._knows_claims = True  # perhaps: what comes back may be another manager
            raise failure from error
        else:
            failed = False
            return result
        finally:
            tell(None)
            if self._observe is not None:
                self._observe(name, time.monotonic() - began, failed)

    async def _missing(self, sector: sectors.SectorID | None, error: str) -> failures.Failure:
        """Return the failure for a sector that the manager does not have in progress."""
        known = await self.known(sector) if sector is not None else None
        if known is not None and known.finalized:
            return failures.Abort(f"the manager's record of this sector is closed ({error})")
        return failures.Unknown(
            f"the manager does not know this sector ({error}): is it the right one, with its database? Everything stays"
            " here; abort the sector if it is to be given up"
        )

    def works_in(self, store: str) -> None:
        """Take the identity of the thread's sealing store: the key to its sectors, shown under each attempt."""
        self._store = store

    def hold(self, sector: sectors.SectorID, attempt: int | None) -> None:
        """Make calls for a sector under this attempt, or none at all until one is claimed."""
        self._attempts[sector] = attempt

    async def claim(
        self,
        sector: sectors.SectorID,
        worker: str,
        location: str,
        *,
        last_known: int | None,
        ticket: seal.Ticket | None,
    ) -> int | None:
        """Take up a sector that was found in a journal; `None` from a manager that knows no attempts.

        The manager grants it to the store that was given the sector: to the worker that has it already, and to one whose
        journal is up to date (`last_known`, `ticket`). So a store can be moved, and one that was left behind is refused as
        `failures.Stale`.
        """
        if self._knows_claims:
            self._unclaimed = "it does not answer"
            try:
                params = [sector, worker, location, last_known, ticket, self._store]
                attempt = await self._send("Damocles.Claim", params, int)
            except errors.RpcError:
                self._knows_claims = False
            except failures.Failure as failure:
                self._unclaimed = str(failure)
                raise
            else:
                self._attempts[sector] = attempt
                return int(attempt)
        self._attempts.pop(sector, None)
        return None

    async def allocate_sector(
        self, spec: seal.AllocateSectorSpec, store: str
    ) -> tuple[seal.AllocatedSector, int | None] | None:
        """Ask for a sector to seal in the store with this identity, and the attempt to work under.

        Asked again, because an answer was lost, the manager gives the same sector.
        """
        if self._knows_claims:
            try:
                claimed = await self._send("Damocles.Allocate", [spec, store], control.Claimed | None)
            except errors.RpcError:
                self._knows_claims = False
            else:
                return (claimed.allocated, claimed.attempt) if claimed is not None else None
        allocated = await self._call("AllocateSector", spec, returns=seal.AllocatedSector | None)
        return (allocated, None) if allocated is not None else None

    async def acquire_deals(
        self, sector: sectors.SectorID, spec: seal.AcquireDealsSpec
    ) -> list[seal.SectorPiece] | None:
        """Ask for deals to put into the sector."""
        return await self._call("AcquireDeals", sector, spec, returns=list[seal.SectorPiece] | None)  # type: ignore[no-any-return]

    async def why_none(self, what: str, *params: Any) -> str:
        """Ask why there was none of something (`Deals`, `Upgrade`); empty from a manager that gives no reason."""
        if not self._knows_claims:
            return ""
        try:
            return await self._send(f"Damocles.WhyNo{what}", [*params], str)  # type: ignore[no-any-return]
        except (errors.RpcError, failures.Failure):
            return ""  # of another release, or away: it is asked again when the next question comes to nothing

    async def assign_ticket(self, sector: sectors.SectorID) -> seal.Ticket:
        """Fetch a fresh ticket."""
        return await self._call("AssignTicket", sector, returns=seal.Ticket)  # type: ignore[no-any-return]

    async def submit_pre_commit(
        self, allocated: seal.AllocatedSector, content: seal.PreCommit, *, reset: bool
    ) -> seal.Submitted:
        """Hand in the pre-commit; `reset` replaces an earlier one."""
        return await self._call("SubmitPreCommit", allocated, content, reset, returns=seal.Submitted)  # type: ignore[no-any-return]

    async def poll_pre_commit(self, sector: sectors.SectorID) -> seal.Polled:
        """Ask how far the pre-commit is."""
        return await self._call("PollPreCommitState", sector, returns=seal.Polled)  # type: ignore[no-any-return]

    async def submit_persisted(self, sector: sectors.SectorID, instance: str, *, is_upgrade: bool) -> bool:
        """Report where the files are; false if the manager does not find them there."""
        return await self._call("SubmitPersistedEx", sector, instance, is_upgrade, returns=bool)  # type: ignore[no-any-return]

    async def wait_seed(self, sector: sectors.SectorID, proof: int) -> seal.WaitSeedResp:
        """Ask for the seed."""
        return await self._call("WaitSeed", sector, proof, returns=seal.WaitSeedResp)  # type: ignore[no-any-return]

    async def submit_proof(self, sector: sectors.SectorID, proof: seal.Proof, *, reset: bool) -> seal.Submitted:
        """Hand in the proof; `reset` replaces an earlier one."""
        return await self._call("SubmitProof", sector, proof, reset, returns=seal.Submitted)  # type: ignore[no-any-return]

    async def poll_proof(self, sector: sectors.SectorID) -> seal.Polled:
        """Ask how far the proof is."""
        return await self._call("PollProofState", sector, returns=seal.Polled)  # type: ignore[no-any-return]

    async def report_state(self, sector: sectors.SectorID, report: seal.ReportStateReq) -> seal.SectorStateResp:
        """Report the state of the sector."""
        return await self._call("ReportState", sector, report, returns=seal.SectorStateResp)  # type: ignore[no-any-return]

    async def report_finalized(self, sector: sectors.SectorID) -> None:
        """Report that nothing is left to do."""
        await self._call("ReportFinalized", sector)

    async def report_aborted(self, sector: sectors.SectorID, reason: str) -> None:
        """Report that the sector is aborted."""
        await self._call("ReportAborted", sector, reason)

    async def known(self, sector: sectors.SectorID) -> records.KnownSector | None:
        """Return the manager's record of a sector; null if it has none, or does not serve this method."""
        try:
            return await self._observed("Venus.FindSectorInAllStates", [sector], records.KnownSector | None)  # type: ignore[no-any-return]
        except errors.RpcError as error:
            if error.code == errors.Code.DISK_FAILS:
                raise _disk_fails("FindSectorInAllStates", error) from error
            if _NO_RECORD not in error.message and error.code != errors.Code.METHOD_NOT_FOUND:
                msg = f"rpc error: FindSectorInAllStates: {error.message}"
                raise failures.Temporary(msg) from error
            log.warning("the manager does not report its record", sector=str(sector), error=error.message)
            return None

    async def _allocate(self, method: str, spec: Any, store: str, kind: type[Given]) -> tuple[Given, int | None] | None:
        """Ask for work on a proven sector, and for the attempt to work under, as `allocate_sector` does."""
        if self._knows_claims:
            try:
                handed = await self._send(f"Damocles.{method}", [spec, store], control.Handed | None)
            except errors.RpcError:
                self._knows_claims = False
            else:
                return (_given(method, handed.given, kind), handed.attempt) if handed is not None else None
        given = await self._call(method, spec, returns=kind | None)
        return (given, None) if given is not None else None

    async def allocate_snapup(
        self, spec: seal.AllocateSnapUpSpec, store: str
    ) -> tuple[seal.AllocatedSnapUpSector, int | None] | None:
        """Ask for a sector to upgrade; the spelling of the method is the original's."""
        return await self._allocate("AllocateSanpUpSector", spec, store, seal.AllocatedSnapUpSector)

    async def submit_snapup(self, sector: sectors.SectorID, content: seal.SnapUpProof) -> seal.Submitted:
        """Hand in the proof of an upgrade. The original's manager calls the same proof again a duplicate by an error."""
        try:
            return await self._call("SubmitSnapUpProof", sector, content, returns=seal.Submitted)  # type: ignore[no-any-return]
        except failures.Temporary as failure:
            if "duplicate commit job" not in str(failure):
                raise
            return seal.Submitted(seal.SubmitResult.DUPLICATE, str(failure))

    async def allocate_rebuild(
        self, spec: seal.AllocateSectorSpec, store: str
    ) -> tuple[seal.SectorRebuildInfo, int | None] | None:
        """Ask for a sector whose files have to be made again."""
        return await self._allocate("AllocateRebuildSector", spec, store, seal.SectorRebuildInfo)

    async def allocate_unseal(
        self, spec: seal.AllocateSectorSpec, store: str
    ) -> tuple[seal.SectorUnsealInfo, int | None] | None:
        """Ask for a piece to get out of a sector."""
        return await self._allocate("AllocateUnsealSector", spec, store, seal.SectorUnsealInfo)

    async def unseal_destinations(self, sector: sectors.SectorID, piece: codec.CID) -> list[str]:
        """Ask where a piece has to go; the URLs may hold secrets."""
        return await self._call("AcquireUnsealDest", sector, piece, returns=list[str] | None) or []

    async def achieve_unseal(self, sector: sectors.SectorID, piece: codec.CID, error: str = "") -> None:
        """Report that a piece is at its destination, or why it never will be. A task that is gone needs no report."""
        try:
            await self._call("AchieveUnsealSector", sector, piece, error)
        except failures.Temporary as failure:
            if "task not found" not in str(failure):
                raise
            log.warning("the manager no longer waits for this piece", sector=str(sector), piece=piece)

    async def reserve_space(
        self, sector: sectors.SectorID, size_bytes: int, candidates: list[str]
    ) -> seal.StoreBasicInfo | None:
        """Reserve space in one of the candidate stores; null if none has room."""
        return await self._call("StoreReserveSpace", sector, size_bytes, candidates, returns=seal.StoreBasicInfo | None)  # type: ignore[no-any-return]

    async def store_info(self, name: str) -> seal.StoreBasicInfo | None:
        """Ask whether the manager knows a store."""
        return await self._call("StoreBasicInfo", name, returns=seal.StoreBasicInfo | None)  # type: ignore[no-any-return]

    async def allocate_posts(self, spec: wdpost.AllocateSpec, count: int, worker: str) -> list[wdpost.Job]:
        """Ask for window PoSts to prove."""
        return await self._call("WdPoStAllocateJobs", spec, count, worker, returns=list[wdpost.Job] | None) or []

    async def heartbeat_post(self, job: str, worker: str) -> bool:
        """Send a heartbeat for a window PoSt; false if it is no longer ours."""
        return await self._is_known("WdPoStHeartbeatJobs", [job], worker)

    async def finish_post(self, job: str, output: wdpost.Output | None) -> bool:
        """Hand in a window PoSt; false if the manager does not know it any more."""
        return await self._is_known("WdPoStFinishJob", job, output, "")

    async def fail_post(self, job: str, worker: str, error: str) -> bool:
        """Report why there is no window PoSt; false if it is no longer ours.

        A proof is valid whoever sends it, and faults carry the name of their reporter. An error does not: from a worker that
        lost the job it would cost the present one its try. So a heartbeat asks first whose the job is.
        """
        return await self.heartbeat_post(job, worker) and await self._is_known("WdPoStFinishJob", job, None, error)

    async def _is_known(self, method: str, *params: Any) -> bool:
        try:
            await self._call(method, *params)
        except failures.Temporary as failure:
            if _NO_RECORD in str(failure):
                return False
            raise
        return True

    async def ping(self, info: fleet.WorkerInfo) -> None:
        """Send a ping."""
        await self._call("WorkerPing", info)
