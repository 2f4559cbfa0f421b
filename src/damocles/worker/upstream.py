"""The manager as a worker sees it: its SealerAPI, with errors as failure levels.

Error code 11001 (the manager has no such sector) aborts; everything else, the network included, is worth another try.
"""

from types import UnionType
from typing import Any, Protocol, TypeVar, overload

from damocles.rpc import errors, messages
from damocles.sealing import failures
from damocles.wire import fleet, seal, sectors

T = TypeVar("T")

SECTOR_STATE_NOT_FOUND = 11001


class Caller(Protocol):
    """Whatever sends a JSON-RPC request and decodes the result; raises `errors.CallError`."""

    @overload
    async def call(self, method: str, params: messages.Params, *, returns: None) -> None: ...
    @overload
    async def call(self, method: str, params: messages.Params, *, returns: type[T]) -> T: ...
    @overload
    async def call(self, method: str, params: messages.Params, *, returns: UnionType) -> Any: ...


class Manager:
    """Calls to `Venus.*`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def _call(self, method: str, *params: Any, returns: Any = None) -> Any:
        try:
            return await self._caller.call(f"Venus.{method}", list(params), returns=returns)
        except errors.RpcError as error:
            if error.code == SECTOR_STATE_NOT_FOUND:
                msg = f"from error code: sector state not found, with msg: {error.message}"
                raise failures.Abort(msg) from error
            msg = f"rpc error: {method}: {error.message}"
            raise failures.Temporary(msg) from error
        except errors.CallError as error:
            msg = f"rpc error: {method}: {error}"
            raise failures.Temporary(msg) from error

    async def allocate_sector(self, spec: seal.AllocateSectorSpec) -> seal.AllocatedSector | None:
        """Ask for a sector to seal."""
        return await self._call("AllocateSector", spec, returns=seal.AllocatedSector | None)  # type: ignore[no-any-return]

    async def acquire_deals(
        self, sector: sectors.SectorID, spec: seal.AcquireDealsSpec
    ) -> list[seal.SectorPiece] | None:
        """Ask for deals to put into the sector."""
        return await self._call("AcquireDeals", sector, spec, returns=list[seal.SectorPiece] | None)  # type: ignore[no-any-return]

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
        """Say where the files are; false if the manager does not find them there."""
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
        """Tell where the sector is."""
        return await self._call("ReportState", sector, report, returns=seal.SectorStateResp)  # type: ignore[no-any-return]

    async def report_finalized(self, sector: sectors.SectorID) -> None:
        """Tell that nothing is left to do."""
        await self._call("ReportFinalized", sector)

    async def report_aborted(self, sector: sectors.SectorID, reason: str) -> None:
        """Tell that the sector is given up."""
        await self._call("ReportAborted", sector, reason)

    async def reserve_space(
        self, sector: sectors.SectorID, size_bytes: int, candidates: list[str]
    ) -> seal.StoreBasicInfo | None:
        """Reserve space in one of the candidate stores; null if none has room."""
        return await self._call("StoreReserveSpace", sector, size_bytes, candidates, returns=seal.StoreBasicInfo | None)  # type: ignore[no-any-return]

    async def store_info(self, name: str) -> seal.StoreBasicInfo | None:
        """Ask whether the manager knows a store."""
        return await self._call("StoreBasicInfo", name, returns=seal.StoreBasicInfo | None)  # type: ignore[no-any-return]

    async def ping(self, info: fleet.WorkerInfo) -> None:
        """Say that we live."""
        await self._call("WorkerPing", info)
