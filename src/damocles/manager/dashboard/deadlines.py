"""The deadlines of the manager's miners on the chain: read once for all who look, and not more often than they change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import structlog

from damocles.chain.addresses import Address
from damocles.lotus import errors, layout
from damocles.lotus.nodes import Nodes
from damocles.manager.dashboard.views.proving import Chain

log = structlog.get_logger(__name__)

STALE_SECONDS = 30.0  # an epoch
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the chain tells of all miners, or why it does not."""

    miners: Sequence[Chain] = ()
    problem: str = ""


class Deadlines:
    """Reads them; without `nodes` there is no chain, and nothing to read."""

    def __init__(self, nodes: Nodes | None, miners: Sequence[int]) -> None:
        self._nodes = nodes
        self._miners = miners
        self._turn = anyio.Lock()
        self._told = Told()
        self._read_at = -1e9  # by the monotonic clock

    async def told(self) -> Told:
        """Return what was read last, or read it."""
        if self._nodes is None:
            return self._told
        async with self._turn:
            if time.monotonic() - self._read_at > STALE_SECONDS:
                self._told = await self._read(self._nodes)
                self._read_at = time.monotonic()
            return self._told

    async def _read(self, nodes: Nodes) -> Told:
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                return Told([await _of(nodes, miner) for miner in self._miners])
        except TimeoutError:
            return Told(problem=f"the chain node did not show the deadlines within {TIMEOUT_SECONDS:g} s")
        except errors.NodeError as error:
            log.info("dashboard: no deadlines", error=str(error))
            return Told(problem=f"the chain node does not show the deadlines: {error}")


async def _of(nodes: Nodes, miner: int) -> Chain:
    async with nodes.view() as view:
        address = Address.of_id(miner)
        params = await view.node.network_params()
        return Chain(
            miner=miner,
            layout=await layout.read(view, address),
            deadlines=await view.deadlines(address),
            at=view.tipset.timestamp,
            epoch_seconds=max(1, params.block_delay_seconds),
        )
