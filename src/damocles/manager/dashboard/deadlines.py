"""The days of the manager's miners: asked for once for all who look, and not more often than they change."""

import time
from collections.abc import Collection

import anyio
import structlog

from damocles import methods
from damocles.manager.dashboard import asking
from damocles.manager.dashboard.views.proving import Told
from damocles.rpc import core, errors

log = structlog.get_logger(__name__)

STALE_SECONDS = 30.0  # an epoch
TIMEOUT_SECONDS = 20.0


class Deadlines:
    """Asks for them; with no miners, as on a chain that has no deadlines, for nothing."""

    def __init__(self, ask: asking.Asking, miners: Collection[int]) -> None:
        self._ask = ask
        self._miners = miners
        self._turn = anyio.Lock()
        self._told: list[Told] = []
        self._asked_at = -1e9  # by the monotonic clock

    async def told(self, call: core.Call) -> list[Told]:
        """Return what the manager told last of each miner, or ask it as whoever looks."""
        async with self._turn:
            miners = list(self._miners)
            is_stale = time.monotonic() - self._asked_at > STALE_SECONDS
            if miners and (is_stale or miners != [one.miner for one in self._told]):
                found: dict[int, Told] = {}
                async with anyio.create_task_group() as tasks:
                    for miner in miners:
                        tasks.start_soon(self._read, call, miner, found)
                self._told = [found[miner] for miner in miners]
                self._asked_at = time.monotonic()
            return self._told

    async def _read(self, call: core.Call, miner: int, found: dict[int, Told]) -> None:
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                day = await self._ask(call, methods.wdpost.day(miner))
            found[miner] = Told(miner=miner, day=day)
        except TimeoutError:
            found[miner] = Told(miner=miner, problem=f"no answer about the deadlines within {TIMEOUT_SECONDS:g} s")
        except errors.RpcError as error:
            log.info("dashboard: no deadlines", miner=miner, error=str(error))
            found[miner] = Told(miner=miner, problem=f"the deadlines are not known: {error.message}")
