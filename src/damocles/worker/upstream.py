"""The manager as a worker sees it: its SealerAPI, with errors as failure levels.

Error code 11001 (no such sector in progress) aborts the sector if the manager's record of it is closed. If it has no record
at all, it may be the wrong manager or have lost its database, and an operator has to look, where the original aborts.
Everything else is worth another try, and while the manager cannot be reached, any number of them.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol, TypeVar

import msgspec
import structlog

from damocles import failpoints, methods
from damocles.methods import Ask
from damocles.rpc import errors
from damocles.sealing import failures
from damocles.wire import codec, control, records, seal, sectors, wdpost

T = TypeVar("T")

_NEEDS_PROVER = ": the original's does if it was started with --worker-prover"
_NO_RECORD = "key not found"  # all that managers say of a sector, or of a window PoSt, that is not there
Given = TypeVar("Given", seal.AllocatedSnapUpSector, seal.SectorRebuildInfo, seal.SectorUnsealInfo)

log = structlog.get_logger(__name__)


class Caller(Protocol):
    """Whatever makes a call and decodes its result; raises `errors.CallError`."""

    async def call(self, ask: Ask[T], /) -> T:
        """Make a call."""


# Hears of every call: the method's name without its namespace, the seconds it took, and whether there was no result.
Observe = Callable[[str, float, bool], None]

# Hears which call of its task has no answer yet, and None when it has one: what hangs must be shown while it does.
CALLING: ContextVar[Callable[[str | None], None]] = ContextVar("CALLING", default=lambda _: None)


def _under(ask: Ask[T], sector: sectors.SectorID, attempt: int, store: str) -> Ask[T]:
    """Return a call as it is made under an attempt."""
    return Ask(methods.claims.call_as.name, [sector, attempt, ask.method, list(ask.params), store], ask.returns)


def _shown(ask: Ask[T]) -> str:
    method = ask.params[2] if ask.method == methods.claims.call_as.name else ask.method
    return str(method).removeprefix("Venus.")


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

    async def call(self, ask: Ask[T]) -> T:
        """Make a call, under the attempt at the sector that it is about.

        Raises:
            failures.Failure: There is no result; what it is decides what becomes of the sector.
        """
        sector = seal.sector_in(ask.params)
        if sector is None or sector not in self._attempts:
            return await self._send(ask)
        attempt = self._attempts[sector]
        if attempt is None:
            raise failures.Away(
                f"{_shown(ask)}: the manager has not confirmed yet that {sector} is ours: {self._unclaimed}"
            )
        try:
            return await self._send(_under(ask, sector, attempt, self._store))
        except errors.RpcError:
            # Another manager has taken the place of the one that gave the attempt.
            self._knows_claims = False
            del self._attempts[sector]
        return await self.call(ask)

    async def _send(self, ask: Ask[T]) -> T:
        """Make a call and turn what goes wrong into a failure.

        Raises:
            errors.RpcError: The manager does not know this method of ours.
            failures.Failure: Anything else.
        """
        try:
            return await self._observed(ask)
        except errors.RpcError as error:
            shown = _shown(ask)
            match error.code:
                case errors.Code.SECTOR_STATE_NOT_FOUND:
                    raise await self._missing(seal.sector_in(ask.params), f"{shown}: {error.message}") from error
                case errors.Code.STALE_ATTEMPT:
                    raise failures.Stale(error.message) from error
                case errors.Code.DISK_FAILS:
                    raise _disk_fails(shown, error) from error
                case errors.Code.METHOD_NOT_FOUND if ask.is_ours and "Venus." not in error.message:
                    raise
                case errors.Code.METHOD_NOT_FOUND:
                    hint = _NEEDS_PROVER if shown.startswith("WdPoSt") else ""
                    raise failures.NotServed(f"the manager does not serve {shown}{hint} ({error.message})") from error
                case _:
                    raise failures.Temporary(f"rpc error: {shown}: {error.message}") from error

    async def _observed(self, ask: Ask[T]) -> T:
        """Make a call, show it while it has no answer, and measure it.

        Raises:
            errors.RpcError: The manager's own words.
            failures.Temporary: There is no answer.
        """
        shown = _shown(ask)
        began, failed = time.monotonic(), True
        name, tell = shown.removeprefix("Damocles."), CALLING.get()
        tell(name)
        try:
            failpoints.reach(f"rpc.before:{shown}")
            result = await self._caller.call(ask)
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
                attempt = await self._send(
                    methods.claims.claim(sector, worker, location, last_known, ticket, self._store)
                )
            except errors.RpcError:
                self._knows_claims = False
            except failures.Failure as failure:
                self._unclaimed = str(failure)
                raise
            else:
                self._attempts[sector] = attempt
                return attempt
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
                claimed = await self._send(methods.claims.allocate(spec, store))
            except errors.RpcError:
                self._knows_claims = False
            else:
                return (claimed.allocated, claimed.attempt) if claimed is not None else None
        allocated = await self.call(methods.sealer.allocate_sector(spec))
        return (allocated, None) if allocated is not None else None

    async def why_no_deals(self, spec: seal.AcquireDealsSpec, sector_bytes: int) -> str:
        """Ask why there were no deals for a sector of this size; empty from a manager that gives no reason."""
        return await self._why_none(methods.sealer.why_no_deals(spec, sector_bytes))

    async def why_no_upgrade(self, spec: seal.AllocateSnapUpSpec) -> str:
        """Ask why there was no sector to upgrade; empty from a manager that gives no reason."""
        return await self._why_none(methods.proven.why_no_upgrade(spec))

    async def _why_none(self, ask: Ask[str]) -> str:
        if not self._knows_claims:
            return ""
        try:
            return await self._send(ask)
        except (errors.RpcError, failures.Failure):
            return ""  # of another release, or away: it is asked again when the next question comes to nothing

    async def known(self, sector: sectors.SectorID) -> records.KnownSector | None:
        """Return the manager's record of a sector; null if it has none, or does not serve this method."""
        try:
            ask = methods.records.find_sector_in_all_states(sector)
            return await self._observed(ask.read_as(records.KnownSector | None))
        except errors.RpcError as error:
            if error.code == errors.Code.DISK_FAILS:
                raise _disk_fails("FindSectorInAllStates", error) from error
            if _NO_RECORD not in error.message and error.code != errors.Code.METHOD_NOT_FOUND:
                raise failures.Temporary(f"rpc error: FindSectorInAllStates: {error.message}") from error
            log.warning("the manager does not report its record", sector=str(sector), error=error.message)
            return None

    async def _allocate(
        self, ours: Ask[control.Handed | None], originals: Ask[Given | None], kind: type[Given]
    ) -> tuple[Given, int | None] | None:
        """Ask for work on a proven sector, and for the attempt to work under, as `allocate_sector` does."""
        if self._knows_claims:
            try:
                handed = await self._send(ours)
            except errors.RpcError:
                self._knows_claims = False
            else:
                return (_given(_shown(originals), handed.given, kind), handed.attempt) if handed is not None else None
        given = await self.call(originals)
        return (given, None) if given is not None else None

    async def allocate_snapup(
        self, spec: seal.AllocateSnapUpSpec, store: str
    ) -> tuple[seal.AllocatedSnapUpSector, int | None] | None:
        """Ask for a sector to upgrade; the spelling of the method is the original's."""
        return await self._allocate(
            methods.proven.hand_out_upgrade(spec, store),
            methods.proven.allocate_upgrade(spec),
            seal.AllocatedSnapUpSector,
        )

    async def submit_snapup(self, sector: sectors.SectorID, content: seal.SnapUpProof) -> seal.Submitted:
        """Hand in the proof of an upgrade. The original's manager calls the same proof again a duplicate by an error."""
        try:
            return await self.call(methods.proven.submit_upgrade(sector, content))
        except failures.Temporary as failure:
            if "duplicate commit job" not in str(failure):
                raise
            return seal.Submitted(seal.SubmitResult.DUPLICATE, str(failure))

    async def allocate_rebuild(
        self, spec: seal.AllocateSectorSpec, store: str
    ) -> tuple[seal.SectorRebuildInfo, int | None] | None:
        """Ask for a sector whose files have to be made again."""
        return await self._allocate(
            methods.proven.hand_out_rebuild(spec, store), methods.proven.allocate_rebuild(spec), seal.SectorRebuildInfo
        )

    async def allocate_unseal(
        self, spec: seal.AllocateSectorSpec, store: str
    ) -> tuple[seal.SectorUnsealInfo, int | None] | None:
        """Ask for a piece to get out of a sector."""
        return await self._allocate(
            methods.proven.hand_out_unseal(spec, store), methods.proven.allocate_unseal(spec), seal.SectorUnsealInfo
        )

    async def unseal_destinations(self, sector: sectors.SectorID, piece: codec.CID) -> list[str]:
        """Ask where a piece has to go; the URLs may hold secrets."""
        return await self.call(methods.proven.acquire_destinations(sector, piece)) or []

    async def achieve_unseal(self, sector: sectors.SectorID, piece: codec.CID, error: str = "") -> None:
        """Report that a piece is at its destination, or why it never will be. A task that is gone needs no report."""
        try:
            await self.call(methods.proven.achieve_unseal(sector, piece, error))
        except failures.Temporary as failure:
            if "task not found" not in str(failure):
                raise
            log.warning("the manager no longer waits for this piece", sector=str(sector), piece=piece)

    async def allocate_posts(self, spec: wdpost.AllocateSpec, count: int, worker: str) -> list[wdpost.Job]:
        """Ask for window PoSts to prove."""
        return await self.call(methods.wdpost.allocate_jobs(spec, count, worker)) or []

    async def heartbeat_post(self, job: str, worker: str) -> bool:
        """Send a heartbeat for a window PoSt; false if it is no longer ours."""
        return await self._is_known(methods.wdpost.heartbeat_jobs([job], worker))

    async def finish_post(self, job: str, output: wdpost.Output | None) -> bool:
        """Hand in a window PoSt; false if the manager does not know it any more."""
        return await self._is_known(methods.wdpost.finish_job(job, output, ""))

    async def fail_post(self, job: str, worker: str, error: str) -> bool:
        """Report why there is no window PoSt; false if it is no longer ours.

        A proof is valid whoever sends it, and faults carry the name of their reporter. An error does not: from a worker that
        lost the job it would cost the present one its try. So a heartbeat asks first whose the job is.
        """
        return await self.heartbeat_post(job, worker) and await self._is_known(
            methods.wdpost.finish_job(job, None, error)
        )

    async def _is_known(self, ask: Ask[None]) -> bool:
        try:
            await self.call(ask)
        except failures.Temporary as failure:
            if _NO_RECORD in str(failure):
                return False
            raise
        return True
