"""Every handler, by the name that the plans' tables have for it."""

from collections.abc import Mapping

from damocles.sealing.sectors import Sector
from damocles.worker import (
    handlers,
    handlers_niporep,
    handlers_rebuild,
    handlers_snapup,
    handlers_unseal,
    handlers_wdpost,
    upstream,
)

HANDLERS: Mapping[str, handlers.Handler] = {
    **handlers.HANDLERS,
    **handlers_niporep.HANDLERS,
    **handlers_snapup.HANDLERS,
    **handlers_rebuild.HANDLERS,
    **handlers_unseal.HANDLERS,
    **handlers_wdpost.HANDLERS,
}


async def tell_given_up(manager: upstream.Manager, sector: Sector, reason: str) -> None:
    """Tell the manager that a sector is given up; telling it twice is no harm.

    A sector that was to be unsealed is as good as before: the manager hears that the piece will not come, and gets the
    sector back. `ReportAborted` would have the original's manager mark it as lost.
    """
    if sector.post is not None:
        await manager.finish_post(sector.post.id, None, reason)
        return
    assert sector.id is not None
    if sector.unseal_piece is not None:
        await manager.achieve_unseal(sector.id, sector.unseal_piece.cid, reason)
        await manager.report_finalized(sector.id)
    else:
        await manager.report_aborted(sector.id, reason)
