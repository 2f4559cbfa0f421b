"""Every handler, by the name that the plans' tables have for it."""

from collections.abc import Mapping

from damocles import methods
from damocles.sealing import failures
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.wire import seal
from damocles.wire.sectors import SectorID
from damocles.worker import upstream
from damocles.worker.plans import niporep, rebuild, sealer, snapup, unseal, wdpost

HANDLERS: Mapping[str, sealer.Handler] = {
    name: handler
    for plan in (sealer, niporep, snapup, rebuild, unseal, wdpost)
    for name, handler in plan.HANDLERS.items()
}


async def report_aborted(manager: upstream.Manager, worker: str, sector: Sector, reason: str) -> None:
    """Report an aborted sector to the manager; a second report does no harm.

    A sector that was to be unsealed is as good as before: the report is that the piece will not come, and that the sector is
    finished. On `ReportAborted` the original's manager would mark it as lost. A sector whose proof has landed is finished as
    well: as an aborted one it would be left out of window PoSts.

    Raises:
        failures.Away: The proof is on its way, or the manager cannot be reached.
        failures.Temporary: The manager fails.
    """
    if sector.post is not None:
        await manager.fail_post(sector.post.id, worker, reason)
        return
    assert sector.id is not None
    if sector.unseal_piece is not None:
        await manager.achieve_unseal(sector.id, sector.unseal_piece.cid, reason)
        await manager.call(methods.sealer.report_finalized(sector.id))
    elif State.ProofSubmitted in sector.visited and await _is_proven(manager, sector.id):
        await manager.call(methods.sealer.report_finalized(sector.id))
    else:
        await manager.call(methods.sealer.report_aborted(sector.id, reason))


async def _is_proven(manager: upstream.Manager, sector: SectorID) -> bool:
    state = (await manager.call(methods.sealer.poll_proof(sector))).state
    if state in {seal.OnChainState.PENDING, seal.OnChainState.PACKED}:
        raise failures.Away(
            f"the proof of {sector} is on its way to the chain: the outcome decides whether the sector can be aborted"
        )
    return state == seal.OnChainState.LANDED
